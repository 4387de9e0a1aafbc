"""Compilers and build tools."""

from __future__ import annotations

from tests.realworld.scenario import Run, same, scenario

_MAKEFILE = """
SRCS := main.c $(wildcard lib/*.c)
CFLAGS := -O1 -MMD -MP
all: prog
prog: main.o libstuff.a
\t$(CC) -o $@ main.o -L. -lstuff
libstuff.a: $(patsubst %.c,%.o,$(wildcard lib/*.c))
\trm -f $@; ar rcs $@ $^; ranlib $@
install: prog
\tinstall -D -m 755 prog $(DESTDIR)/bin/prog
\tinstall -D -m 644 lib/stuff.h $(DESTDIR)/include/stuff.h
clean:
\trm -f prog *.a *.o lib/*.o *.d lib/*.d
-include main.d $(patsubst %.c,%.d,$(wildcard lib/*.c))
"""


def _project(run: Run, count: int = 12) -> None:
    run.write("Makefile", _MAKEFILE)
    run.write("lib/stuff.h", "#define K 1\n" + "".join(f"int f{n}(int);\n" for n in range(count)))
    for number in range(count):
        run.write(f"lib/f{number}.c", f'#include "stuff.h"\nint f{number}(int x) {{ return x + K * {number}; }}\n')
    calls = " + ".join(f"f{n}(0)" for n in range(count))
    run.write("main.c", f'#include <stdio.h>\n#include "lib/stuff.h"\nint main(void) {{ printf("%d\\n", {calls}); }}\n')


@scenario("make cc ar", limit_s=240)
def make_project(run: Run) -> None:
    """a C project with make -j2: nothing to do twice, a header changed, ar, install, clean"""
    _project(run)
    run.sh(
        'make -sj2; test "$(./prog)" = 66; make -q; sed -i \'s/K 1/K 2/\' lib/stuff.h; if make -q; then exit 9; fi; make -sj2; test "$(./prog)" = 132; make -q'
    )
    run.sh(
        'make -s install DESTDIR=$PWD/root; cmp prog root/bin/prog; test "$(root/bin/prog)" = 132; touch lib/f3.c; make -n | grep f3.c >/dev/null; make -sj2; make -q; make -s clean; test -z "$(ls -- *.o 2>/dev/null)"'
    )


@scenario("make cc")
def make_jobserver(run: Run) -> None:
    """recursive make with a jobserver, all jobs append to one list and write their own files"""
    run.write("Makefile", "all: a b c\na b c:\n\t+$(MAKE) -s -C $@.dir\n")
    sub = "all: $(addsuffix .out,1 2 3 4 5 6)\n%.out:\n\techo $(CURDIR)/$@ >> ../list.txt\n\tseq 1000 > $@\n"
    for name in "abc":
        run.write(f"{name}.dir/Makefile", sub)
    run.sh(
        "make -sj4 -O; test $(sort -u list.txt | wc -l) = 18; test $(wc -l < list.txt) = 18; test $(cat ?.dir/*.out | wc -l) = 18000; make -sj4; test $(wc -l < list.txt) = 18"
    )


@scenario("gcc")
def gcc_ways(run: Run) -> None:
    """gcc with a precompiled header, -pipe, -save-temps, -fPIC -shared, debug info, ld --gc-sections, objcopy, strip"""
    _project(run, 4)
    run.sh("""gcc -O1 -x c-header lib/stuff.h -o lib/stuff.h.gch; gcc -pipe -O1 -H -c lib/f1.c -o f1.o 2> H; grep '! lib/stuff.h.gch' H >/dev/null || grep '!' H >/dev/null
    gcc -g -save-temps -c main.c; test -e main.i; test -e main.s; gcc -fPIC -shared -O1 -o libf.so lib/f?.c; gcc -g -o prog main.c -L. -lf -Wl,-rpath,$PWD; test "$(./prog)" = 6
    gcc -ffunction-sections -flto=2 -Wl,--gc-sections -o p2 main.c lib/*.c; test "$(./p2)" = 6; objcopy --only-keep-debug prog prog.debug; strip prog; objcopy --add-gnu-debuglink=prog.debug prog; ./prog > /dev/null""")


