"""Other languages' ways to write files: Node, Rust, Go, Java, Perl."""

from __future__ import annotations

from tests.realworld.scenario import Run, same, scenario


@scenario("node")
def node_files(run: Run) -> None:
    """Node: createWriteStream, appendFile, promises.writeFile, rename, copyFile, fs.watch, truncate, a pipeline"""
    run.write(
        "job.mjs",
        r"""
import fs from 'node:fs'; import { once } from 'node:events'; import { pipeline } from 'node:stream/promises'; import zlib from 'node:zlib'; import assert from 'node:assert'
const p = fs.promises
const s = fs.createWriteStream('s.txt'); for (let i = 0; i < 5000; i++) if (!s.write(`line ${i}\n`)) await once(s, 'drain'); s.end(); await once(s, 'close')
assert.equal((await p.readFile('s.txt', 'utf8')).split('\n').length, 5001)
const a = fs.createWriteStream('s.txt', { flags: 'a' }); a.end('appended\n'); await once(a, 'close'); assert((await p.readFile('s.txt', 'utf8')).endsWith('appended\n'))
const m = fs.createWriteStream('s.txt', { flags: 'r+', start: 0 }); m.end('LINE'); await once(m, 'close'); assert((await p.readFile('s.txt', 'utf8')).startsWith('LINE 0\nline 1'))
await Promise.all([...Array(100).keys()].map(i => p.appendFile('a.txt', `entry ${i}\n`))); assert.equal(new Set((await p.readFile('a.txt', 'utf8')).trim().split('\n')).size, 100)
await Promise.all([...Array(60).keys()].map(i => p.writeFile(`w${i}.json`, JSON.stringify({ i, pad: 'x'.repeat(9000) })))); for (let i = 0; i < 60; i++) assert.equal(JSON.parse(await p.readFile(`w${i}.json`)).i, i)
await Promise.all([...Array(20).keys()].map(i => p.writeFile('same.json', JSON.stringify({ i, pad: 'y'.repeat(100) }))))
await p.writeFile('t.tmp', 'new'); await p.rename('t.tmp', 'w0.json'); assert.equal(await p.readFile('w0.json', 'utf8'), 'new'); await p.copyFile('s.txt', 'c.txt'); await p.cp('w0.json', 'd/e/w.json', { recursive: true }).catch(() => {})
await pipeline(fs.createReadStream('s.txt'), zlib.createGzip(), fs.createWriteStream('s.gz')); assert(zlib.gunzipSync(fs.readFileSync('s.gz')).equals(fs.readFileSync('s.txt')))
const h = await p.open('h.bin', 'w+'); await h.write(Buffer.alloc(1000, 1), 0, 1000, 500); await h.truncate(1200); await h.sync(); assert.equal((await h.stat()).size, 1200); assert.equal((await h.read(Buffer.alloc(10), 0, 10, 600)).buffer[0], 1); await h.close()
const seen = new Set(); const w = fs.watch('.', (e, f) => seen.add(`${e} ${f}`)); fs.writeFileSync('watched.txt', '1'); fs.renameSync('watched.txt', 'watched2.txt'); fs.unlinkSync('watched2.txt')
for (let i = 0; i < 500 && !(seen.has('rename watched.txt') && seen.has('rename watched2.txt')); i++) await new Promise(r => setTimeout(r, 10)); w.close(); assert(seen.has('rename watched.txt') && seen.has('rename watched2.txt'), [...seen].join())
await p.rm('d', { recursive: true, force: true }); const d = await p.mkdtemp('tmp-'); await p.rmdir(d)
""",
    )
    run("node", "job.mjs")


@scenario("node")
def node_processes(run: Run) -> None:
    """three Node processes append to one file, and write a JSON file by temporary file and rename, at once"""
    run.write(
        "job.js",
        "const fs = require('fs'), me = process.argv[2]; for (let i = 0; i < 150; i++) { fs.appendFileSync('all.txt', `${me} ${i} ${'x'.repeat(150)}\\n`); if (i % 5 == 0) { fs.writeFileSync(`c.${me}.tmp`, JSON.stringify({ me, pad: 'y'.repeat(5000) })); fs.renameSync(`c.${me}.tmp`, 'c.json'); JSON.parse(fs.readFileSync('c.json')) } }",
    )
    run.together(*(["node", "job.js", str(n)] for n in range(3)))
    words = [line.split() for line in run.read("all.txt").splitlines()]
    same((len(words), len({(w[0], w[1]) for w in words}), {len(w[2]) for w in words}), (450, 450, {150}), "lines")


