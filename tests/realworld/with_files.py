"""The ordinary tools for files: copies, archives, edits in place."""

from __future__ import annotations

import os
from pathlib import Path

from tests.realworld.scenario import Run, same, scenario


def make_tree(base: Path) -> None:
    """Files of several kinds, sizes, modes and times, with links and odd names."""
    (base / "sub" / "deep").mkdir(parents=True)
    for number in range(40):
        path = base / ("sub" if number % 2 else ".") / f"file {number}"
        path.write_bytes(b"%d\n" % number * (number * number * 9))
        path.chmod(0o600 + number % 64)
        os.utime(path, ns=(10**18 + number, 10**18 + 10**9 * number))
    (base / "large").write_bytes(os.urandom(1 << 16) * 80)
    (base / "empty").touch()
    (base / "sub" / "deep" / "naïve \n name").write_text("x")
    (base / "link").symlink_to("sub/file 1")
    (base / "broken").symlink_to("nowhere")
    os.link(base / "file 2", base / "sub" / "hard")
    os.mkfifo(base / "fifo")
    with (base / "sparse").open("wb") as file:
        file.truncate(1 << 20)
    (base / "sub" / "deep").chmod(0o750)


_LISTING = (
    "find . -mindepth 1 -printf '%P %y %m %U %G %l' \\( ! -type d -printf ' %s %n' \\) \\( -type f -printf ' %T@' \\) "
    "-printf '\\0' | sort -z | tr '\\0' '|'; find . -type f -exec sha256sum -- {} + | sort"
)


def listing(run: Run, base: Path) -> str:
    """All that a faithful copy keeps."""
    return run.sh(_LISTING, cwd=base)


@scenario()
def cp_and_mv(run: Run) -> None:
    """cp -a onto, within and off; mv across and within; cp --sparse, -u, --backup; rm -r"""
    make_tree(run.scratch / "a")
    before = listing(run, run.scratch / "a")
    run.sh(f"cp -a '{run.scratch}/a' a; cp -a a b; cp -a b '{run.scratch}/c'; mv '{run.scratch}/c' c; mv c d")
    for name in ("a", "b", "d"):
        same(listing(run, run.dir / name), before, f"tree {name}")
    run.sh(
        "cp --sparse=always a/sparse s; cmp s a/sparse; cp --backup=numbered a/large s; cmp s a/large; cmp s.~1~ a/sparse"
    )
    run.sh("echo new > s; touch -d '2001-01-01' old; cp -u old s; grep -x new s; rm -r a b d; test ! -e a")


@scenario("rsync")
def rsync_copies(run: Run) -> None:
    """rsync -aH, --inplace, --delete, --append-verify, --partial, --checksum; and back off the target"""
    make_tree(run.scratch / "a")
    rsync = f"rsync -aH {run.scratch}/a/"
    run.sh(
        f"{rsync} one/; {rsync} two/ --inplace; echo gone > one/extra; head -c 100000 '{run.scratch}/a/large' > two/large"
    )
    (run.scratch / "a" / "file 4").write_text("changed")
    (run.scratch / "a" / "sub" / "file 5").unlink()
    with (run.scratch / "a" / "large").open("r+b") as file:
        file.seek(100_001)
        file.write(b"changed")
    os.utime(
        run.scratch / "a" / "large", (1_500_000_000, 1_500_000_000)
    )  # its size is the same, and perhaps the second
    run.sh(
        f"{rsync} one/ --delete; {rsync} two/ --inplace --no-whole-file --delete --checksum; {rsync} three/ --append-verify --partial"
    )
    run.sh(f"rsync -aH three/ {run.scratch}/back/")
    expected = listing(run, run.scratch / "a")
    for base in (run.dir / "one", run.dir / "two", run.dir / "three", run.scratch / "back"):
        same(listing(run, base), expected, f"tree {base.name}")


@scenario()
def tar_archives(run: Run) -> None:
    """tar -c, -x, -d, -r, -u, --delete, compressed, with xattrs off; a pipe between two tars"""
    make_tree(run.scratch / "a")
    run.sh(f"""tar --format=pax -C {run.scratch} -cpf a.tar a; tar -xpf a.tar; tar -df a.tar; mkdir p
    tar -C {run.scratch} -cf - --format=pax a | tar -C p -xpf -; echo more > more; tar -rf a.tar more; tar --delete -f a.tar a/large
    tar -tf a.tar | grep -x more > /dev/null; tar -C {run.scratch} -czf a.tgz a; tar -tzf a.tgz | wc -l > n; gzip -t a.tgz""")
    for base in (run.dir / "a", run.dir / "p" / "a"):
        same(listing(run, base), listing(run, run.scratch / "a"), str(base.relative_to(run.dir)))


