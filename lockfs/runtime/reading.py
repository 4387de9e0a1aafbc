"""Reading without stopping the loop: what the page cache has comes at once, the rest in a thread."""

from __future__ import annotations

import errno
import os

from lockfs.runtime.mountstate import MountState


class Reader:
    """Reads file content for the kernel."""

    def __init__(self, state: MountState) -> None:
        self._state = state
        self._nowait = True

    async def read(self, fd: int, offset: int, size: int) -> bytes | bytearray | memoryview:
        """pread(2) until `size` bytes or the file's end."""
        if not self._nowait:
            return os.pread(fd, size, offset)
        buffer = bytearray(size)
        view = memoryview(buffer)
        done = 0
        while done < size:
            try:
                count = os.preadv(fd, [view[done:]], offset + done, os.RWF_NOWAIT)
            except BlockingIOError:
                count = await self._state.in_thread(os.preadv, fd, [view[done:]], offset + done)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
                self._nowait = False  # this filesystem cannot tell (tmpfs does not need to)
                return os.pread(fd, size, offset)
            if count == 0:
                break
            done += count
        return view[:done]
