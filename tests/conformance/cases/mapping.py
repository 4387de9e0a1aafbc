"""mmap(2), msync(2), mremap(2), madvise(2), mincore(2): protections, ends of files, closed and removed files."""

from __future__ import annotations

import ctypes
import mmap
import os
from functools import partial

from tests.conformance import raw
from tests.conformance.acting import Act
from tests.conformance.case import ALL_RULES, LIVE, PROTECTED, case, differs
from tests.conformance.named import APPENDER_HAS_NO_PAGES, CACHED_READS, MAPPING_IS_A_DESCRIPTOR, NO_FALLOCATE
from tests.conformance.people import OTHER, ROOT
from tests.conformance.raw import PAGE

BOTH = (ROOT, OTHER)
APPEND = os.O_RDWR | os.O_APPEND


@case(
    each=ALL_RULES,
    people=BOTH,
    differs=[differs(APPENDER_HAS_NO_PAGES, "appender, shared*, *", rules=[PROTECTED, LIVE])],
)
def who_may_map(act: Act) -> None:
    """EACCES of protections that the descriptor does not have, EINVAL of odd offsets and lengths."""
    raw.write_file(act.x, raw.pattern(100))
    opened = {
        "reader": os.O_RDONLY,
        "writer": os.O_WRONLY,
        "both": os.O_RDWR,
        "appender": APPEND,
        "write appender": os.O_WRONLY | os.O_APPEND,
    }
    for how, flags in opened.items():
        fd = act.open(act.x, flags)
        for name, kind in (("private", raw.MAP_PRIVATE), ("shared", raw.MAP_SHARED), ("shared validate", 3)):
            for protection in (0, 1, 2, 3, 5):
                act.call(f"{how}, {name}, {protection}", partial(raw.mapped_once, fd, PAGE, protection, kind))
        act.call("odd offset", partial(raw.mapped_once, fd, PAGE, raw.READ, raw.MAP_PRIVATE, 100))
        act.call("no length", partial(raw.mapped_once, fd, 0, raw.READ, raw.MAP_PRIVATE))
        act.call("far away", partial(raw.mapped_once, fd, PAGE, raw.READ, raw.MAP_PRIVATE, 1 << 62))
        act.close(fd)
    fd = act.open(act.x, os.O_RDONLY)
    mapping = raw.Map(fd, PAGE, raw.READ)
    act.call("mprotect", lambda: raw.call("mprotect", ctypes.c_void_p(mapping.address), PAGE, raw.READ | raw.WRITE))
    mapping.close()


@case(each=ALL_RULES, people=BOTH)
def mappings_and_calls(act: Act) -> None:
    """What write(2) writes a shared mapping shows, and the other way round; a private one keeps its own."""
    raw.write_file(act.x, raw.pattern(3 * PAGE + 100))
    fd = act.open(act.x, os.O_RDWR)
    shared = raw.Map(fd, 3 * PAGE + 100)
    shared.put(b"MMMMM")
    act.call("read what was mapped", lambda: os.pread(fd, 8, 0))
    act.pwrite(fd, b"WWW", PAGE)
    act.note("mapped what was written", shared.get(4, PAGE))
    act.call("msync", shared.sync)
    private = raw.Map(fd, 2 * PAGE, flags=raw.MAP_PRIVATE)
    private.put(b"PPP")
    act.call("read beside the private one", lambda: os.pread(fd, 8, 0))
    act.note("private", private.get(8))
    shared.put(b"behind", 2 * PAGE)
    act.note("private sees", private.get(8, PAGE))
    act.note("behind the end", shared.get(20, 3 * PAGE + 90))
    shared.put(b"lost", 3 * PAGE + 200)
    act.call("msync", shared.sync)
    act.call("all", lambda: raw.digest(os.pread(fd, 20_000, 0)))
    shared.close()
    private.close()
    act.close(fd)
    act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH)
