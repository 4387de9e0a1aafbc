"""Who holds which pen, and who waits: first come first served, no deadlock, families together (Q, F1, A6).

Pure: the caller hands the time in, one call is one step of the whole state, and what follows from it is
returned for the caller to do. A raised fact or error has changed nothing.

**Deadlock (Q4).** A waiter depends on the writers that have the pen of its key. A writer is stuck while it
or a descendant of it waits, that is, while any waiter has it in its lineage. So keys form a graph: key k
leads to key j when somebody whose lineage contains a holder of k waits for j. A cycle in it is a deadlock,
and edges appear in two places only:

- A request is queued. `acquire` looks before it queues and raises `WaitCycle` if the new edges would close a
  cycle.
- A waiter becomes the owner. That can close a cycle, although each request was harmless when it came. H has
  k. X queues for k. A child of X queues for g, which P has. P queues for k, behind X: there is no cycle yet,
  since X owns nothing and H is free to go on. When H releases, X gets k; its child waits for P, and P now
  waits for X. So whatever makes a new owner looks again, and refuses waits until no cycle is left. It
  refuses the youngest wait of each cycle: that is the open that closed it, and it is always younger than the
  wait of the new owner (P stands behind X), who keeps its turn. A refused wait stands in the queue of a key
  whose pen is held, so its leaving lets nobody else go on.

Brief appends are no edges: they end without waiting for anybody. Joining makes no new edge, because whoever
waits with the joining process in its lineage has the holder it joined in its lineage too. (Lineages only
ever lose ancestors, when one exits. A caller that reports a lineage too short loses the join and the
detection, never more than the queue timeout.)
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

from lockfs.core.errors import Conflict, WaitCycle
from lockfs.core.ids import FileKey, HandleId, Lineage, WriterId


class Kind(Enum):
    """What is asked for."""

    PEN = "pen"
    """Exclusive, from open to close."""
    APPEND = "append"
    """Shared and brief: while an append handle is opened, or for one append that had to wait."""


@dataclass(frozen=True, slots=True)
class Granted:
    """`handle` holds from now on, and must be released."""

    handle: HandleId
    joined: bool
    """It joined its family's pen (F1), and is in that session."""


@dataclass(frozen=True, slots=True)
class Queued:
    """The request waits. A later call returns a `Granted` or a `Refused` for its handle."""

    position: int
    """1: next in turn."""
    holder: WriterId | None
    """Who has the pen. None: brief appends hold."""


@dataclass(frozen=True, slots=True)
class Refused:
    """`handle` waited, does not any more, and got nothing: it is to fail with `reason` (Q4)."""

    handle: HandleId
    reason: WaitCycle


@dataclass(frozen=True, slots=True)
class Hold:
    """A pen that is held."""

    key: FileKey
    owner: WriterId
    """Who acquired it."""
    handles: frozenset[HandleId]
    """The acquiring handle and those that joined, as far as they are not released."""
    since_s: float


@dataclass(frozen=True, slots=True)
class Wait:
    """A request that stands in a queue."""

    key: FileKey
    handle: HandleId
    kind: Kind
    writer: WriterId
    since_s: float
    lineage: Lineage = field(repr=False)
    order: int = field(repr=False)
    """Counts up over all keys: smaller came earlier."""


class _File:
    """The state of one key; it exists only while somebody holds. `owner` None: `handles` are brief
    appends.
    """

    __slots__ = ("handles", "members", "owner", "queue", "since_s")

    def __init__(self) -> None:
        self.owner: WriterId | None = None
        self.handles: dict[HandleId, WriterId] = {}
        self.members: dict[WriterId, int] = {}  # the owner (for ever), and who has how many handles
        self.since_s = 0.0
        # Not a dict: taking the first of a dict again and again is quadratic.
        self.queue: OrderedDict[HandleId, Wait] = OrderedDict()

    def is_family(self, lineage: Lineage) -> bool:
        """Has the pen's owner, or a process that joined it, this process or an ancestor of it? (F1)

        Who joined counts itself, because its parent may be gone: a process whose parent exited is not to
        wait for a handle of its own.
        """
        return any(writer in self.members for writer in lineage)

    def add(self, handle: HandleId, writer: WriterId, now_s: float) -> None:
        if not self.handles:
            self.since_s = now_s
        self.handles[handle] = writer
        if self.owner is not None:
            self.members[writer] = self.members.get(writer, 0) + 1

    def remove(self, handle: HandleId) -> None:
        writer = self.handles.pop(handle)
        if not self.handles:
            self.owner = None
            self.members.clear()
        elif self.owner is not None:
            self.members[writer] -= 1
            if not self.members[writer] and writer != self.owner:
                del self.members[writer]