@scenario("cmake ninja cc", limit_s=240)
def cmake_ninja(run: Run) -> None:
    """cmake with ninja: configure, build, nothing to do, change, install"""
    _project(run, 6)
    run.write(
        "CMakeLists.txt",
        "cmake_minimum_required(VERSION 3.13)\nproject(p C)\nfile(GLOB S lib/*.c)\nadd_library(stuff STATIC ${S})\nadd_executable(prog main.c)\ntarget_link_libraries(prog stuff)\ninstall(TARGETS prog DESTINATION bin)\n",
    )
    run.sh("""cmake -G Ninja -S . -B b > out; ninja -C b -j2 > out; test "$(b/prog)" = 15; ninja -C b | grep 'no work to do' >/dev/null; sed -i 's/K 1/K 3/' lib/stuff.h
    ninja -C b > out; test "$(b/prog)" = 45; cmake --install b --prefix $PWD/root > out; test "$(root/bin/prog)" = 45; ninja -C b | grep 'no work to do' >/dev/null""")


@scenario("cargo rustc", limit_s=300)
def cargo_build(run: Run) -> None:
    """cargo build, test and an incremental rebuild, its target directory and registry here; two at once"""
    run.write("Cargo.toml", '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n')
    run.write("src/lib.rs", "pub fn f(x: u32) -> u32 { x + 1 }\n#[test]\nfn t() { assert_eq!(f(1), f(1)); }\n")
    run.write("src/main.rs", 'fn main() { println!("{}", app::f(41)); }\n')
    cargo = ["cargo", "build", "-q", "--offline"]
    home = str(run.dir / ".home" / "cargo")
    run.env["CARGO_HOME"] = home
    run.together(cargo, cargo)
    same(run(run.dir / "target" / "debug" / "app").strip(), "42", "app")
    run.write("src/lib.rs", run.read("src/lib.rs").replace("x + 1", "x + 2"))
    run(*cargo)
    same(run(run.dir / "target" / "debug" / "app").strip(), "43", "app after a change")
    run("cargo", "test", "-q", "--offline", "--lib")
    run.sh("cargo build --offline 2>&1 | grep Finished > /dev/null; cargo clean -q; test ! -e target/debug")


@scenario("ccache gcc make", limit_s=240)
def ccache_builds(run: Run) -> None:
    """ccache: two builds at once fill it, the third finds everything in it"""
    _project(run, 8)
    run.sh("mkdir one two three; for d in one two three; do cp -r Makefile main.c lib $d; done")
    run.env |= {"CCACHE_DIR": str(run.dir / "cache"), "CCACHE_BASEDIR": str(run.dir), "CCACHE_NOHASHDIR": "1"}
    build = "cd $0; make -sj2 CC='ccache gcc'; ./prog"
    same(
        [one.strip() for one in run.together(*(["bash", "-ec", build, name] for name in ("one", "two")))],
        ["28", "28"],
        "output",
    )
    run.sh("ccache -z > /dev/null; cd three; make -sj2 CC='ccache gcc'; test \"$(./prog)\" = 28")
    stats = dict(line.split("\t")[:2] for line in run("ccache", "--print-stats").splitlines())
    hits = int(stats["direct_cache_hit"]) + int(stats["preprocessed_cache_hit"])
    same((hits, stats["cache_miss"]), (9, "0"), "hits and misses")


@scenario("make cc", limit_s=240)
def make_two_at_once(run: Run) -> None:
    """two makes in one directory at once, as people do by mistake: both end, and the program is right afterwards"""
    _project(run, 6)
    statuses = [process.wait(100) for process in [run.start("make", "-sj2"), run.start("make", "-sj2")]]
    run.sh('make -sj2; test "$(./prog)" = 15; make -q')
    assert 0 in statuses, f"both failed: {statuses}"
