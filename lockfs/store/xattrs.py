"""Extended attributes and ACLs of files in the backing directory (xattr(7), acl(5)).

Files are named by path, often one through /proc/self/fd: the system calls that take a descriptor refuse path
descriptors. Such a path leads to the file itself, symbolic links included, where the last link is followed.
"""

from __future__ import annotations

import errno
import os
import stat

ACL_ACCESS = "system.posix_acl_access"
ACL_DEFAULT = "system.posix_acl_default"
CAPABILITY = "security.capability"

_OF_THE_CONTENT = frozenset({CAPABILITY, "security.ima", "security.evm"})
"""What a write takes away (capabilities(7)), or what the kernel makes of the bytes: not for the next version."""
_NOT_OURS_TO_KEEP = frozenset({errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENODATA})


def fd_path(fd: int) -> str:
    """The path of an open descriptor."""
    return f"/proc/self/fd/{fd}"


def entry_path(directory_fd: int, name: bytes) -> bytes:
    """The path of an entry in an open directory."""
    return b"/proc/self/fd/%d/%b" % (directory_fd, name)


def carry_over(source: bytes, target_fd: int) -> None:
    """Give a staged file the extended attributes and the access ACL of the version that it will replace (W5).

    Attributes that only root may set stay behind where lockfs does not run as root. Raises OSError (ENOSPC ...).
    """
    try:
        names = os.listxattr(source, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NOT_OURS_TO_KEEP:
            return
        raise
    for name in names:
        if name in _OF_THE_CONTENT:
            continue
        try:
            os.setxattr(target_fd, name, os.getxattr(source, name, follow_symlinks=False))
        except OSError as error:
            if error.errno not in _NOT_OURS_TO_KEEP:
                raise


def default_acl(directory_fd: int) -> bytes | None:
    """What files made in a directory inherit, None if it has no default ACL (or its filesystem none to give)."""
    path = fd_path(directory_fd)
    try:
        if ACL_DEFAULT in os.listxattr(path):
            return os.getxattr(path, ACL_DEFAULT)
    except OSError as error:
        if error.errno not in _NOT_OURS_TO_KEEP:
            raise
    return None


def make_as_in(directory_fd: int, fd: int, mode: int) -> None:
    """Give a new file, made elsewhere, mode and ACL as if it were made in this directory (acl(5): object creation).

    `mode` is less the umask already, unless the directory has a default ACL. Raises OSError.
    """
    inherited = default_acl(directory_fd)
    if inherited is not None:
        # Setting it makes the mode that of the ACL; chmod(2) then narrows owner, mask and others to what was asked.
        os.setxattr(fd, ACL_ACCESS, inherited)
        mode &= os.fstat(fd).st_mode | ~0o777
    os.fchmod(fd, stat.S_IMODE(mode))


def drop_default_acl(directory_fd: int) -> None:
    """Files made in this directory shall inherit nothing. Raises OSError."""
    if default_acl(directory_fd) is not None:
        os.removexattr(fd_path(directory_fd), ACL_DEFAULT)