@scenario("npm node", limit_s=240)
def npm_install_offline(run: Run) -> None:
    """npm pack, then install of two local tarballs with a cache and lock file here; npm ci; npm run"""
    for name in ("dep", "lib"):
        run.write(
            f"{name}/package.json",
            f'{{"name": "{name}", "version": "1.0.0", "main": "index.js", "bin": {{"{name}-bin": "cli.js"}}}}',
        )
        run.write(f"{name}/index.js", f"module.exports = '{name}'\n")
        run.write(f"{name}/cli.js", "#!/usr/bin/env node\nconsole.log('cli')\n")
        for number in range(60):
            run.write(f"{name}/src/m{number}.js", f"module.exports = {number}\n")
    run.write(
        "app/package.json",
        '{"name": "app", "version": "1.0.0", "scripts": {"go": "node main.js"}, "dependencies": {"dep": "file:../dep-1.0.0.tgz", "lib": "file:../lib-1.0.0.tgz"}}',
    )
    run.write("app/main.js", "console.log(require('dep') + require('lib') + require('lib/src/m7'))\n")
    run.env |= {
        "npm_config_cache": str(run.dir / "cache"),
        "npm_config_update_notifier": "false",
        "npm_config_audit": "false",
        "npm_config_fund": "false",
        "npm_config_offline": "true",
    }
    run.sh(
        'npm pack ./dep ./lib > /dev/null 2>&1; cd app; npm install --silent; test "$(node main.js)" = deplib7; test -e package-lock.json; rm -rf node_modules; npm ci --silent; test "$(npm run -s go)" = deplib7; test -x node_modules/.bin/dep-bin; npm cache verify > /dev/null'
    )


@scenario("npm node", limit_s=600, extended=True)
def npm_real_package(run: Run) -> None:
    """npm install of a real package with dependencies, from the registry"""
    run.write("package.json", '{"name": "app", "version": "1.0.0"}')
    run.env |= {"npm_config_cache": str(run.dir / "cache"), "npm_config_audit": "false", "npm_config_fund": "false"}
    run.sh(
        "npm install --silent express; node -e \"require('express')\"; npm ls --silent > /dev/null; npm uninstall --silent express; test ! -e node_modules/express"
    )


@scenario("rustc", limit_s=240)
def rust_program(run: Run) -> None:
    """a Rust program: fs::write, OpenOptions append from threads, BufWriter, set_len, rename, File::lock where it has it"""
    run.write(
        "main.rs",
        r"""
use std::{fs::{self, File, OpenOptions}, io::{BufWriter, Read, Seek, SeekFrom, Write}, thread};
fn main() -> std::io::Result<()> {
    fs::write("w.txt", "x".repeat(100_000))?; fs::write("w.txt", "short")?; assert_eq!(fs::read_to_string("w.txt")?, "short");
    let threads: Vec<_> = (0..4).map(|t| thread::spawn(move || { let mut f = OpenOptions::new().append(true).create(true).open("a.txt").unwrap(); for i in 0..200 { f.write_all(format!("{t} {i} {}\n", "y".repeat(100)).as_bytes()).unwrap(); } })).collect();
    for t in threads { t.join().unwrap(); }
    let text = fs::read_to_string("a.txt")?; assert_eq!(text.lines().count(), 800);
    { let mut b = BufWriter::new(File::create("b.txt")?); for i in 0..20_000 { writeln!(b, "{i}")?; } b.flush()?; b.get_ref().sync_all()?; }
    assert_eq!(fs::read_to_string("b.txt")?.lines().count(), 20_000);
    let mut f = OpenOptions::new().read(true).write(true).open("b.txt")?; f.seek(SeekFrom::Start(2))?; f.write_all(b"ONE")?; f.set_len(50)?; f.seek(SeekFrom::Start(0))?; let mut s = String::new(); f.read_to_string(&mut s)?; assert!(s.starts_with("0\nONE") && s.len() == 50); drop(f);
    fs::write("t.tmp", "new")?; fs::rename("t.tmp", "w.txt")?; assert_eq!(fs::read_to_string("w.txt")?, "new"); fs::copy("b.txt", "c.txt")?; fs::hard_link("c.txt", "l.txt")?; fs::remove_file("c.txt")?;
    fs::create_dir_all("d/e/f")?; for i in 0..50 { File::create_new(format!("d/e/f/{i}"))?; } assert!(File::create_new("d/e/f/1").is_err()); assert_eq!(fs::read_dir("d/e/f")?.count(), 50); fs::remove_dir_all("d")
}
""",
    )
    run("rustc", "-O", "-o", "job", "main.rs")
    run("./job")
    lines = run.read("a.txt").splitlines()
    same((len(set(lines)), {len(line.split()[2]) for line in lines}), (800, {100}), "appended lines")