def mapping_past_the_end(act: Act) -> None:
    """SIGBUS behind the last page; growing and shrinking under a mapping; zeros after shrinking and growing."""
    raw.write_file(act.x, raw.pattern(100))
    for flags in (os.O_RDONLY, os.O_RDWR):
        fd = act.open(act.x, flags)
        mapping = raw.Map(fd, 4 * PAGE, raw.READ if flags == os.O_RDONLY else raw.READ | raw.WRITE)
        act.call("within the page", partial(raw.touched, partial(mapping.get, 1, 200)))
        act.call("behind it", partial(raw.touched, partial(mapping.get, 1, PAGE)))
        if flags == os.O_RDWR:
            act.call("write behind it", partial(raw.touched, partial(mapping.put, b"x", PAGE)))
            mapping.put(b"A" * 10, 150)
            act.ftruncate(fd, 3 * PAGE)
            act.call("after growing", partial(raw.touched, partial(mapping.get, 1, PAGE)))
            act.ftruncate(fd, 10)
            act.call("after shrinking", partial(raw.touched, partial(mapping.get, 1, PAGE)))
            act.note("in the page", mapping.get(20, 5))
            act.ftruncate(fd, 200)
            act.note("after growing again", mapping.get(30, 140))
        mapping.close()
        act.close(fd)
    act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH)
def truncation_under_a_mapping(act: Act) -> None:
    """ftruncate(2) takes pages away and gives empty ones."""
    raw.write_file(act.x, raw.pattern(3 * PAGE))
    fd = act.open(act.x, os.O_RDWR)
    mapping = raw.Map(fd, 5 * PAGE)
    mapping.put(b"dirty", 2 * PAGE)
    act.ftruncate(fd, PAGE + 10)
    act.note("cut", mapping.get(12, PAGE))
    act.ftruncate(fd, 5 * PAGE)
    act.note("zeros", mapping.get(12, 2 * PAGE))
    mapping.put(b"END", 4 * PAGE)
    act.call("mremap", mapping.grow, 8 * PAGE)
    act.note("still there", mapping.get(3, 4 * PAGE))
    act.ftruncate(fd, 7 * PAGE)
    mapping.put(b"MORE", 6 * PAGE)
    mapping.close()
    act.close(fd)
    act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH, differs=[differs(NO_FALLOCATE, "madvise remove*")])
def advice_and_residence(act: Act) -> None:
    """madvise(2), msync(2), mincore(2), mlock(2)."""
    raw.write_file(act.x, raw.pattern(2 * PAGE))
    fd = act.open(act.x, os.O_RDWR)
    with mmap.mmap(fd, 2 * PAGE) as mapping:
        mapping[0:5] = b"DIRTY"
        for advise in (0, 1, 2, 3, 4, 14, 15, 20, 21, 22):
            act.call(f"madvise {advise}", partial(mapping.madvise, advise, 0, PAGE))
        act.note("still there", mapping[0:8])
    with mmap.mmap(fd, 2 * PAGE) as mapping:
        act.call("madvise remove", partial(mapping.madvise, 9, PAGE, PAGE))
    raw.write_file("plain")
    mapped = raw.Map(fd, PAGE)
    for flags in (raw.MS_SYNC, raw.MS_ASYNC, raw.MS_SYNC | raw.MS_INVALIDATE, raw.MS_SYNC | raw.MS_ASYNC):
        act.call(f"msync {flags}", mapped.sync, flags)
    mapped.get(1)
    vector = ctypes.create_string_buffer(1)
    act.call("mincore", lambda: raw.call("mincore", ctypes.c_void_p(mapped.address), PAGE, vector))
    act.note("resident", vector.raw[0] & 1)
    act.call("mlock", lambda: raw.call("mlock", ctypes.c_void_p(mapped.address), PAGE))
    mapped.close()
    os.pwrite(fd, bytes(PAGE), PAGE)  # where it differs
    act.close(fd)
    act.call("content", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH)
