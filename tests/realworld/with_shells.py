"""Shells, terminals and what people do in them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from tests.realworld.scenario import Run, same, scenario
from tests.realworld.terminal import Terminal
from tests.support import programs


@scenario("bash")
def shell_redirections(run: Run) -> None:
    """heredocs, noclobber, >| and >>, exec with descriptors, <>, process substitution, a group's output, dash as well"""
    run.sh(
        r"""cat > h <<EOF
one $((1 + 1))
EOF
        grep -qx 'one 2' h; cat >> h <<'EOF'
$two
EOF
        test $(wc -l < h) = 2; set -C; if (echo x > h) 2>/dev/null; then exit 1; fi; echo y >| h; grep -qx y h; echo z >> h; set +C
        { echo 1; echo 2; sh -c 'echo 3'; } > g; test $(wc -l < g) = 3; (echo a; (echo b; echo c) ) > g; test $(wc -l < g) = 3
        exec 5<> rw; echo first >&5; echo second >&5; exec 5>&-; test "$(head -1 rw)" = first; exec 5<> rw; read -r l <&5; echo SECOND >&5; exec 5>&-; grep -qx SECOND rw
        exec 6> o; echo 1 >&6; echo 2 >&6; cp o o2; test $(wc -l < o2) = 2; exec 6>&-; diff <(seq 5) <(seq 5); seq 9 > >(sort -r > s); while [ ! -s s ]; do sleep 0.01; done; test $(head -1 s) = 9
        echo out > b 2>&1; ls nothing >> b 2>&1 || true; test $(wc -l < b) = 2; : > e; test ! -s e; > e2; test -e e2
        for i in 1 2 3; do echo $i; done > loop; while read -r l; do echo "got $l" >> loop2; done < loop; test $(wc -l < loop2) = 3
        cat < h > h2; cmp h h2; x=$(< h); echo "$x" | cmp - h"""
    )
    run(
        "sh",
        "-ec",
        "echo a > f; echo b >> f; { echo c; echo d; } >> f; test $(wc -l < f) = 4; cat > k <<E\nhi\nE\ngrep -qx hi k",
    )


@scenario("bash")
def append_loops(run: Run) -> None:
    """eight shells append lines in loops to one file, by >> each time and by one open descriptor"""
    each = 'for i in $(seq 1 60); do echo "$0 $i $(printf %0200d 0)" >> all.txt; done; exec 3>> held.txt; for i in $(seq 1 60); do echo "$0 $i $(printf %0200d 0)" >&3; done'
    run.together(*(["bash", "-c", each, str(number)] for number in range(8)))
    for name in ("all.txt", "held.txt"):
        words = [line.split() for line in run.read(name).splitlines()]
        same((len(words), len({(w[0], w[1]) for w in words}), {len(w[2]) for w in words}), (480, 480, {200}), name)
        for who in range(8):
            same([int(w[1]) for w in words if w[0] == str(who)], list(range(1, 61)), f"order of {who} in {name}")


