"""git: what a working day does to a repository, and several processes at once."""

from __future__ import annotations

from tests.realworld.scenario import Run, same, scenario

_FILL = """
mkdir -p src; for i in $(seq 1 40); do seq $i $((i * 20)) > src/f$i.txt; done
git add -A; git commit -qm first
for i in 1 2 3; do echo "line $i" >> src/f1.txt; git commit -qam "change $i"; done
"""


def _fsck(run: Run, repository: str) -> None:
    run("git", "-C", run.dir / repository, "fsck", "--strict", "--full", "--no-dangling")


@scenario("git")
def git_history(run: Run) -> None:
    """init, commit, branch, merge with a conflict, rebase, stash, tag, reset, log"""
    run.sh("git init -qb main repo; cd repo; " + _FILL)
    run.sh(
        """cd repo
        git checkout -qb side HEAD~2; echo side >> src/f2.txt; git commit -qam side; echo more > src/new.txt; git add .; git commit -qm new
        git checkout -q main; git merge -qm merged side; git log --merges --format=%s | grep -x merged >/dev/null
        git checkout -qb clash HEAD~1; sed -i 1s/.*/ours/ src/f3.txt; git commit -qam ours
        git checkout -q main; sed -i 1s/.*/theirs/ src/f3.txt; git commit -qam theirs
        if git merge -q clash >/dev/null; then exit 9; fi
        grep -q '<<<<<<<' src/f3.txt; git checkout -q --theirs src/f3.txt; git add -A; git commit -qm resolved
        git checkout -qb moved HEAD~1; echo x > x.txt; git add .; git commit -qm x; echo y > y.txt; git add .; git commit -qm y; git rebase -q main
        echo dirty >> x.txt; echo loose > untracked; git stash -qu; test ! -e untracked; git stash pop -q; test -e untracked
        git tag -am tagged v1; git reset -q --hard; git clean -qfd"""
    )
    same(run("git", "-C", run.dir / "repo", "status", "--porcelain"), "", "status after reset and clean")
    same(run("git", "-C", run.dir / "repo", "rev-list", "--count", "HEAD").strip(), "12", "commits")
    _fsck(run, "repo")


@scenario("git")
def git_clone_and_push(run: Run) -> None:
    """bare repository, two clones (with and without hard links), push, fetch, pull"""
    run.sh("git init -qb main repo; cd repo; " + _FILL)
    run.sh(
        """git clone -q --bare repo bare.git; git clone -q bare.git one; git clone -q --no-hardlinks bare.git two
        cd one; for i in 1 2 3 4 5; do echo $i > n$i; git add .; git commit -qm n$i; git push -q; done
        cd ../two; git pull -q --ff-only; echo two > t; git add .; git commit -qm t; git push -q; cd ../one; git pull -q --ff-only"""
    )
    heads = {run("git", "-C", run.dir / name, "rev-parse", "main") for name in ("one", "two", "bare.git")}
    same(len(heads), 1, "different heads of main")
    for name in ("one", "two", "bare.git"):
        _fsck(run, name)


@scenario("git")
def git_gc_and_worktrees(run: Run) -> None:
    """repack, gc --prune=now, pack-refs, worktrees, bisect, archive"""
    run.sh("git init -qb main repo; cd repo; " + _FILL)
    before = run.sh("cd repo; git rev-list --objects --all | sort | sha256sum")
    run.sh(
        """cd repo; git gc -q --prune=now --aggressive; git pack-refs --all; git repack -qadf; git commit-graph write 2>/dev/null
        git worktree add -q ../wt -b wt; cd ../wt; echo w > w; git add w; git commit -qm w; cd ../repo
        git merge -q wt; git worktree remove ../wt; git worktree prune; test ! -e ../wt
        git archive --format=tar HEAD | tar -tf - | grep -x src/f40.txt >/dev/null
        git bisect start HEAD HEAD~4 >/dev/null 2>&1; git bisect run sh -c '! grep -q "line 2" src/f1.txt' | grep 'first bad' >/dev/null; git bisect reset 2>/dev/null >/dev/null"""
    )
    same(run.sh("cd repo; git rev-list --objects --all --not main~0 | wc -l").strip(), "0", "objects off main")
    same(run.sh("cd repo; git rev-list --objects main~1 | sort | sha256sum"), before, "objects after gc")
    _fsck(run, "repo")


