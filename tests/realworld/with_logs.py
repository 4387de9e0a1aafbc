"""Logs that are rotated, followed and watched."""

from __future__ import annotations

import signal
import subprocess

from tests.realworld.scenario import Run, same, scenario
from tests.support.waiting import wait_until


def _rotate(run: Run, how: str) -> None:
    run.write("rotate.conf", f'"{run.dir}/app.log" "{run.dir}/app.txt" {{\n rotate 9\n missingok\n {how}\n}}\n').chmod(
        0o644
    )
    run("logrotate", "-f", "-s", run.dir / "state", run.dir / "rotate.conf")


@scenario("logrotate")
def logrotate_create(run: Run) -> None:
    """logrotate with create under a WatchedFileHandler that never stops: no record lost"""
    code = r"""
import logging, logging.handlers, time, sys, os
l = logging.getLogger('x'); l.setLevel('INFO')
for name in ('app.log', 'app.txt'):
    h = logging.handlers.WatchedFileHandler(name); h.setFormatter(logging.Formatter('%(message)s')); l.addHandler(h)
n = 0
while not os.path.exists('stop'): l.info('record %06d', n); n += 1; time.sleep(0.001)
print(n)
"""
    writer = run.start(run.python_path, "-c", code, stdout=subprocess.PIPE)
    run.sh("chmod 755 .")
    for _ in range(3):
        run.wait_for("app.txt", "record")
        _rotate(run, "create 0644")
    run.wait_for("app.txt", "record")
    (run.dir / "stop").touch()
    count = int(writer.communicate(timeout=60)[0])
    for name in ("app.log", "app.txt"):
        lines = [line for path in run.dir.glob(f"{name}*") for line in path.read_text().splitlines()]
        same(sorted(lines), [f"record {n:06}" for n in range(count)], name)
        assert len(list(run.dir.glob(f"{name}*"))) >= 4, f"files of {name}"


@scenario("logrotate")
def logrotate_copytruncate(run: Run) -> None:
    """logrotate's copytruncate under a shell that appends: lines whole, in order, sizes right (some may be lost, as its manual says)"""
    writer = run.start(
        "bash",
        "-c",
        "exec 3>>app.log 4>>app.txt; i=0; while [ ! -e stop ]; do i=$((i+1)); echo line $i end >&3; echo line $i end >&4; sleep 0.001; done",
    )
    run.sh("chmod 755 .")
    for _ in range(3):
        for name in ("app.log", "app.txt"):
            run.wait_for(name, "end")
        _rotate(run, "copytruncate\n compress\n delaycompress")
    (run.dir / "stop").touch()
    writer.wait(60)
    for name in ("app.log", "app.txt"):
        text = run.sh(f"for f in $(ls -v {name}.*.gz | tac); do zcat $f; done; cat {name}.1 {name}")
        lines = text.splitlines()
        assert lines, "nothing"
        assert "\0" not in text, "NULs"
        # The copy may end anywhere in a line of its own making; what follows begins a line.
        whole = [line.split() for line in lines if len(line.split()) == 3]
        assert len(whole) >= len(lines) - 3, "torn lines"
        numbers = [int(line[1]) for line in whole]
        same(numbers, sorted(set(numbers)), f"order in {name}")


@scenario()
def rotation_by_hand(run: Run) -> None:
    """mv and HUP, `> log`, cp and truncate, under writers that keep the file open for append"""
    code = r"""
import signal, time, os
f = open('d.log', 'a', buffering=1); g = open('d.txt', 'a', buffering=1)
told = []
signal.signal(signal.SIGHUP, lambda *_: told.append(1))
n = 0
while not os.path.exists('stop'):
    if told: told.clear(); f.close(); g.close(); f = open('d.log', 'a', buffering=1); g = open('d.txt', 'a', buffering=1); open('reopened', 'w').close()
    f.write(f'{n}\n'); g.write(f'{n}\n'); n += 1; time.sleep(0.001)
print(n)
"""
    daemon = run.start(run.python_path, "-c", code, stdout=subprocess.PIPE)
    run.wait_for("d.txt", "\n", 5)
    run.sh("mv d.log d.log.1; mv d.txt d.txt.1")
    daemon.send_signal(signal.SIGHUP)
    wait_until((run.dir / "reopened").exists, 30.0, "the reopening")
    run.wait_for("d.txt", "\n", 5)
    (run.dir / "stop").touch()
    count = int(daemon.communicate(timeout=60)[0])
    for name in ("d.log", "d.txt"):
        same([int(n) for n in (run.read(f"{name}.1") + run.read(name)).split()], list(range(count)), name)
    run.sh(
        'exec 3>> t.log 4>> t.txt; for f in t.log t.txt; do n=3; [ $f = t.txt ] && n=4; echo one >&$n; cp $f $f.1; : > $f; echo two >&$n; test "$(cat $f)" = two; truncate -s 0 $f; echo three >&$n; test "$(cat $f)" = three; done'
    )