@scenario("bash")
def ctrl_c_on_a_waiting_shell(run: Run) -> None:
    """Ctrl-C on `echo > f` while another process writes f: the shell lives, the prompt is back, the file is not torn"""
    run.write("f", "old\n")
    holder = programs.start(
        [run.python_path, "-c", "f = open('f', 'r+'); print(flush=True); input(); f.write('new'); f.close()"],
        cwd=run.dir, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert holder.stdout
    assert holder.stdin
    holder.stdout.readline()
    terminal = Terminal(run, "bash", "--norc", "--noprofile", "-i")
    terminal.wait_for("$ ")
    start_s = time.monotonic()
    # Where there is no wait, it is over at once, and sleep is what Ctrl-C ends.
    terminal.send("{ echo mine; } > f; sleep 300\n")
    terminal.wait_for("sleep 300")
    for _ in range(20):  # one that comes while the shell starts a program gets lost
        time.sleep(0.5)  # there is nothing to see of a shell that waits
        terminal.send("\x03")
        if terminal.comes("$ ", 0.5):
            break
    terminal.send("echo ali''ve\n")
    terminal.wait_for("alive")
    assert time.monotonic() - start_s < 25, "Ctrl-C took effect too late"
    assert run.read("f") in ("old\n", "mine\n"), run.read("f")
    before = run.read("f")
    holder.communicate(b"\n", 30)
    terminal.send("cat f | head -c 20; exit\n")
    terminal.wait_for_end()
    same(run.read("f"), "new" + before[3:], "the file in the end")


@scenario("bash")
def job_control(run: Run) -> None:
    """a shell's job is stopped by Ctrl-Z while it writes, put into the background and brought back: all its lines are there"""
    terminal = Terminal(run, "bash", "--norc", "--noprofile", "-i")
    terminal.wait_for("$ ")
    terminal.send("(for i in $(seq 1 40); do echo $i; sleep 0.05; done) > jobs.txt\n")
    terminal.wait_for("jobs.txt")
    time.sleep(0.5)
    terminal.send("\x1a")
    terminal.wait_for("Stopped")
    terminal.send("bg\n")
    terminal.wait_for("$ ")
    terminal.send("fg\n")
    terminal.send("echo do''ne\n")
    terminal.wait_for("done")
    terminal.send("exit\n")
    terminal.wait_for_end()
    same(run.read("jobs.txt").split(), [str(n) for n in range(1, 41)], "lines")


@scenario("script bash")
def script_program(run: Run) -> None:
    """script(1) records a session, and appends another one; timing; readable while it runs"""
    run.sh(
        "script -qec 'echo recorded; seq 50' typescript > /dev/null; script -qaec 'echo again' typescript > /dev/null; script -qec 'echo t' -T timing typescript2 > /dev/null"
    )
    text = run.read("typescript")
    assert all(word in text for word in ("recorded", "50", "again")), text[-200:]
    assert run.read("timing").strip()


@scenario("tmux")
def tmux_pipe_pane(run: Run) -> None:
    """tmux pipe-pane writes what a pane shows to a file that is followed meanwhile; save-buffer, capture-pane"""
    socket = run.scratch / "tm"
    tmux = ["tmux", "-S", str(socket), "-f", "/dev/null"]
    run(*tmux, "new-session", "-d", "-x", "80", "-y", "20", "bash --norc --noprofile")
    for name in ("pane.log", "pane.txt"):
        run(*tmux, "pipe-pane", "-o", f"exec cat >> {name}")
        run(*tmux, "send-keys", f"echo to-{name}-$((40 + 2))", "Enter")
        run.wait_for(name, f"to-{name}-42")
        run(*tmux, "pipe-pane")
    run(*tmux, "set-buffer", "buffered")
    run(*tmux, "save-buffer", "buffer")
    same(run.read("buffer"), "buffered", "save-buffer")
    run(*tmux, "kill-server")


@scenario("bash")
def cron_like_runs(run: Run) -> None:
    """twelve overlapping runs rewrite a state file under a lock and append to a report; pid files, traps and nohup"""
    run.write("state", "0\n")
    job = "exec 9> job.lock; flock 9; n=$(cat state); echo $((n + 1)) > state.new; mv state.new state; echo \"run $n\" >> report.txt; echo $$ > job.pid; trap 'rm -f job.pid' EXIT; test $(cat job.pid) = $$"
    run.together(*(["bash", "-ec", job] for _ in range(12)))
    same(run.read("state").strip(), "12", "state")
    same(run.read("report.txt").splitlines(), [f"run {n}" for n in range(12)], "report")
    run.sh(
        "nohup sh -c 'echo from nohup; sleep 0.2; echo more' > nohup.out 2>&1 & wait; grep -x more nohup.out > /dev/null; test ! -e job.pid"
    )


@scenario("bash")
def background_output(run: Run) -> None:
    """`server > server.log &` is followed while it runs; a kill in the middle keeps what a log has"""
    server = run.start("bash", "-c", "exec > server.log; for i in $(seq 1 10000); do echo tick $i; sleep 0.01; done")
    run.wait_for("server.log", "tick", 5)
    os.killpg(server.pid, signal.SIGKILL)
    server.wait(30)
    assert run.read("server.log").startswith("tick 1\ntick 2\n")
    assert Path(run.dir / "server.log").stat().st_size > 20
