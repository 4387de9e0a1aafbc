"""Databases: SQLite, LMDB, DuckDB, dbm, LevelDB; several processes each."""

from __future__ import annotations

from pathlib import Path

from tests.realworld.scenario import Run, Skip, same, scenario

_COUNT = """
import sqlite3, sys, time
number, path, mode = sys.argv[1:]
db = sqlite3.connect(path, timeout=60, isolation_level=None)
while True:
    try:  # the busy timeout does not hold for a change of the mode
        db.execute(f"pragma journal_mode={mode}")
        break
    except sqlite3.OperationalError as error:
        if "locked" not in str(error): raise
        time.sleep(0.01)
db.execute("create table if not exists t (who int, n int, text text)")
for n in range(25):
    db.execute("begin immediate")
    db.execute("insert into t values (?, ?, ?)", (int(number), n, "x" * 500))
    db.execute("update t set text = 'y' || text where who = ? and n = ?", (int(number), n // 2))
    db.execute("commit")
    db.execute("select count(*) from t").fetchone()
"""


def _sqlite(run: Run, path: str, mode: str) -> None:
    run.py_together(_COUNT, 4, path, mode)
    check = f"import sqlite3; d = sqlite3.connect({path!r}); print(d.execute('pragma integrity_check').fetchone()[0], "
    check += "d.execute('select count(*), count(distinct who || n || 0) from t').fetchone()[0])"
    same(run.py(check).split(), ["ok", "100"], "integrity and rows")


@scenario()
def sqlite_wal(run: Run) -> None:
    """four processes write one WAL database"""
    _sqlite(run, "data.sqlite", "wal")


@scenario()
def sqlite_rollback(run: Run) -> None:
    """four processes write one database with a rollback journal"""
    _sqlite(run, "data.db", "delete")


@scenario()
def sqlite_truncate_and_persist(run: Run) -> None:
    """the other ways to end a journal: truncate, and persist"""
    _sqlite(run, "t.db", "truncate")
    _sqlite(run, "p.db", "persist")


@scenario()
def sqlite_unknown_name(run: Run) -> None:
    """a database whose name no rule knows, WAL and rollback, made by four processes at once"""
    _sqlite(run, "Cookies", "wal")
    _sqlite(run, "history.dat", "delete")


@scenario("sqlite3")
def sqlite_shell(run: Run) -> None:
    """the sqlite3 shell beside Python: .backup, .dump, .import, VACUUM, VACUUM INTO, a reader that keeps its view"""
    run.sh("""sqlite3 a.db 'pragma journal_mode=wal' 'create table t(a, b)' > /dev/null
    for i in $(seq 1 20); do sqlite3 -cmd '.timeout 60000' a.db "insert into t values($i, hex(randomblob(2000)))"; done
    sqlite3 a.db '.backup b.db' 'vacuum' "vacuum into 'c.db'"; sqlite3 a.db .dump > d.sql; sqlite3 e.db < d.sql
    printf '1,2\\n3,4\\n' > rows.csv; sqlite3 a.db '.mode csv' '.import rows.csv t'""")
    for name, rows in (("a", "22"), ("b", "20"), ("c", "20"), ("e", "20")):
        said = run("sqlite3", f"{name}.db", "pragma integrity_check; select count(*) from t")
        same(said.split(), ["ok", rows], f"{name}.db")
    same(run("sqlite3", "-readonly", "b.db", "select sum(a) from t").strip(), "210", "sum")


@scenario("sqlite3")
def sqlite_mixed_clients(run: Run) -> None:
    """Python and the shell add to one counter at once; not one is lost"""
    run("sqlite3", "n.db", "create table n(v); insert into n values(0)")
    py = "import sqlite3\nd = sqlite3.connect('n.db', timeout=60, isolation_level=None)\nfor i in range(50): d.execute('update n set v = v + 1')"
    sh = "for i in $(seq 1 50); do sqlite3 -cmd '.timeout 60000' n.db 'update n set v = v + 1'; done"
    run.together([run.python_path, "-c", py], [run.python_path, "-c", py], ["bash", "-ec", sh], ["bash", "-ec", sh])
    same(run("sqlite3", "n.db", "select v from n; pragma integrity_check").split(), ["200", "ok"], "counter")