@scenario("git")
def git_parallel_worktrees(run: Run) -> None:
    """four processes commit at once, each in a worktree of one repository"""
    run.sh("git init -qb main repo; cd repo; " + _FILL)
    for number in range(4):
        run.sh(f"cd repo; git worktree add -q ../wt{number} -b b{number}")
    work = 'cd wt$0; for i in $(seq 1 8); do echo $0 $i >> log$0.txt; git add -A; git commit -qm "$0 $i"; done'
    run.together(*(["bash", "-ec", work, str(number)] for number in range(4)))
    for number in range(4):
        same(run.sh(f"cd repo; git rev-list --count main..b{number}").strip(), "8", f"commits of {number}")
        same(len(run.sh(f"cd repo; git show b{number}:log{number}.txt").split("\n")), 9, "lines")
    _fsck(run, "repo")


@scenario("git", limit_s=240)
def git_index_lock(run: Run) -> None:
    """three processes commit to one branch at once and try again when index.lock or the ref is taken"""
    run.sh("git init -qb main repo; cd repo; " + _FILL)
    work = """cd repo; for i in $(seq 1 5); do
        echo $0 $i > own.$0.$i
        for try in $(seq 1 400); do
            if git add own.$0.$i 2>err.$0 && git commit -qm "$0 $i" own.$0.$i 2>err.$0; then continue 2; fi
            grep -Eq 'index.lock|HEAD.lock|cannot lock ref|Another git process|unable to (write|create)|main.lock' err.$0 || { cat err.$0; exit 3; }
            sleep 0.0$((RANDOM % 9 + 1))
        done; exit 4; done; rm err.$0"""
    run.together(*(["bash", "-c", work, str(number)] for number in range(3)))
    same(run.sh("cd repo; git rev-list --count HEAD").strip(), "19", "commits")
    same(run("git", "-C", run.dir / "repo", "status", "--porcelain"), "", "status")
    same(len(list((run.dir / "repo").glob("own.*"))), 15, "files")
    _fsck(run, "repo")


@scenario("git")
def git_parallel_push(run: Run) -> None:
    """four clones push branches to one bare repository at once, while another one fetches"""
    run.sh("git init -qb main repo; cd repo; " + _FILL + "cd ..; git clone -q --bare repo bare.git")
    work = (
        "git clone -q bare.git c$0; cd c$0; git checkout -qb b$0; for i in 1 2 3; do echo $i > p$i; git add .; "
        "git commit -qm p$i; git push -q origin b$0; done"
    )
    fetch = "git clone -q bare.git $0; cd $0; for i in 1 2 3 4; do git fetch -q; done"
    run.together(*(["bash", "-ec", work, str(n)] for n in range(4)), ["bash", "-ec", fetch, "reader"])
    same(
        run.sh("git -C bare.git for-each-ref --format='%(refname:short)' refs/heads").split(),
        ["b0", "b1", "b2", "b3", "main"],
        "refs",
    )
    _fsck(run, "bare.git")
    _fsck(run, "reader")


@scenario("git")
def git_patches_and_config(run: Run) -> None:
    """format-patch, am, apply, notes, config by several processes, a submodule, sparse checkout"""
    run.sh("git init -qb main repo; cd repo; " + _FILL)
    run.sh(
        """git clone -q repo other; cd other; git reset -q --hard HEAD~3; git -C ../repo format-patch -q -3 -o ../patches
        git am -q ../patches/*.patch; diff -r --exclude=.git . ../repo
        git notes add -m noted; git notes show | grep -x noted >/dev/null; git -c protocol.file.allow=always submodule --quiet add "$PWD/../repo" sub; git commit -qm sub
        git sparse-checkout set --no-cone '/*' '!/src/f2*'; test ! -e src/f21.txt; git sparse-checkout disable; test -e src/f21.txt"""
    )
    names = [["git", "config", "-f", "shared.cfg", f"s.k{number}", "v"] for number in range(6)]
    for name in names:
        run(*name)
    same(run.sh("git config -f shared.cfg --list | wc -l").strip(), "6", "settings")
    _fsck(run, "other")