@scenario("zip unzip")
def zip_archives(run: Run) -> None:
    """zip -r, -u, -d, -m; unzip -o over existing files; unzip -t"""
    make_tree(run.scratch / "a")
    run.sh(f"""rm {run.scratch}/a/fifo; cp -a {run.scratch}/a a; zip -qry a.zip a; echo new > a/empty; touch -d 2040-01-01 a/empty; zip -quy a.zip a/empty; zip -qd a.zip a/large
    unzip -qt a.zip; mkdir x; cd x; unzip -qo ../a.zip; unzip -qo ../a.zip; grep -x new a/empty >/dev/null; test ! -e a/large; cmp 'a/file 30' '../a/file 30'
    cd ..; echo x > moved; zip -qm m.zip moved; test ! -e moved; unzip -q m.zip; grep -x x moved""")


@scenario("bsdtar")
def bsdtar_archives(run: Run) -> None:
    """libarchive's bsdtar and bsdcpio: tar, cpio, zip, 7z and back"""
    make_tree(run.scratch / "a")
    run.sh(f"""rm {run.scratch}/a/fifo; bsdtar --format pax -C {run.scratch} -cpf a.tar a; bsdtar -xpf a.tar
    for f in cpio zip 7zip; do bsdtar --format $f -cf a.$f a; mkdir $f; bsdtar -C $f -xf a.$f; cmp a/large $f/a/large; done""")
    same(listing(run, run.dir / "a"), listing(run, run.scratch / "a"), "a")


@scenario("7zz")
def seven_zip(run: Run) -> None:
    """7zz: add, update, test, extract"""
    make_tree(run.scratch / "a")
    run.sh(f"""rm {run.scratch}/a/fifo {run.scratch}/a/broken; 7zz a -bso0 a.7z {run.scratch}/a; echo more > more; 7zz u -bso0 a.7z more; 7zz t -bso0 a.7z
    7zz x -bso0 -oout a.7z; cmp out/a/large {run.scratch}/a/large; cmp 'out/a/sub/file 31' '{run.scratch}/a/sub/file 31'; grep -x more out/more""")


@scenario()
def compressors(run: Run) -> None:
    """gzip, bzip2, xz, zstd where they are: in place, and back, times kept"""
    run.write("data", os.urandom(50_000) + b"a" * 400_000)
    run.sh("""sha256sum data > sum; touch -d 2020-02-02 data
    for z in gzip bzip2 xz zstd; do command -v $z >/dev/null || continue; $z -k data; r=(data.?*); mv data plain; case $z in zstd) zstd -q -d --rm ${r[0]};; *) $z -d ${r[0]};; esac
      sha256sum -c --status sum; test "$(stat -c %Y data)" = "$(stat -c %Y plain)"; rm plain; done; gzip data; test ! -e data; gunzip data.gz; sha256sum -c --status sum""")


@scenario("perl")
def edits_in_place(run: Run) -> None:
    """sed -i, perl -i, sort -o the same file, sponge by shell, awk -i inplace, ed, patch; modes kept"""
    run.write("f", "".join(f"line {n}\n" for n in range(2000)))
    run.sh("""chmod 640 f; sed -i 's/line 7$/seven/' f; sed -i.bak 2d f; perl -i -pe 's/line 8$/eight/' f; perl -i.orig -ne 'print unless /line 9$/' f
    sort -r -o f f; sort -c -r f; grep -qx seven f; grep -qx eight f; test $(wc -l < f) = 1998; test $(wc -l < f.bak) = 2000; test $(stat -c %a f) = 640
    uniq f f.u; cmp f f.u; content=$(cat f); printf '%s\\n' "$content" > f; cmp f f.u; sort -u f -o f; sort -c f""")
    run.sh("""cp f g; sed -i s/line/LINE/ g; diff -u f g > p || true; patch -s f < p; cmp f g; patch -s -R f < p; grep -q line f; if grep -q LINE f; then exit 1; fi
    patch -s -b f p; test -e f.orig; cmp f g""")


