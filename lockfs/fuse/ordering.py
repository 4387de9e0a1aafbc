"""Keeps releases in order with other requests (W3).

close(2) queues its RELEASE before it returns, and the daemon reads requests in order, so an open that starts
afterwards finds the commit done. But RELEASE is a background request, and the kernel hands out only `max_background`
of those at a time (12; fs/fuse/dev.c): with more in flight, a RELEASE would wait aside and be overtaken. libfuse's
limit cannot be set through pyfuse3, but the kernel's control filesystem can raise it.
"""

from __future__ import annotations

import logging
import os
import subprocess

log = logging.getLogger("lockfs")

_CONTROL = "/sys/fs/fuse/connections"
_LIMIT = "65535"
_TIMEOUT_S = 5.0
# In a mount namespace of its own, so that the machine's mounts stay as they are.
_SCRIPT = f'mount -t fusectl none {_CONTROL} && echo {_LIMIT} > "{_CONTROL}/$1/max_background"'


def raise_background_limit(mountpoint: str) -> bool:
    """Let the kernel hand out all background requests at once; blocks, so call it in a thread.

    The control filesystem is used where it is mounted, else root mounts it out of sight for a moment. False (and a
    log line) where neither is possible: the order then holds for up to 12 requests in flight.
    """
    connection = str(os.minor(os.stat(mountpoint).st_dev))
    try:
        with open(f"{_CONTROL}/{connection}/max_background", "w") as control:
            control.write(_LIMIT)
        return True
    except OSError:
        pass
    try:
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", _SCRIPT, "sh", connection]
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, stdin=subprocess.DEVNULL, check=False)
        if done.returncode == 0:
            return True
        reason = done.stderr.decode("utf-8", "replace").strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    log.info("background limit not raised connection=%s reason=%r", connection, reason)
    return False
