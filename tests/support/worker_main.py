"""The child of `tests.support.worker`: obeys one JSON command a line, answers one JSON line each.

Standard library only, and few imports: tests start hundreds of these. It is run by path with `python -I -S`.
Bytes travel as {"b": latin-1 text}, everything else as plain JSON.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

maps: dict[int, Any] = {}
noted: list[int] = []


def pack(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"b": value.decode("latin-1")}
    if isinstance(value, os.stat_result):
        return {name: getattr(value, name) for name in dir(value) if name.startswith("st_")}
    if isinstance(value, os.statvfs_result):
        return {name: getattr(value, name) for name in dir(value) if name.startswith("f_")}
    if isinstance(value, (list, tuple)):
        return [pack(item) for item in value]
    return value


def unpack(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"b"}:
        return value["b"].encode("latin-1")
    if isinstance(value, list):
        return [unpack(item) for item in value]
    return value


def write(fd: int, data: bytes) -> int:
    """All of `data`, as a careful program does it."""
    done = 0
    while done < len(data):
        done += os.write(fd, data[done:])
    return done


def read_all(fd: int) -> bytes:
    parts = []
    while part := os.read(fd, 1 << 20):
        parts.append(part)
    return b"".join(parts)


def read_file(path: Any) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        return read_all(fd)
    finally:
        os.close(fd)


def write_file(path: Any, data: bytes) -> int:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        return write(fd, data)
    finally:
        os.close(fd)


def raw_open(path: str, flags: int) -> int:
    """open(2) once, without Python's retry after EINTR."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.open(os.fsencode(path), flags, 0o666))
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return fd


def renameat2(old: str, new: str, flags: int) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), old)


def run(argv: list[str], data: bytes, pass_fds: list[int]) -> list[Any]:
    import subprocess

    done = subprocess.run(argv, input=data, capture_output=True, timeout=30, pass_fds=pass_fds)
    return [done.returncode, done.stdout, done.stderr]


def fork_holding(fd: int, seconds: float) -> int:
    """A child that keeps `fd` open for `seconds`, then exits; returns its pid."""
    pid = os.fork()
    if pid == 0:
        time.sleep(seconds)
        os._exit(0)
    return pid


def fork_writer(path: Any) -> int:
    """A child that holds `path` open for writing until SIGUSR1; returns its pid once it has the file."""
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(fd, b"from the child")
        os.write(told, b"x")
        signal.sigwait([signal.SIGUSR1])
        os.close(fd)
        os._exit(0)
    os.close(told)
    os.read(ready, 1)
    os.close(ready)
    return pid


def map_open(fd: int, length: int, private: bool, writable: bool) -> int:
    import mmap

    flags = mmap.MAP_PRIVATE if private else mmap.MAP_SHARED
    prot = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    key = len(maps)
    maps[key] = mmap.mmap(fd, length, flags=flags, prot=prot)
    return key


def map_read(key: int) -> bytes:
    return bytes(maps[key][:])


def map_write(key: int, offset: int, data: bytes) -> None:
    maps[key][offset : offset + len(data)] = data


def map_close(key: int) -> None:
    maps.pop(key).close()


def set_flags(fd: int, flags: int) -> None:
    """fcntl(2), F_SETFL."""
    fcntl.fcntl(fd, fcntl.F_SETFL, flags)


def utime_ns(path: Any, atime_ns: int, mtime_ns: int) -> None:
    os.utime(path, ns=(atime_ns, mtime_ns))


def set_attribute(path: Any, name: Any, value: bytes, flags: int = 0, follow: bool = True) -> None:
    os.setxattr(path, name, value, flags, follow_symlinks=follow)


def get_attribute(path: Any, name: Any, follow: bool = True) -> bytes:
    return os.getxattr(path, name, follow_symlinks=follow)


def remove_attribute(path: Any, name: Any, follow: bool = True) -> None:
    os.removexattr(path, name, follow_symlinks=follow)


def list_attributes(path: Any, follow: bool = True) -> list[str]:
    return sorted(os.listxattr(path, follow_symlinks=follow))


def outcomes(commands: list[Any]) -> list[Any]:
    """Several commands in a row: what each returned, or its errno's name."""
    import errno

    found: list[Any] = []
    for name, *args in commands:
        try:
            found.append((COMMANDS.get(name) or getattr(os, name))(*args))
        except OSError as error:
            found.append(errno.errorcode.get(error.errno or 0))
    return found


def ignore(number: int) -> None:
    signal.signal(number, signal.SIG_IGN)


def block(number: int) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [number])


def note_signal(number: int) -> None:
    """Install a handler that only remembers."""
    signal.signal(number, lambda got, _frame: noted.append(got))


COMMANDS: dict[str, Callable[..., Any]] = {
    "write": write,
    "read_all": read_all,
    "read_file": read_file,
    "write_file": write_file,
    "raw_open": raw_open,
    "renameat2": renameat2,
    "run": run,
    "fork_holding": fork_holding,
    "fork_writer": fork_writer,
    "map_open": map_open,
    "map_read": map_read,
    "map_write": map_write,
    "map_close": map_close,
    "utime_ns": utime_ns,
    "set_attribute": set_attribute,
    "get_attribute": get_attribute,
    "remove_attribute": remove_attribute,
    "list_attributes": list_attributes,
    "outcomes": outcomes,
    "note_signal": note_signal,
    "noted": lambda: list(noted),
    "ignore": ignore,
    "block": block,
    "flock": fcntl.flock,
    "set_flags": set_flags,
    "lockf": fcntl.lockf,
    "exit": os._exit,
    "sysexit": sys.exit,
}


def main() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # tests kill with SIGQUIT and SIGSEGV
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for line in sys.stdin.buffer:
        number, name, *args = json.loads(line)
        command = COMMANDS.get(name) or getattr(os, name)
        answer: dict[str, Any] = {"n": number}
        start_s = time.monotonic()
        try:
            answer["value"] = pack(command(*unpack(args)))
        except OSError as error:
            answer["errno"] = error.errno
            answer["text"] = str(error)
        answer["took_s"] = time.monotonic() - start_s
        answer["at_s"] = time.monotonic()
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
