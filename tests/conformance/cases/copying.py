"""copy_file_range(2), sendfile(2), splice(2), tee(2), vmsplice(2)."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess

from tests.conformance import raw
from tests.conformance.acting import Act
from tests.conformance.case import ALL_RULES, case
from tests.conformance.people import OTHER, ROOT

BOTH = (ROOT, OTHER)
APPEND = os.O_WRONLY | os.O_APPEND
TARGETS = {"edit": os.O_RDWR, "truncate": os.O_WRONLY | os.O_TRUNC, "append": APPEND}


def ranges(act: Act, source: int, target: int) -> None:
    """copy_file_range(2) between two descriptors, in all ways."""
    for count, at, to in (
        (3000, 0, 5000),
        (3000, 0, 1000),
        (3000, 20_000, 0),
        (3000, 9000, 12_000),
        (100, -5, 0),
        (0, 0, 0),
    ):
        act.call(f"copy {count} {at} {to}", lambda c=count, a=at, t=to: os.copy_file_range(source, target, c, a, t))
    act.call("by positions", lambda: os.copy_file_range(source, target, 100))
    act.lseek(source, 0, os.SEEK_CUR)
    act.lseek(target, 0, os.SEEK_CUR)
    act.call("with a flag", lambda: raw.call("copy_file_range", source, None, target, None, 10, 1))
    act.call("size", raw.size, target)


@case(each=ALL_RULES, people=BOTH)
def copying_ranges(act: Act) -> None:
    """copy_file_range(2) within a file (overlapping: EINVAL), to another one and back."""
    raw.write_file(act.x, raw.pattern(10_000))
    fd = act.open(act.x, os.O_RDWR)
    ranges(act, fd, fd)
    act.close(fd)
    act.call("content", raw.content, act.x)
    for there in (False, True):
        source = act.open(act.x, os.O_RDWR)
        target = act.open(act.y, os.O_RDWR | os.O_CREAT, 0o644)
        act.note("target is there", there)
        ranges(act, source, target)
        ranges(act, target, source)
        act.close(source)
        act.close(target)
        act.call("content", raw.content, act.x)
        act.call("content", raw.content, act.y)


@case(each=ALL_RULES, people=BOTH)
def ranges_to_other_descriptors(act: Act) -> None:
    """copy_file_range(2) and sendfile(2) to readers, appenders, O_PATH, pipes: EBADF, EINVAL."""
    raw.write_file(act.x, raw.pattern(500))
    raw.write_file(act.y, raw.pattern(500, 3))
    source = act.open(act.y, os.O_RDONLY)
    for flags in (os.O_RDONLY, APPEND, os.O_PATH, os.O_WRONLY | os.O_TRUNC):
        target = act.open(act.x, flags)
        act.call("range", lambda target=target: os.copy_file_range(source, target, 100, 0))
        act.call("sendfile", lambda target=target: os.sendfile(target, source, 0, 100))
        act.close(target)
        act.call("content", raw.content, act.x)
    act.call("range to a pipe", lambda: os.copy_file_range(source, os.pipe()[1], 10))


@case(each=ALL_RULES, people=BOTH)
def ranges_from_and_to_another_filesystem(act: Act) -> None:
    """copy_file_range(2) across filesystems of different types gives EXDEV; sendfile(2), cp(1) and copyfile copy."""
    raw.write_file(act.x, raw.pattern(10_000))
    away = f"/dev/shm/lockfs-table-{os.getpid()}"
    try:
        source = act.open(act.x, os.O_RDONLY)
        target = os.open(away, os.O_RDWR | os.O_CREAT, 0o600)
        act.call("range out", lambda: os.copy_file_range(source, target, 1000))
        act.call("sendfile out", lambda: os.sendfile(target, source, 0, 10_000))
        back = act.open(act.y, os.O_RDWR | os.O_CREAT, 0o644)
        act.call("range in", lambda: os.copy_file_range(target, back, 1000, 0))
        act.call("sendfile in", lambda: os.sendfile(back, target, 0, 10_000))
        act.close(back)
        act.call("content", raw.content, act.y)
        act.call("cp", lambda: subprocess.call(["cp", away, "cp" + act.x]))
        act.call("copyfile", lambda: shutil.copyfile(away, "copy" + act.x) and None)
        act.call("content", raw.content, "cp" + act.x)
        act.call("content", raw.content, "copy" + act.x)
    finally:
        os.unlink(away)


@case(each=ALL_RULES, people=BOTH)
def sending_files(act: Act) -> None:
    """sendfile(2) to a socket and to files, with and without an offset, past the end."""
    raw.write_file(act.x, raw.pattern(200_000))
    one, other = socket.socketpair()
    source = act.open(act.x, os.O_RDONLY)
    with one, other:
        act.call("to a socket", lambda: os.sendfile(one.fileno(), source, 100, 5000))
        act.note("received", raw.digest(other.recv(6000)))
        act.call("past the end", lambda: os.sendfile(one.fileno(), source, 300_000, 5000))
        act.call("from the position", lambda: os.sendfile(one.fileno(), source, None, 50))
        act.lseek(source, 0, os.SEEK_CUR)
        act.note("received", raw.digest(other.recv(6000)))
    for how, flags in TARGETS.items():
        target = act.open(act.y, flags | os.O_CREAT, 0o644)
        act.call(f"to a file, {how}", lambda target=target: os.sendfile(target, source, 10, 150_000))
        act.lseek(target, 0, os.SEEK_CUR)
        act.close(target)
        act.call("content", raw.content, act.y)
    act.call("to a reader", lambda: os.sendfile(source, source, 0, 10))


@case(each=ALL_RULES, people=BOTH)
def splicing(act: Act) -> None:
    """splice(2) between files and pipes."""
    raw.write_file(act.x, raw.pattern(100_000))
    source = act.open(act.x, os.O_RDONLY)
    reader, writer = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETFL, os.O_NONBLOCK)
    act.call("in, offset", lambda: os.splice(source, writer, 5000, 10))
    act.note("in the pipe", raw.digest(os.read(reader, 9000)))
    act.call("in, position", lambda: os.splice(source, writer, 50))
    act.lseek(source, 0, os.SEEK_CUR)
    act.note("in the pipe", raw.digest(os.read(reader, 9000)))
    act.call("at the end", lambda: os.splice(source, writer, 50, 200_000))
    for how, flags in TARGETS.items():
        target = act.open(act.y, flags | os.O_CREAT, 0o644)
        os.write(writer, raw.pattern(9000, 5))
        act.call(f"out, {how}", lambda target=target: os.splice(reader, target, 4000))
        act.call(f"out to an offset, {how}", lambda target=target: os.splice(reader, target, 3000, None, 20_000))
        act.call(f"the rest, {how}", lambda target=target: os.splice(reader, target, 9000))
        act.lseek(target, 0, os.SEEK_CUR)
        act.call("size", raw.size, target)
        act.close(target)
        act.call("content", raw.content, act.y)
        act.call("left in the pipe", lambda: raw.digest(os.read(reader, 65536)))
    act.call("between files", lambda: os.splice(source, source, 10))


@case(each=ALL_RULES, people=BOTH)
def duplicating_and_giving_memory(act: Act) -> None:
    """tee(2) from pipe to pipe, vmsplice(2) of memory, then splice(2) into a file."""
    reader, writer = os.pipe()
    reader2, writer2 = os.pipe()
    os.write(writer, b"teed\n")
    act.call("tee", lambda: raw.call("tee", reader, writer2, 100, 0))
    target = act.open(act.x, os.O_RDWR | os.O_CREAT, 0o644)
    act.call("first", lambda: os.splice(reader, target, 100))
    act.call("second", lambda: os.splice(reader2, target, 100))
    memory = ctypes.create_string_buffer(b"V" * 5000)
    vector = struct.pack("QQ", ctypes.addressof(memory), 5000)
    act.call("vmsplice", lambda: raw.call("vmsplice", writer, vector, 1, 0))
    act.call("memory", lambda: os.splice(reader, target, 6000))
    act.call("tee of a file", lambda: raw.call("tee", target, writer, 10, 0))
    act.close(target)
    act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH)
def programs_that_copy(act: Act) -> None:
    """cp, install, dd, cat, mv, tee, sort -o, sed -i, tac: what they leave."""
    raw.write_file(act.x, b"".join(b"line %d\n" % number for number in range(500)), 0o640)
    x, y = act.x, act.y
    for command in (
        f"cp {x} {y}", f"cp -a {x} a{x}", f"cp {x} {y} 2>&1", f"install -m 600 {x} i{x}",
        f"dd if={x} of={y} bs=7 status=none", f"dd if={x} of={y} bs=100 count=3 seek=2 conv=notrunc status=none",
        f"cat {x} >> {y}", f"cat < {x} > {y}", f"cat {x} >> {x} 2>/dev/null", f"tac {x} | tee {y} > t{x}",
        f"sort -r -o {x} {x}", f"sed -i s/line/LINE/ {x}", f"mv {y} m{x}", f"truncate -s -5 {x}",
        f"dd if={x} of=o{x} oflag=append conv=notrunc bs=1000 status=none",
        f"head -c 1000 {x} | dd of={x} bs=10 seek=1 conv=notrunc status=none",
        f"cp -l {x} hard; cp --remove-destination {x} hard",
    ):  # fmt: skip
        act.call(command, subprocess.call, ["sh", "-c", command])
