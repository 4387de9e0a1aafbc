"""When somebody removes the hidden directory past the mount (`git clean -fdx` in the backing directory, say).

The bytes of an open session are still there, in a file without a name.
"""

from __future__ import annotations

import os

from lockfs.runtime.mountstate import MountState
from lockfs.runtime.session import Session
from lockfs.store.staging import adopt_attributes, copy_content
from lockfs.store.xattrs import carry_over, fd_path


def restage(state: MountState, session: Session) -> None:
    """Copy the session's staged file, which lost its name, to a new one. Raises OSError."""
    area = session.slot.parent.area
    lost, store = session.staged, session.store
    again = state.areas.renew(area, state.nodes)
    staged = again.staging.take()
    try:
        carry_over(os.fsencode(fd_path(lost.fd)), staged.fd)
        copy_content(lost.fd, staged.fd)
        adopt_attributes(staged.fd, os.fstat(lost.fd))
    except OSError:
        again.staging.drop(staged)
        raise
    session.staged, session.store = staged, again
    store.uses -= 1
    again.uses += 1
    state.nodes.renumber(session.node, (staged.dev, staged.ino))
    os.close(lost.fd)