@scenario()
def small_writers(run: Run) -> None:
    """dd conv=notrunc, truncate, split and cat, install, mktemp, tee, shuf -o, csplit, fallocate's fallback, shred"""
    run.write("f", b"0123456789" * 1000)
    run.sh("""printf ABC | dd of=f bs=1 seek=4 conv=notrunc status=none; head -c 10 f | grep -x 0123ABC789 >/dev/null; test $(stat -c %s f) = 10000
    dd if=f of=g bs=4096 conv=fsync status=none; cmp f g; dd if=/dev/zero of=g bs=1 seek=20000 count=1 status=none; test $(stat -c %s g) = 20001
    dd if=f of=g bs=1000 seek=1 oflag=append conv=notrunc status=none; test $(stat -c %s g) = 30001; cmp <(tail -c 10000 g) f
    truncate -s 100 g; truncate -s +50 g; test $(stat -c %s g) = 150; truncate -s 0 g; truncate -r f g; test $(stat -c %s g) = 10000
    seq 10000 > n; split -l 999 n part.; cat part.* | cmp - n; csplit -s n 500 '/^900$/'; cat xx* | cmp - n
    install -D -m 751 n d/e/n; test $(stat -c %a d/e/n) = 751; install -m 600 f d/e/n; cmp f d/e/n; test $(stat -c %a d/e/n) = 600
    t=$(mktemp -p .); test $(stat -c %a $t) = 600; echo x > $t; mv $t moved; d=$(mktemp -d -p .); echo y > $d/y; rm -r $d
    seq 100 | tee a b > c; cmp a b; cmp b c; seq 5 | tee -a a > /dev/null; test $(wc -l < a) = 105; shuf n -o n; sort -n n -o n; seq 10000 | cmp - n
    shred -u -n 1 moved; test ! -e moved; ln -s f s; echo via > s; test -L s; grep -x via f; ln n hard; echo more >> hard; cp --remove-destination f s; test ! -L s""")


@scenario()
def tee_together(run: Run) -> None:
    """six tee -a append to one file at once: every line whole, none lost"""
    line = 'for i in $(seq 1 200); do echo "$0 $i $(printf %0120d 0)"; done | tee -a all.txt > /dev/null'
    run.together(*(["bash", "-c", line, str(number)] for number in range(6)))
    lines = run.read("all.txt").splitlines()
    same(len(lines), 1200, "lines")
    same(len({tuple(one.split()[:2]) for one in lines}), 1200, "different lines")
    assert all(len(one.split()) == 3 and len(one.split()[2]) == 120 for one in lines), "a torn line"


@scenario()
def find_and_xargs(run: Run) -> None:
    """xargs -P writing many small files, find -exec, -delete, -newer, chmod -R, du, ls -l"""
    run.sh("""seq 300 | xargs -P 4 -n 10 sh -c 'for i; do echo $i > out.$i; done' sh; test $(find . -name 'out.*' | wc -l) = 300
    cat out.* | sort -n | cmp - <(seq 300); find . -name 'out.*' -exec sed -i 's/^/n/' {} +; cat out.* | sort -V | cmp - <(seq 300 | sed s/^/n/)
    touch -d 2001-01-01 out.1; test $(find . -name 'out.*' ! -newermt 2002-01-01 | wc -l) = 1; chmod -R u=rwX,go= .; test $(stat -c %a out.5) = 600
    test $(ls -l out.* | wc -l) = 300; find . -name 'out.*' -delete; test -z "$(ls)" """)


@scenario()
def atomic_replace(run: Run) -> None:
    """four processes replace one file by temporary file, fsync, chmod and rename; a reader always finds a whole one"""
    code = """
import os, sys, tempfile
for n in range(60):
    fd, name = tempfile.mkstemp(dir='.', prefix='conf.')
    with os.fdopen(fd, 'w') as f: f.write((sys.argv[1] * 5000) + '\\n'); f.flush(); os.fsync(f.fileno())
    os.chmod(name, 0o640); os.replace(name, 'conf')
"""
    read = """
import sys, os
bad = 0
for n in range(400):
    text = open('conf').read()
    bad += len(text) != 5001 or len(set(text)) != 2 or os.stat('conf').st_mode & 0o777 != 0o640
print(bad)
"""
    run.write("conf", "0" * 5000 + "\n").chmod(0o640)
    said = run.together(
        *([run.python_path, "-c", code, str(number)] for number in range(4)), [run.python_path, "-c", read]
    )
    same(said[-1].strip(), "0", "bad reads")
    same(sorted(path.name for path in run.dir.glob("conf*")), ["conf"], "what is left")
