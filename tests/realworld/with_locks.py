"""Programs and libraries that lock each other out."""

from __future__ import annotations

from tests.realworld.scenario import Run, same, scenario

_COUNT = r"""
import sys, time
def bump():
    v = int(open('count').read() or 0)
    time.sleep(0.001)
    with open('count', 'w') as f: f.write(str(v + 1))
open('count', 'a').close()
"""


def _counts(run: Run, code: str, processes: int = 4, each: int = 25) -> None:
    """`code` calls bump() `each` times under its lock: without a working lock counts are lost."""
    run.write("count", "0")
    run.py_together(_COUNT + code, processes)
    same(run.read("count"), str(processes * each), "count")


@scenario("flock")
def flock_program(run: Run) -> None:
    """flock(1) with -w, -n, -E, -s, on a file, on a directory and on an open descriptor; overlapping cron runs"""
    run.write("n", "0")
    work = "for i in $(seq 1 30); do flock -w 100 my.lock sh -c 'n=$(cat n); echo $((n + 1)) > n'; done"
    run.together(*(["bash", "-ec", work] for _ in range(3)))
    same(run.read("n").strip(), "90", "count")
    for path in ("my.lock", "plain.txt", "d"):
        run.sh(
            f"""mkdir -p d; touch plain.txt
            exec 9< {path}; flock 9; if flock -w 0.2 -E 7 {path} true; then exit 1; else test $? = 7; fi; if flock -n {path} true; then exit 1; fi
            flock -u 9; flock -w 5 {path} true; flock -s 9; flock -s -n {path} true; if flock -x -n {path} true; then exit 2; fi"""
        )
    cron = "exec 8> job.lock; flock -n 8 || { echo busy >> busy.txt; exit 0; }; test ! -e running; touch running; sleep 0.3; echo run >> runs.txt; rm running"
    run.together(*(["bash", "-ec", cron] for _ in range(6)))
    busy = run.read("busy.txt").count("busy") if (run.dir / "busy.txt").exists() else 0
    same(run.read("runs.txt").count("run") + busy, 6, "runs and refused runs")


@scenario()
def fcntl_locks(run: Run) -> None:
    """flock, lockf with ranges, and open-file-description locks between processes, on a lock file and on data"""
    for name in ("x.lock", "data.bin"):
        run.write(name, b"0" * 100)
        for mode in ("r+", "a+"):
            _counts(
                run,
                f"import fcntl\nfor i in range(25):\n  with open({name!r}, {mode!r}) as f: fcntl.flock(f, fcntl.LOCK_EX); bump()",
            )
            _counts(
                run,
                f"import fcntl\nfor i in range(25):\n  with open({name!r}, {mode!r}) as f: fcntl.lockf(f, fcntl.LOCK_EX, 10, 50); bump()",
            )


@scenario(modules="filelock")
def filelock_library(run: Run) -> None:
    """filelock: FileLock and SoftFileLock, with timeouts"""
    _counts(run, "import filelock\nfor i in range(25):\n  with filelock.FileLock('f.lock', timeout=100): bump()")
    _counts(run, "import filelock\nfor i in range(25):\n  with filelock.SoftFileLock('s.lock', timeout=100): bump()")
    _counts(run, "import filelock\nfor i in range(25):\n  with filelock.FileLock('count.guard', timeout=100): bump()")
    run.py(
        "import filelock, subprocess, sys\nwith filelock.FileLock('f.lock'):\n assert subprocess.run([sys.executable, '-c', \"import filelock; filelock.FileLock('f.lock', timeout=0.2).acquire()\"], capture_output=True).returncode == 1"
    )