@scenario("tail")
def tail_follows(run: Run) -> None:
    """tail -f sees each line at once; tail -F follows a rotation, a truncation and a replacement by rename"""
    for name in ("t.log", "t.txt"):
        run.write(name, "first\n")
        f, big_f = run.scratch / f"f-{name}", run.scratch / f"F-{name}"
        with f.open("wb") as one, big_f.open("wb") as two:
            tails = [
                run.start(
                    "tail",
                    "-n",
                    "+1",
                    "-s",
                    "0.1",
                    "-f",
                    name,
                    stdin=subprocess.DEVNULL,
                    stdout=one,
                    stderr=subprocess.DEVNULL,
                ),
                run.start(
                    "tail",
                    "-n",
                    "+1",
                    "-s",
                    "0.1",
                    "-F",
                    name,
                    stdin=subprocess.DEVNULL,
                    stdout=two,
                    stderr=subprocess.DEVNULL,
                ),
            ]

        def seen(text: str, *paths: object) -> None:
            wait_until(lambda: all(text in path.read_text() for path in paths), 30.0, f"{text} followed")  # type: ignore[attr-defined]

        seen("first", f, big_f)
        for number in range(5):
            run.sh(f"echo second{number} >> {name}")
            seen(f"second{number}\n", f, big_f)
        run.sh(f"mv {name} {name}.1; echo third > {name}")
        seen("third\n", big_f)
        run.sh(f"echo fourth > {name}.new; echo fifth >> {name}.new; mv {name}.new {name}")
        seen("fourth\nfifth\n", big_f)
        run.sh(f"echo sixth >> {name}")
        seen("sixth\n", big_f)
        run.sh(f": > {name}; echo 7 >> {name}")
        seen("7\n", big_f)
        for tail in tails:
            tail.kill()
            tail.wait()
        assert "third" not in f.read_text(), "tail -f went to the new file"


@scenario("inotifywait")
def inotify_events(run: Run) -> None:
    """inotifywait: creation, close after write, moves and removal are told, with the right names"""
    out = run.scratch / "events"
    with out.open("wb") as events:
        watcher = run.start(
            "inotifywait", "-m", "-r", "-e", "create,close_write,moved_from,moved_to,delete,modify", "--format", "%e %f", ".",
            stdin=subprocess.DEVNULL, stdout=events, stderr=subprocess.PIPE,
        )  # fmt: skip
    assert watcher.stderr is not None
    while b"established" not in watcher.stderr.readline():
        assert watcher.poll() is None, "inotifywait ended"
    run.sh(
        "echo a > one; echo b >> one; mv one two; cp two three; rm two; mkdir d; echo x > tmp && mv tmp three; sed -i s/x/y/ three; rm three"
    )

    def expected() -> bool:
        text = out.read_text()
        lines = text.splitlines()
        return all(
            line in lines
            for line in ("CREATE one", "CLOSE_WRITE,CLOSE one", "MOVED_FROM one", "MOVED_TO two", "DELETE two", "CREATE,ISDIR d", "MOVED_TO three", "DELETE three", "CLOSE_WRITE,CLOSE three")
        )  # fmt: skip

    try:
        wait_until(expected, 10.0, "the events")
    except AssertionError:
        raise AssertionError(f"events: {' '.join(out.read_text().split())}") from None
    watcher.kill()
    watcher.wait()


@scenario()
def watchers_that_poll(run: Run) -> None:
    """a reader that looks at mtime and size finds every new version whole, and never an older one"""
    writer = r"""
import os, time
for n in range(150):
    with open('state.json', 'w') as f: f.write('{"n": %d, "pad": "%s"}' % (n, 'x' * 20000)); f.flush()
    time.sleep(0.002)
"""
    # On a plain directory a reader may find the file empty or half written: it tries again, as such readers do.
    reader = r"""
import json, os, time
last, stamp, end = -1, None, time.time() + 100
while last < 149 and time.time() < end:
    try:
        s = os.stat('state.json')
        if (s.st_mtime_ns, s.st_size) == stamp: time.sleep(0.001); continue
        n = json.load(open('state.json'))['n']
    except (FileNotFoundError, ValueError): continue
    assert n >= last, (n, last)
    last, stamp = n, (s.st_mtime_ns, s.st_size) if n < 149 else None
print(last)
"""
    same(
        run.together([run.python_path, "-c", writer], [run.python_path, "-c", reader])[1].strip(), "149", "last version"
    )