@scenario()
def sqlite_killed_writer(run: Run) -> None:
    """a writer is killed in a transaction; the next one finds the state before it"""
    code = """
import os, signal, sqlite3
d = sqlite3.connect('k.db', isolation_level=None)
d.execute('create table t(a)'); d.execute("insert into t values('kept')")
d.execute('pragma cache_size=5'); d.execute('begin')
for i in range(2000): d.execute('insert into t values(hex(randomblob(500)))')
os.kill(os.getpid(), signal.SIGKILL)
"""
    run.py(code, status=-9)
    said = run.py(
        "import sqlite3; d = sqlite3.connect('k.db'); print(*d.execute('select a from t').fetchall(), d.execute('pragma integrity_check').fetchone())"
    )
    same(said.split(), ["('kept',)", "('ok',)"], "rows after the kill")


@scenario(modules="lmdb")
def lmdb_processes(run: Run) -> None:
    """LMDB: three processes add to one environment, with and without subdir"""
    code = """
import lmdb, sys
number, path, subdir = sys.argv[1:]
env = lmdb.open(path, map_size=1 << 26, subdir=subdir == '1', max_dbs=2)
for n in range(60):
    with env.begin(write=True) as t:
        t.put(f'{number}-{n}'.encode(), b'v' * 300)
        t.put(b'n', str(int(t.get(b'n') or 0) + 1).encode())
env.sync()
"""
    for path, subdir in (("env", "1"), ("single.lmdb", "0"), ("unknown-name", "0")):
        run.py_together(code, 3, path, subdir)
        said = run.py(
            f"import lmdb; t = lmdb.open({path!r}, readonly=True, subdir={subdir} == 1).begin(); print(t.stat()['entries'], t.get(b'n').decode())"
        )
        same(said.split(), ["181", "180"], f"entries of {path}")


@scenario(modules="duckdb")
def duckdb_processes(run: Run) -> None:
    """DuckDB: one process writes at a time, the others are refused and try again; export to Parquet and CSV"""
    code = """
import duckdb, sys, time, random
number, path = sys.argv[1:]
for n in range(4):
    while True:
        try:
            d = duckdb.connect(path); break
        except (duckdb.IOException, duckdb.ConnectionException): time.sleep(random.random() / 20)
    d.execute('create table if not exists t(who int, n int, s varchar)')
    d.execute('insert into t select ?, range, repeat(chr(65), 100) from range(1000)', [int(number)])
    d.close()
"""
    for path in ("data.duckdb", "unknown.data"):
        run.py_together(code, 2, path)
        said = run.py(
            f"import duckdb; d = duckdb.connect({path!r}, read_only=True); d.execute(\"copy t to 'o.parquet'; copy t to 'o.csv'\"); "
            "print(*[d.execute(f'select count(*) from {s}').fetchone()[0] for s in ('t', \"'o.parquet'\", \"'o.csv'\")])"
        )
        same(said.split(), ["8000"] * 3, f"rows in {path}, o.parquet and o.csv")


_DBM = """
import sys, fcntl
number, kind, path = sys.argv[1:]
import importlib
module = importlib.import_module('dbm.' + kind)
lock = open('turn.lock', 'a')
for n in range(30):
    fcntl.flock(lock, fcntl.LOCK_EX)  # dbm has no locks for writers that one could wait for
    with module.open(path, 'c') as d:
        d[f'{number}-{n}'] = b'v' * 100
        d['n'] = str(int(d['n'] if b'n' in d.keys() else b'0') + 1)
    fcntl.flock(lock, fcntl.LOCK_UN)
"""


def _dbm(run: Run, kind: str, path: str) -> None:
    run.py_together(_DBM, 2, kind, path)
    said = run.py(f"import dbm.{kind} as m; d = m.open({path!r}, 'r'); print(len(list(d.keys())), int(d['n']))")
    same(said.split(), ["61", "60"], f"entries of {kind} {path}")


@scenario()
def dbm_dumb(run: Run) -> None:
    """dbm.dumb: two processes take turns"""
    _dbm(run, "dumb", "d")


def _with_dbm(run: Run, module: str) -> None:
    """Use whichever Python here has this optional module of the standard library."""
    for one in (run.python_path, "/usr/bin/python3"):
        if Path(one).exists() and "yes" in run(one, "-c", f"import {module}; print('yes')", status=None):
            run.python_path = one
            return
    raise Skip(f"Python module {module}")