@scenario("go", limit_s=300)
def go_program(run: Run) -> None:
    """a Go program, its build cache here: os.WriteFile, O_APPEND from goroutines, bufio, CreateTemp and Rename, Truncate"""
    run.write(
        "main.go",
        r"""
package main
import ("bufio"; "fmt"; "os"; "strings"; "sync"; "syscall")
func must(err error) { if err != nil { panic(err) } }
func main() {
	must(os.WriteFile("w.txt", []byte(strings.Repeat("x", 100000)), 0o644)); must(os.WriteFile("w.txt", []byte("short"), 0o644))
	if b, _ := os.ReadFile("w.txt"); string(b) != "short" { panic(string(b)) }
	var wg sync.WaitGroup
	for t := 0; t < 4; t++ { wg.Add(1); go func(t int) { defer wg.Done(); f, err := os.OpenFile("a.txt", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); must(err); for i := 0; i < 200; i++ { fmt.Fprintf(f, "%d %d %s\n", t, i, strings.Repeat("y", 100)) }; must(f.Close()) }(t) }
	for t := 0; t < 20; t++ { wg.Add(1); go func(t int) { defer wg.Done(); must(os.WriteFile(fmt.Sprintf("p%d", t), []byte(strings.Repeat("z", 5000)), 0o600)) }(t) }
	wg.Wait()
	f, err := os.Create("b.txt"); must(err); w := bufio.NewWriter(f); for i := 0; i < 20000; i++ { fmt.Fprintln(w, i) }; must(w.Flush()); must(f.Sync()); must(f.Truncate(50)); st, err := f.Stat(); must(err); if st.Size() != 50 { panic("size") }; must(f.Close())
	t, err := os.CreateTemp(".", "t"); must(err); t.WriteString("new"); must(t.Chmod(0o640)); must(t.Close()); must(os.Rename(t.Name(), "w.txt"))
	l, err := os.OpenFile("go.lock", os.O_CREATE|os.O_RDWR, 0o644); must(err); must(syscall.Flock(int(l.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)); must(l.Close())
	if _, err := os.OpenFile("w.txt", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644); !os.IsExist(err) { panic("excl") }
	must(os.MkdirAll("d/e/f", 0o755)); must(os.WriteFile("d/e/f/x", nil, 0o644)); must(os.RemoveAll("d"))
}
""",
    )
    run.write("go.mod", "module job\n\ngo 1.19\n")
    run.env |= {
        "GOCACHE": str(run.dir / "gocache"),
        "GOPATH": str(run.dir / "gopath"),
        "GOFLAGS": "-mod=mod",
        "GOPROXY": "off",
        "CGO_ENABLED": "0",
    }
    run("go", "build", "-o", "job", ".")
    run("./job")
    lines = run.read("a.txt").splitlines()
    same((len(set(lines)), {len(line.split()[2]) for line in lines}), (800, {100}), "appended lines")
    same(len(run.read("b.txt")), 50, "size of b.txt")
    run.sh("go vet .; go build -o job2 .; cmp job job2; chmod -R u+w gocache")