@scenario(modules="portalocker")
def portalocker_library(run: Run) -> None:
    """portalocker: Lock on the data file itself, a lock file, BoundedSemaphore"""
    _counts(run, "import portalocker\nfor i in range(25):\n  with portalocker.Lock('p.lock', timeout=100): bump()")
    run.write("data.txt", "0")
    code = "import portalocker\nfor i in range(20):\n  with portalocker.Lock('data.txt', 'r+', timeout=100) as f:\n    v = int(f.read()); f.seek(0); f.write(str(v + 1)); f.truncate()"
    run.py_together(code, 3)
    same(run.read("data.txt"), "60", "count in the data file")
    run.py_together(
        "import portalocker, sys\nfor i in range(20):\n  with portalocker.Lock('lines.txt', 'a', timeout=100) as f: f.write(sys.argv[1] * 50 + '\\n')",
        3,
    )
    same(sorted(set(run.read("lines.txt").split())), [n * 50 for n in "012"], "lines")
    run.py(
        "import portalocker; s = portalocker.NamedBoundedSemaphore(2, name='s', directory='.', timeout=1); s.acquire(); s.release()"
    )


@scenario(modules="fasteners")
def fasteners_library(run: Run) -> None:
    """fasteners: InterProcessLock and readers and writers"""
    _counts(run, "import fasteners\nl = fasteners.InterProcessLock('f.lck')\nfor i in range(25):\n  with l: bump()")
    _counts(
        run,
        "import fasteners\nl = fasteners.InterProcessReaderWriterLock('rw.guard')\nfor i in range(25):\n  with l.write_lock(): bump()",
    )


@scenario()
def claims(run: Run) -> None:
    """O_EXCL, mkdir, link and rename as claims: each name has exactly one winner among six processes"""
    code = r"""
import os, sys
who = sys.argv[1]; won = []
for n in range(60):
    try: os.close(os.open(f'e{n}', os.O_CREAT | os.O_EXCL | os.O_WRONLY)); won.append(f'e{n}')
    except FileExistsError: pass
    try: os.mkdir(f'd{n}'); won.append(f'd{n}')
    except FileExistsError: pass
    open(f't{who}', 'w').write(who)
    try: os.link(f't{who}', f'l{n}'); won.append(f'l{n}')
    except FileExistsError: pass
    try: os.rename(f'job{n}', f'taken{n}.{who}'); won.append(f'job{n}')
    except FileNotFoundError: pass
print(*won)
"""
    for number in range(60):
        run.write(f"job{number}", "x")
    won = " ".join(run.py_together(code, 6)).split()
    same((len(won), len(set(won))), (240, 240), "claims won, and different ones")


@scenario("dotlockfile")
def dotlockfile_mbox(run: Run) -> None:
    """two processes append mail to one mbox with dotlockfile; a maildir is filled by two others"""
    mbox = "for i in $(seq 1 15); do dotlockfile -l -r 1000 mbox.lock; printf 'From a@b Thu Jan  1 00:00:00 1970\\nSubject: %s-%s\\n\\nbody %s\\n\\n' $0 $i $0 >> mbox; dotlockfile -u mbox.lock; done"
    run.together(["bash", "-ec", mbox, "a"], ["bash", "-ec", mbox, "b"])
    same(run.py("import mailbox; print(len({m['subject'] for m in mailbox.mbox('mbox')}))").strip(), "30", "mails")


@scenario()
def maildir_delivery(run: Run) -> None:
    """three deliverers and a reader that moves new to cur: every mail arrives once"""
    deliver = "import mailbox, sys\nm = mailbox.Maildir('md')\nfor i in range(40): m.add(f'Subject: {sys.argv[1]}-{i}\\n\\n' + 'body ' * 100)"
    reader = r"""
import mailbox, time
m = mailbox.Maildir('md'); seen = []; end = time.time() + 100
while len(seen) < 120 and time.time() < end:
    for k in list(m.keys()):
        msg = m[k]
        if msg.get_subdir() == 'new': assert len(msg.get_payload()) == 500; msg.set_subdir('cur'); msg.add_flag('S'); m[k] = msg; seen.append(msg['subject'])
print(len(seen), len(set(seen)))
"""
    run.py("import mailbox; mailbox.Maildir('md')")
    said = run.together(*([run.python_path, "-c", deliver, str(n)] for n in range(3)), [run.python_path, "-c", reader])
    same(said[-1].split(), ["120", "120"], "mails read")
    run.py(
        "import mailbox; m = mailbox.mbox('box'); m.lock(); [m.add(x) for x in mailbox.Maildir('md')]; m.flush(); m.unlock(); assert len(mailbox.mbox('box')) == 120"
    )
