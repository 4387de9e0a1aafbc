"""Editors, without a screen or in a pseudo-terminal."""

from __future__ import annotations

import time

from tests.realworld.scenario import Run, same, scenario
from tests.realworld.terminal import Terminal


@scenario("vim")
def vim_saves(run: Run) -> None:
    """vim -es: save, backup, backupcopy yes and no, writebackup off, undo file, a new file, :saveas, :w >>, swap gone"""
    for number, options in enumerate(
        (
            "",
            "set backup backupskip=",
            "set backupcopy=yes",
            "set backupcopy=no",
            "set nowritebackup nobackup",
            "set undofile",
        )
    ):
        run.write("f.txt", "one\ntwo\n").chmod(0o640)
        run(
            "vim",
            "-u",
            "NONE",
            "-es",
            "-c",
            options or "set nocp",
            "-c",
            "%s/two/zwei/",
            "-c",
            "normal othree",
            "-c",
            "wq",
            "f.txt",
        )
        same(run.read("f.txt"), "one\nzwei\nthree\n", options or "defaults")
        same((run.dir / "f.txt").stat().st_mode & 0o777, 0o640, "mode")
        run("vim", "-u", "NONE", "-es", "-c", f"normal inew {number}", "-c", "wq", f"new{number}.txt")
        same(run.read(f"new{number}.txt"), f"new {number}\n", "new file")
        same((run.dir / "f.txt~").exists(), options == "set backup backupskip=", "backup")
        (run.dir / "f.txt~").unlink(missing_ok=True)
    run(
        "vim",
        "-u",
        "NONE",
        "-es",
        "-c",
        "saveas g.txt",
        "-c",
        "1w! >> h.txt",
        "-c",
        "w! >> f.txt",
        "-c",
        "qa!",
        "f.txt",
        status=None,
    )
    same((run.read("g.txt"), run.read("f.txt").count("one")), ("one\nzwei\nthree\n", 2), "saveas and append")
    same([path.name for path in run.dir.glob(".*.sw?")], [], "swap files left")


@scenario("vim")
def vim_on_a_screen(run: Run) -> None:
    """vim in a terminal: two editors of one file, the second one is warned of the swap file; both save in turn"""
    run.write("f.txt", "text\n")
    first = Terminal(run, "vim", "-u", "NONE", "f.txt")
    first.wait_for("text")
    first.send("ofirst\x1b")
    second = Terminal(run, "vim", "-u", "NONE", "f.txt")
    second.wait_for("ATTENTION")
    second.send("\r" * 3)
    time.sleep(0.3)
    second.send("q\x1b:qa!\r")
    first.send(":wq\r")
    same(first.wait_for_end(), 0, "the first vim's status")
    same(run.read("f.txt"), "text\nfirst\n", "the file")
    second.send("q\r")
    second.close()
    third = Terminal(run, "vim", "-u", "NONE", "f.txt")
    third.wait_for("first")
    third.send("Gothird\x1b:w\rGofourth\x1b:x\r")
    same(third.wait_for_end(), 0, "the third vim's status")
    same(run.read("f.txt"), "text\nfirst\nthird\nfourth\n", "the file")


@scenario("nano")
def nano_saves(run: Run) -> None:
    """nano in a terminal: an existing file, a new one, with backup, and with its own lock file"""
    for options, name in (("", "f.txt"), ("-B", "f.txt"), ("-G", "f.txt"), ("", "new.txt")):
        if name == "f.txt":
            run.write(name, "old\n").chmod(0o600)
        nano = Terminal(run, "nano", "--ignorercfiles", *([options] if options else []), name)
        nano.wait_for("nano")
        nano.send("typed \x0f")
        nano.wait_for("rite")
        nano.send("\r")
        nano.wait_for("rote")
        nano.send("\x18")
        same(nano.wait_for_end(), 0, "nano's status")
        same(run.read(name).rstrip(), "typed old" if name == "f.txt" else "typed", f"{name} {options}")
    same((run.dir / "f.txt").stat().st_mode & 0o777, 0o600, "mode")
    same(run.read("f.txt~"), "old\n", "backup")


@scenario("ed")
def ed_scripts(run: Run) -> None:
    """ed: substitute, append, write part of a file, W to append, from two processes one after the other"""
    run.write("f", "a\nb\nc\n")
    run("ed", "-s", "f", data="2s/b/B/\n$a\nd\n.\nw\n1,2w part\n3W part\nq\n")
    run("ed", "-s", "f", data="/d/d\nw\nq\n")
    same((run.read("f"), run.read("part")), ("a\nB\nc\n", "a\nB\nc\n"), "file and part")


@scenario("emacs", limit_s=240)
def emacs_batch(run: Run) -> None:
    """emacs --batch: save with backups by rename and by copy, its lock file, append-to-file, auto-save, precious"""
    for number, options in enumerate(
        (
            "(setq backup-by-copying nil)",
            "(setq backup-by-copying t)",
            "(setq file-precious-flag t)",
            "(setq make-backup-files nil)",
        )
    ):
        run.write("f.txt", "old\n").chmod(0o640)
        code = f'(progn {options} (find-file "f.txt") (goto-char (point-max)) (insert "new {number}\\n") (do-auto-save) (save-buffer) (append-to-file "log\\n" nil "l.txt"))'
        run("emacs", "-Q", "--batch", "--eval", code)
        same(run.read("f.txt"), f"old\nnew {number}\n", options)
        same((run.dir / "f.txt").stat().st_mode & 0o777, 0o640, "mode")
    same(run.read("l.txt"), "log\n" * 4, "append-to-file")
    same([path.name for path in run.dir.glob(".#*")], [], "lock files left")


@scenario("git bash")
def editors_of_git(run: Run) -> None:
    """an editor that git starts: commit -e, rebase -i, by a sed script that replaces the file"""
    run.write("editor", "#!/bin/sh\nsed -i '1s/^/edited /' \"$1\"\n").chmod(0o755)
    run.write("todo", "#!/bin/sh\nsed -i '2s/^pick/fixup/' \"$1\"\n").chmod(0o755)
    run.env |= {"GIT_EDITOR": str(run.dir / "editor"), "GIT_SEQUENCE_EDITOR": str(run.dir / "todo")}
    run.sh(
        "git init -qb main r; cd r; for i in 1 2 3 4; do echo $i > f$i; git add .; git commit -qem c$i; done; git rebase -qi HEAD~3 2>/dev/null >/dev/null; git log --format=%s > ../subjects"
    )
    same(run.read("subjects").split("\n")[:3], ["edited c4", "edited c2", "edited c1"], "subjects")