@scenario("java", limit_s=240)
def java_program(run: Run) -> None:
    """Java: Files.write, newBufferedWriter APPEND, RandomAccessFile, FileChannel lock, map and transferTo, ATOMIC_MOVE"""
    run.write(
        "Job.java",
        r"""
import java.io.*; import java.nio.*; import java.nio.channels.*; import java.nio.file.*; import java.util.*; import static java.nio.file.StandardOpenOption.*;
public class Job {
    static void check(boolean ok, String what) { if (!ok) throw new AssertionError(what); }
    public static void main(String[] a) throws Exception {
        String me = a[0]; Path p = Path.of("w" + me); Files.writeString(p, "x".repeat(50000)); Files.writeString(p, "short"); check(Files.readString(p).equals("short"), "writeString");
        for (int i = 0; i < 100; i++) try (BufferedWriter w = Files.newBufferedWriter(Path.of("all.txt"), CREATE, APPEND)) { w.write(me + " " + i + " " + "y".repeat(100) + "\n"); }
        try (RandomAccessFile r = new RandomAccessFile("r" + me, "rw")) { r.setLength(1000); r.seek(500); r.writeInt(7); r.seek(500); check(r.readInt() == 7 && r.length() == 1000, "RandomAccessFile"); }
        for (int i = 0; i < 25; i++) try (FileChannel c = FileChannel.open(Path.of("count.lock"), CREATE, WRITE); FileLock l = c.lock()) { int n = Integer.parseInt(Files.readString(Path.of("count"))); Files.writeString(Path.of("count"), "" + (n + 1)); }
        try (FileChannel c = FileChannel.open(Path.of("m" + me), CREATE, READ, WRITE)) { MappedByteBuffer b = c.map(FileChannel.MapMode.READ_WRITE, 0, 8192); b.putLong(4096, 42L); b.force(); }
        check(ByteBuffer.wrap(Files.readAllBytes(Path.of("m" + me))).getLong(4096) == 42L, "map");
        try (FileChannel in = FileChannel.open(Path.of("m" + me)); FileChannel out = FileChannel.open(Path.of("c" + me), CREATE_NEW, WRITE)) { check(in.transferTo(0, 8192, out) == 8192, "transferTo"); }
        Path t = Files.createTempFile(Path.of("."), "t", ".tmp"); Files.writeString(t, "new"); Files.move(t, p, StandardCopyOption.ATOMIC_MOVE); check(Files.readString(p).equals("new"), "move"); Files.copy(p, Path.of("k" + me), StandardCopyOption.REPLACE_EXISTING);
        Properties q = new Properties(); q.setProperty("k", "v"); try (OutputStream o = new FileOutputStream("q" + me)) { q.store(o, null); } try (Writer w = new FileWriter("f" + me, true)) { w.write("z\n"); }
    }
}
""",
    )
    run.write("count", "0")
    run.together(["java", "Job.java", "1"], ["java", "Job.java", "2"])
    same(run.read("count"), "50", "count under FileLock")
    lines = run.read("all.txt").splitlines()
    same((len(set(lines)), {len(line.split()[2]) for line in lines}), (200, {100}), "appended lines")


@scenario("perl")
def perl_program(run: Run) -> None:
    """Perl: open >, >>, +<, flock, sysopen O_EXCL, File::Temp, rename, truncate, -i with backup, by three processes"""
    run.write(
        "job.pl",
        r"""
use strict; use warnings; use Fcntl qw(:flock :seek O_CREAT O_EXCL O_WRONLY); use File::Temp (); use File::Copy; use File::Path qw(make_path remove_tree);
my $me = $ARGV[0]; my $won = 0;
for my $i (1 .. 60) {
    open(my $a, '>>', 'all.txt') or die $!; print $a "$me $i ", 'y' x 100, "\n"; close $a or die $!;
    open(my $c, '+<', 'count') or die $!; flock($c, LOCK_EX) or die $!; my $n = <$c>; seek($c, 0, SEEK_SET); truncate($c, 0); print $c $n + 1; close $c or die $!;
    if (sysopen(my $e, "claim$i", O_CREAT | O_EXCL | O_WRONLY)) { $won++; close $e }
    open(my $w, '>', "w$me") or die $!; print $w 'x' x (1000 * $i); close $w or die $!; die "size" unless -s "w$me" == 1000 * $i;
}
my $t = File::Temp->new(DIR => '.'); print $t "temp"; close $t; copy("$t", "k$me") or die $!; move("k$me", "m$me") or die $!; make_path("d$me/a/b"); remove_tree("d$me"); die "left" if -e "d$me";
print $won;
""",
    )
    run.write("count", "0")
    won = run.together(*(["perl", "job.pl", str(n)] for n in range(3)))
    same((run.read("count"), sum(map(int, won))), ("180", 60), "count under flock, claims")
    lines = run.read("all.txt").splitlines()
    same((len(set(lines)), {len(line.split()[2]) for line in lines}), (180, {100}), "appended lines")


@scenario("awk")
def awk_and_friends(run: Run) -> None:
    """awk with several outputs and appends, join, comm, paste, column, bc, jq where they are: results beside sources"""
    run.sh(
        r"""seq 1000 | awk '{ print > ("mod" $1 % 7 ".txt"); print $1 >> "all.txt"; close("all.txt") }'; test $(cat mod*.txt | wc -l) = 1000; seq 1000 | cmp - all.txt
        awk 'NR % 2' all.txt > odd.txt; awk 'NR % 2 == 0' all.txt > even.txt; paste -d'\n' odd.txt even.txt | cmp - all.txt; sort all.txt > s1; sort odd.txt > s2; comm -23 s1 s2 | sort -n | cmp - even.txt
        join s1 s2 | sort -n | cmp - odd.txt; tr -d 1 < all.txt > t; awk '{ s += $1 } END { print s > "/dev/stderr" }' all.txt 2> sum; test $(cat sum) = 500500"""
    )