def mapping_after_close(act: Act) -> None:
    """A shared mapping outlives its descriptor, and its bytes reach the file: seen from the same process."""
    for new in (False, True):
        if new:
            os.unlink(act.x)
        else:
            raw.write_file(act.x, raw.pattern(2 * PAGE))
        fd = act.open(act.x, os.O_RDWR | os.O_CREAT, 0o644)
        act.ftruncate(fd, 2 * PAGE)
        mapping = raw.Map(fd, 2 * PAGE)
        mapping.put(b"before the close")
        act.close(fd)
        act.call("after the close", raw.content, act.x)
        mapping.put(b"AFTER")
        act.call("written", raw.content, act.x)
        act.call("msync", mapping.sync)
        mapping.put(b"SECOND PAGE", PAGE)
        mapping.close()
        act.call("unmapped", raw.content, act.x)


@case(each=ALL_RULES, people=BOTH)
def mapping_of_what_loses_its_name(act: Act) -> None:
    """unlink(2) and rename(2) of a file that only a mapping holds."""
    raw.write_file(act.x, raw.pattern(2 * PAGE))
    fd = act.open(act.x, os.O_RDWR)
    mapping = raw.Map(fd, 2 * PAGE)
    act.close(fd)
    act.rename(act.x, "r" + act.x)
    mapping.put(b"RENAMED")
    mapping.close()
    act.call("renamed", raw.content, "r" + act.x)
    act.rename("r" + act.x, act.x)
    fd = act.open(act.x, os.O_RDWR)
    mapping = raw.Map(fd, 2 * PAGE)
    act.close(fd)
    act.unlink(act.x)
    mapping.put(b"GONE")
    act.note("still mapped", mapping.get(8))
    act.stat(act.x)
    mapping.close()
    act.stat(act.x)


@case(each=ALL_RULES, people=BOTH)
def mapping_at_the_end_of_a_process(act: Act) -> None:
    """exit(2) with dirty pages: before and after the close, unmapped or not."""
    for closing in (False, True):
        for unmapping in (False, True):
            raw.write_file(act.x, raw.pattern(2 * PAGE))

            def child(closing: bool = closing, unmapping: bool = unmapping) -> None:
                fd = os.open(act.x, os.O_RDWR)
                mapping = raw.Map(fd, 2 * PAGE)
                mapping.put(b"one")
                if closing:
                    os.close(fd)
                mapping.put(b"BYTES", PAGE)
                if unmapping:
                    mapping.close()

            act.call("a child", partial(raw.in_child, child))
            act.call("content", raw.content, act.x)


@case(
    each=ALL_RULES,
    people=BOTH,
    differs=[differs(MAPPING_IS_A_DESCRIPTOR, "while it is mapped*", rules=[PROTECTED])],
)
def mapping_of_a_child(act: Act) -> None:
    """What the parent sees of a file that a child has closed, still maps, and then unmaps."""
    raw.write_file(act.x, b"o" * PAGE)
    done, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            fd = os.open(act.x, os.O_RDWR)
            mapping = raw.Map(fd, PAGE)
            mapping.put(b"mapped")
            os.close(fd)
            os.write(done[1], b".")
            os.read(go[0], 1)
            mapping.close()
            os.write(done[1], b".")
            os.read(go[0], 1)
        finally:
            os._exit(0)
    os.read(done[0], 1)
    act.call("while it is mapped", raw.content, act.x)
    os.write(go[1], b".")
    os.read(done[0], 1)
    act.call("unmapped", raw.content, act.x)
    os.write(go[1], b".")
    os.waitpid(pid, 0)
    act.call("the child has ended", raw.content, act.x)


@case(
    each=ALL_RULES,
    people=BOTH,
    differs=[differs(CACHED_READS, "atime after a read that the cache answers*")],
)
def access_times_of_cached_reads(act: Act) -> None:
    """The access time of a file that was read before, and is set back (relatime: the next read renews it)."""
    raw.write_file(act.x, raw.pattern(PAGE))
    fd = act.open(act.x, os.O_RDONLY)
    act.call("read", lambda: len(os.pread(fd, PAGE, 0)))
    act.utime(act.x, ns=(10**18, 10**18))
    act.call("read again", lambda: len(os.pread(fd, PAGE, 0)))
    act.call("atime after a read that the cache answers", lambda: os.stat(act.x).st_atime_ns == 10**18)
    act.close(fd)