class Arbiter:
    """The one place where it is decided who may write."""

    def __init__(self) -> None:
        self._files: dict[FileKey, _File] = {}
        self._held: dict[HandleId, FileKey] = {}
        self._waits: dict[HandleId, Wait] = {}
        # Who waits with this writer in its lineage, by the key waited for; oldest first.
        self._family: dict[WriterId, dict[FileKey, dict[HandleId, Wait]]] = {}
        self._asked = 0

    def acquire(
        self, key: FileKey, handle: HandleId, kind: Kind, lineage: Lineage, now_s: float, *, wait: bool
    ) -> Granted | Queued:
        """Ask for `key` on behalf of `lineage[0]` (Q1, Q5, F1, A6).

        `Granted` means now. `Queued` means that a later `release` or `withdraw` returns a `Granted` (or a
        `Refused`) for this handle, unless it is withdrawn first. Raises `Conflict` if it would wait and
        `wait` is False, `WaitCycle` if waiting would close a cycle (Q4), ValueError if the handle holds or
        waits already or the lineage is empty.
        """
        if not lineage:
            raise ValueError("empty lineage")
        if handle in self._held or handle in self._waits:
            raise ValueError(f"handle {handle} holds or waits already")
        file = self._files.get(key)
        if file is None:
            file = self._files[key] = _File()
            self._hold(key, file, handle, lineage[0], now_s, owner=kind is Kind.PEN)
            return Granted(handle, joined=False)
        if file.is_family(lineage):
            self._hold(key, file, handle, lineage[0], now_s)
            return Granted(handle, joined=True)
        if kind is Kind.APPEND and file.owner is None and not file.queue:
            self._hold(key, file, handle, lineage[0], now_s)
            return Granted(handle, joined=False)
        if not wait:
            raise Conflict(key, file.owner, file.since_s, len(file.queue))
        if file.owner is not None and self._would_close_cycle(key, lineage):
            raise WaitCycle(key, file.owner)
        self._enqueue(file, key, handle, kind, lineage, now_s)
        return Queued(len(file.queue), file.owner)

    def release(self, handle: HandleId, now_s: float) -> list[Granted | Refused]:
        """Give back what `handle` holds; the last handle of a pen frees it.

        Returns who goes on in consequence, in the order of the queue (a new owner before those that join
        it), then who is refused because the new owner closed a cycle (Q4). Raises KeyError if the handle
        holds nothing (a waiter is withdrawn, not released).
        """
        key = self._held.pop(handle)
        file = self._files[key]
        file.remove(handle)
        return [] if file.handles else self._advance(key, file, now_s)

    def withdraw(self, handle: HandleId, now_s: float) -> list[Granted | Refused]:
        """A waiter gives up (timeout, signal). Returns as `release`: appends behind it may go on now.

        Raises KeyError if the handle does not wait. If it was granted in the meantime, it is to be released.
        """
        wait = self._waits[handle]
        self._dequeue(wait)
        return self._advance(wait.key, self._files[wait.key], now_s)

    def holder(self, key: FileKey) -> Hold | None:
        """Who has the pen of `key`. None also while only brief appends hold."""
        file = self._files.get(key)
        if file is None or file.owner is None:
            return None
        return Hold(key, file.owner, frozenset(file.handles), file.since_s)

    def is_family(self, key: FileKey, lineage: Lineage) -> bool:
        """Whether `lineage[0]` shares the pen of `key`: it would join at once (F1, F2). False if nobody has it."""
        file = self._files.get(key)
        return file is not None and file.owner is not None and file.is_family(lineage)

    def blocks_append(self, key: FileKey, lineage: Lineage) -> bool:
        """Would an append by `lineage[0]` have to wait now (A6)?

        True if a foreign pen is held, or if anybody waits and would be overtaken (Q5). False allows one
        append that is done before this arbiter is called again; anything longer must `acquire` an APPEND.
        """
        file = self._files.get(key)
        if file is None:
            return False
        if file.owner is not None:
            return not file.is_family(lineage)
        return bool(file.queue)

    def waiting(self, key: FileKey) -> Sequence[Wait]:
        """Who waits for `key`, in turn."""
        file = self._files.get(key)
        return [] if file is None else list(file.queue.values())

    def holds(self) -> Iterator[Hold]:
        """All pens that are held. Not to be carried on over another call."""
        for key in self._files:
            hold = self.holder(key)
            if hold is not None:
                yield hold

    def waits(self) -> Iterator[Wait]:
        """All waiters, oldest first. Not to be carried on over another call."""
        return iter(self._waits.values())

    # -- granting

    def _hold(
        self,
        key: FileKey,
        file: _File,
        handle: HandleId,
        writer: WriterId,
        now_s: float,
        *,
        owner: bool = False,
    ) -> None:
        if owner:
            file.owner = writer
        file.add(handle, writer, now_s)
        self._held[handle] = key

    def _advance(self, key: FileKey, file: _File, now_s: float) -> list[Granted | Refused]:
        """Grant from the head of the queue what can be granted (Q5); drop the file when nobody is left."""
        done: list[Granted | Refused] = []
        while file.owner is None and file.queue:
            head = next(iter(file.queue.values()))
            if head.kind is Kind.PEN and file.handles:
                break
            self._dequeue(head)
            self._hold(key, file, head.handle, head.writer, now_s, owner=head.kind is Kind.PEN)
            done.append(Granted(head.handle, joined=False))
            if head.kind is Kind.PEN:
                done += self._join_family(key, file, head.writer, now_s)
                done += self._refuse_cycles(key)
        if not file.handles:
            del self._files[key]
        return done

    def _join_family(self, key: FileKey, file: _File, owner: WriterId, now_s: float) -> list[Granted]:
        """Everybody in the queue who is family of the new owner goes on with it, wherever it stands."""
        joined: list[Granted] = []
        members = deque([owner])
        while members:
            for wait in list(self._family.get(members.popleft(), {}).get(key, {}).values()):
                self._dequeue(wait)
                self._hold(key, file, wait.handle, wait.writer, now_s)
                joined.append(Granted(wait.handle, joined=True))
                members.append(wait.writer)
        return joined

    # -- the queue and its index

    def _enqueue(self, file: _File, key: FileKey, handle: HandleId, kind: Kind, lineage: Lineage, now_s: float) -> None:
        self._asked += 1
        wait = Wait(key, handle, kind, lineage[0], now_s, lineage, self._asked)
        self._waits[handle] = file.queue[handle] = wait
        for writer in lineage:
            self._family.setdefault(writer, {}).setdefault(key, {})[handle] = wait

    def _dequeue(self, wait: Wait) -> None:
        del self._waits[wait.handle]
        del self._files[wait.key].queue[wait.handle]
        for writer in set(wait.lineage):
            by_key = self._family[writer]
            del by_key[wait.key][wait.handle]
            if not by_key[wait.key]:
                del by_key[wait.key]
            if not by_key:
                del self._family[writer]

    # -- cycles

    def _leads_to(self, key: FileKey) -> Iterator[Wait]:
        """One wait (the oldest) for each key that the holders of `key` are stuck on."""
        for writer in self._files[key].members:
            for waits in self._family.get(writer, {}).values():
                yield next(iter(waits.values()))

    def _would_close_cycle(self, key: FileKey, lineage: Lineage) -> bool:
        """Does the way from `key` lead to a pen that this lineage's own waiting would hold up?"""
        seen = {key}
        todo = [key]
        while todo:
            for wait in self._leads_to(todo.pop()):
                if wait.key not in seen:
                    if self._files[wait.key].is_family(lineage):
                        return True
                    seen.add(wait.key)
                    todo.append(wait.key)
        return False

    def _refuse_cycles(self, key: FileKey) -> list[Refused]:
        """Refuse waits until `key`, which has just got an owner, is in no cycle. See the module's text."""
        refused: list[Refused] = []
        while cycle := self._cycle_through(key):
            youngest = max(cycle, key=lambda wait: wait.order)
            holder = self._files[youngest.key].owner
            assert holder is not None  # only a held pen leads on
            self._dequeue(youngest)
            refused.append(Refused(youngest.handle, WaitCycle(youngest.key, holder)))
        return refused

    def _cycle_through(self, key: FileKey) -> list[Wait]:
        """The waits of a shortest cycle from `key` back to it; empty if there is none."""
        came_by: dict[FileKey, tuple[FileKey, Wait]] = {}
        todo = deque([key])
        while todo and key not in came_by:
            here = todo.popleft()
            for wait in self._leads_to(here):
                if wait.key not in came_by:
                    came_by[wait.key] = (here, wait)
                    todo.append(wait.key)
        if key not in came_by:
            return []
        here, wait = came_by[key]
        cycle = [wait]
        while here != key:
            here, wait = came_by[here]
            cycle.append(wait)
        return cycle
