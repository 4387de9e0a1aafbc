"""Q2: a thousand waiters on one file are fine, and each hand-over takes about a millisecond."""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.support import programs
from tests.support.targets import Place
from tests.support.waiting import wait_until
from tests.support.worker import Worker

WAITERS = 1000

# Forks WAITERS children from a small process; each opens the file for writing, notes when it got it, writes, closes.
CROWD = """
import json, mmap, os, struct, sys, time
path, count = sys.argv[1], int(sys.argv[2])
times = mmap.mmap(-1, 16 * count)
pids = []
for number in range(count):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            got = time.monotonic()
            os.write(fd, b"waiter %d\\n" % number)
            struct.pack_into("dd", times, 16 * number, got, time.monotonic())
            os.close(fd)
            status = 0
        except OSError as error:
            status = error.errno
        finally:
            os._exit(status)
    pids.append(pid)
print("started", flush=True)
statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
print(json.dumps({"statuses": statuses, "times": [struct.unpack_from("dd", times, 16 * n) for n in range(count)]}))
"""


@pytest.mark.limit(120)
@pytest.mark.parametrize("count", [100, pytest.param(WAITERS, marks=pytest.mark.slow)])
def test_Q2_waiters_on_one_file_drain(mount: Place, worker: Callable[..., Worker], count: int) -> None:
    path = mount.mnt / "f"
    path.write_bytes(b"old\n")
    holder = worker()
    fd = holder.open(path, "w")
    crowd = programs.start([sys.executable, "-I", "-S", "-c", CROWD, path, str(count)], stdout=subprocess.PIPE)
    try:
        assert crowd.stdout is not None
        assert crowd.stdout.readline() == b"started\n"
        wait_until(lambda: mount.stats()["waits"]["now"] == count, 25.0, f"{count} processes waiting")
        holder.write(fd, b"holder\n")
        holder.close(fd)
        report = json.loads(crowd.stdout.read())
    finally:
        programs.finish([crowd], 30.0)
    assert report["statuses"] == [0] * count
    times = sorted(report["times"])
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(times)), "two had the pen"
    gaps_ms = [1000 * (after[0] - before[0]) for before, after in itertools.pairwise(times)]
    print(
        f"{count} waiters drained in {times[-1][0] - times[0][0]:.2f} s; "
        f"hand-over median {statistics.median(gaps_ms):.2f} ms, longest {max(gaps_ms):.1f} ms"
    )
    # About a millisecond is promised; a shared machine with a slow disk gets a wide margin.
    assert statistics.median(gaps_ms) < 25.0
    assert path.read_bytes().startswith(b"waiter ")
    assert mount.stats()["waits"]["now"] == 0