@scenario()
def dbm_gnu(run: Run) -> None:
    """dbm.gnu: two processes take turns, with a known and an unknown name"""
    _with_dbm(run, "_gdbm")
    _dbm(run, "gnu", "d.gdbm")
    _dbm(run, "gnu", "cache")


@scenario()
def dbm_ndbm(run: Run) -> None:
    """dbm.ndbm: two processes take turns"""
    _with_dbm(run, "_dbm")
    _dbm(run, "ndbm", "d")


@scenario()
def shelve_objects(run: Run) -> None:
    """shelve with writeback, opened again, by whichever dbm is there"""
    run.py(
        "import shelve\nwith shelve.open('s', writeback=True) as s:\n s['l'] = []\n for i in range(100): s['l'].append(i); s[f'k{i}'] = {'i': i}\n s.sync()"
    )
    same(
        run.py("import shelve\nwith shelve.open('s') as s: print(len(s), sum(s['l']), s['k7'])").strip(),
        "101 4950 {'i': 7}",
        "shelf",
    )


@scenario(modules="plyvel")
def leveldb(run: Run) -> None:
    """LevelDB: its LOCK keeps the second process out; reopened and compacted"""
    code = """
import plyvel, sys, time
number, = sys.argv[1:]
for n in range(5):
    while True:
        try: d = plyvel.DB('ldb', create_if_missing=True, write_buffer_size=1 << 16); break
        except plyvel.IOError as e:
            if 'lock' not in str(e).lower(): raise
            time.sleep(0.01)
    for i in range(300): d.put(f'{number}-{n}-{i}'.encode(), b'v' * 200)
    d.close()
"""
    run.py_together(code, 2)
    said = run.py(
        "import plyvel; d = plyvel.DB('ldb', paranoid_checks=True); d.compact_range(); print(sum(1 for _ in d.iterator(verify_checksums=True)))"
    )
    same(said.strip(), "3000", "keys")


@scenario(modules="plyvel")
def leveldb_killed(run: Run) -> None:
    """LevelDB: a process that wrote with sync is killed; the next one finds what was acknowledged"""
    code = """
import os, plyvel, signal
d = plyvel.DB('ldb', create_if_missing=True, write_buffer_size=1 << 16)
for i in range(600): d.put(f'{i:05}'.encode(), b'v' * 300, sync=i % 50 == 49)
os.kill(os.getpid(), signal.SIGKILL)
"""
    run.py(code, status=-9)
    said = run.py(
        "import plyvel; d = plyvel.DB('ldb', paranoid_checks=True); print(sum(1 for _ in d.iterator(verify_checksums=True)))"
    )
    same(said.strip(), "600", "keys after the kill")


@scenario(modules="duckdb")
def duckdb_killed(run: Run) -> None:
    """DuckDB: killed after commits, under a known and an unknown name; the next one finds them"""
    code = """
import duckdb, os, signal, sys
d = duckdb.connect(sys.argv[1]); d.execute('create table t(a int)'); d.execute('checkpoint')
for i in range(20): d.execute('insert into t values (?)', [i])
os.kill(os.getpid(), signal.SIGKILL)
"""
    for name in ("k.duckdb", "k.data"):
        run.py(code, name, status=-9)
        same(
            run.py(
                f"import duckdb; print(duckdb.connect({name!r}).execute('select count(*) from t').fetchone()[0])"
            ).strip(),
            "20",
            name,
        )


@scenario(modules="lmdb")
def lmdb_killed(run: Run) -> None:
    """LMDB: killed after commits, under a known and an unknown name; the next one finds them"""
    code = """
import lmdb, os, signal, sys
e = lmdb.open(sys.argv[1], subdir=False)
for i in range(20):
    with e.begin(write=True) as t: t.put(b'%d' % i, b'v')
os.kill(os.getpid(), signal.SIGKILL)
"""
    for name in ("k.lmdb", "k.data"):
        run.py(code, name, status=-9)
        same(
            run.py(f"import lmdb; print(lmdb.open({name!r}, subdir=False).begin().stat()['entries'])").strip(),
            "20",
            name,
        )
