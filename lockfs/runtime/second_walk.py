"""What the kernel's second walk of a path is shown: the private inode of whoever opens (fuse-facts)."""

from __future__ import annotations

import errno
import os
import stat

from lockfs.core.session import State
from lockfs.runtime.appends import Appends, Twin
from lockfs.runtime.intents import Intent, Intents
from lockfs.runtime.mountstate import MountState
from lockfs.runtime.nodes import Node
from lockfs.runtime.sessions import Sessions
from lockfs.runtime.slots import Slot


class SecondWalk:
    """Sends opens round, and answers the lookups that follow."""

    def __init__(self, state: MountState, sessions: Sessions, appends: Appends) -> None:
        self._state = state
        self._sessions = sessions
        self._appends = appends
        self.intents = Intents(self._intent_dropped)

    def sent_round(self, intent: Intent) -> OSError:
        """The answer that has the kernel walk the path once more; raise it."""
        self.intents.remember(intent)
        return OSError(errno.ESTALE, "once more, for a private inode")

    def _intent_dropped(self, intent: Intent) -> None:
        self.stop_expecting(intent)
        if intent.given is not None:
            self._end_given(intent.given)

    def stop_expecting(self, intent: Intent) -> None:
        """The session that a thread was shown need not wait for it any more."""
        if intent.expected_by is not None:
            session, intent.expected_by = intent.expected_by, None
            self._sessions.stop_expecting(session)

    def may_not_wait(self, tid: int, slot: Slot) -> bool:
        """Whether a lookup must be answered though the session settles there: while one of its family is expected.

        That thread may not wait for itself. Nor may anybody else: the kernel lets a thread into a directory, or to a
        name in it, when the one before it has its answer. So the expected thread would come when the lookup is done.
        """
        if slot.session is not None and slot.session.lingers:
            return True
        intent = self.intents.of(tid)
        return intent is not None and intent.expected_by is not None and intent.expected_by is slot.session

    def finish(self, intent: Intent) -> None:
        """The request that an intent was for is done."""
        self._intent_dropped(intent)

    def _end_given(self, node: Node) -> None:
        """A node that was pinned for an open that is over."""
        session, twin = node.session, node.twin
        self._state.nodes.unpin(node)
        if session is not None and session.state is State.PREPARED and session.node is node and node.pins == 0:
            self._sessions.give_up(session)
        elif twin is not None:
            self._appends.drop_if_unused(twin)

    def private_node(
        self, slot: Slot | None, parent: Node, name: bytes, tid: int, status: os.stat_result | None
    ) -> Node | None:
        """What a lookup of `name` shows this thread instead of the committed file: its own session's inode.

        `status` is what stands at the entry, None if nothing does.
        """
        intent = self.intents.of(tid) if self.intents else None
        if intent is not None and not intent.plain and self._is_meant(intent, parent, name, status):
            slot = slot or self._state.slots.obtain(parent, name)
            if slot.twin is not None and slot.twin.handles and slot.session is None:
                self._leave_if_replaced(slot.twin, status)
            slot = self._state.slots.obtain(parent, name)
            intent.error = None
            try:
                return self._given(intent, slot)
            except OSError as error:  # a full or read-only disk: the open that follows says so
                intent.error = error
                self._state.slots.drop_if_idle(slot)
                return None
        session = slot.session if slot is not None else None
        if session is None or not self._sessions.is_own(session, tid):
            return None
        return session.node

    def _leave_if_replaced(self, twin: Twin, status: os.stat_result | None) -> None:
        """Another file stands at the entry, put there past the mount (M2): its appenders keep the one that they have,
        as on any directory, and new ones get what stands there."""
        if status is None or (status.st_dev, status.st_ino) != twin.file_id:
            self._appends.leave_file(twin)

    def _is_meant(self, intent: Intent, parent: Node, name: bytes, status: os.stat_result | None) -> bool:
        """Whether the thread looks for the file that it is about to open."""
        if status is None:
            return (parent, name) in intent.names
        if not stat.S_ISREG(status.st_mode):
            return False  # a symbolic link or a directory took a name that the file has lost
        if (parent, name) in intent.names:
            return True
        # By its node, not by its number: that may be another file's by now. And nothing else will do: a second walk
        # that failed does not reach us, and then it is another file that the thread looks for.
        return (
            intent.node is not None
            and self._state.nodes.find((status.st_dev, status.st_ino), parent.area) is intent.node
        )

    def _given(self, intent: Intent, slot: Slot) -> Node:
        caller = self._state.processes.caller(intent.tid)
        node: Node
        if slot.session is not None and self._sessions.is_family(slot.session, caller.lineage):
            node = slot.session.node
        elif intent.append:
            twin = self._appends.twin_of(slot)
            if intent.may_create:
                twin.new_file = (_mode_to_show(intent), intent.uid, intent.gid)
            node = twin.node
        elif intent.given is not None and intent.given.session is not None and intent.given.twin is None:
            return intent.given
        else:
            session = self._sessions.prepare(slot, caller.writer)
            if intent.may_create:
                session.may_create = True
                session.new_mode, session.new_uid, session.new_gid = _mode_to_show(intent), intent.uid, intent.gid
            node = session.node
        if intent.given is not node:
            self._state.nodes.pin(node)
            self._intent_dropped(intent)
            intent.given = node
            if node.session is not None and node.session.state is State.OPEN:
                self._sessions.expect(node.session)
                intent.expected_by = node.session
        return node


def _mode_to_show(intent: Intent) -> int:
    """The mode of a file that is not there yet: its maker may read and write it."""
    return 0o600 if intent.create_mode is None else intent.create_mode & 0o7777
