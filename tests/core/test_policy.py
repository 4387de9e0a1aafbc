"""Which rule holds for a path (D1, D4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockfs.core.policy import BUILTIN, DEFAULT, Mode, Policy, Rule, database_of

POLICY = Policy()

SHARED = """
a.db x/y/a.db3 a.sqlite a.sqlite3 a.s3db a.sl3 a.db-wal a.db-shm a.db-journal any-journal a.db-mj1A2B3C4D5
data.mdb lock.mdb a.lmdb-lock a.duckdb a.duckdb.wal any.wal MANIFEST-000012 a-lock
a.ddb a.dbm a.gdbm a.pag a.dir a.bdb __db.001
a.lock .lock a.lck lock d/LOCK target/.cargo-lock .package-cache .~lock.a.odt# run/a.pid
.a.txt.swp d/.a.txt.swo .#a #a# .git/config sub/.git/objects/ab/cd .git/logs/x.log .git/Cargo.lock
"""
SHARED += """
appendonly.aof.2.incr.aof pg/base/16384/1259 base/1/2619_fsm x/base/5/16390.1 base/1/pg_filenode.map base/5/t3_16390
pg/global/1262 global/pg_control pg/pg_wal/000000010000000000000001 d/pg_xact/0000 d/ibdata1 ib_logfile0
#ib_redo17 db/t.ibd undo001 undo_002 aria_log.00000001 aria_log_control t.MAI t.MYD mysql-bin.000001
"""
LIVE = "LOG db/LOG a.log d/e/server.out a.err nohup.out d/nohup.out"
PROTECT = """
a a.txt a.json a.dat a.db.bak a.dblog log out lockfile.txt package-lock.json Cargo.lock d/poetry.lock yarn.lock
Gemfile.lock composer.lock flake.lock uv.lock Pipfile.lock pdm.lock bun.lock mix.lock pubspec.lock Podfile.lock
base/1/report.csv base/readme global/settings.json pg_wal global/pgx/a MANIFEST-x
.git .gitignore .github/a x.git/config run.out/data.json a.log/b app.log.1 a.db/b
"""


@pytest.mark.parametrize("path", SHARED.split())
def test_D1_coordinates_by_itself(path: str) -> None:
    rule = POLICY.rule_for(path.encode())
    assert rule.mode is Mode.SHARED
    assert rule.reason


@pytest.mark.parametrize("path", LIVE.split())
def test_D4_is_watched_while_written(path: str) -> None:
    assert POLICY.rule_for(path.encode()).mode is Mode.LIVE


@pytest.mark.parametrize("path", PROTECT.split())
def test_W1_everything_else_is_protected(path: str) -> None:
    assert POLICY.rule_for(path.encode()).mode is Mode.PROTECT


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        (b"\xff\xfe/\x80.db", Mode.SHARED),
        (b"a\nb/.git/c", Mode.SHARED),
        (b"a\nb/c.log", Mode.LIVE),
        (b"a.db\n", Mode.PROTECT),
        (b"", Mode.PROTECT),
    ],
)
def test_D1_any_bytes_in_a_name(path: bytes, mode: Mode) -> None:
    assert POLICY.rule_for(path).mode is mode


@given(st.text(alphabet="a.bd_gitlockpw0123/", max_size=16))
def test_D1_look_at_all_rules_at_once_finds_what_a_look_at_each_finds(path: str) -> None:
    policy = Policy(
        (*BUILTIN, Rule(Mode.LIVE, "/a/**/b", ""), Rule(Mode.LIVE, "d*", ""), Rule(Mode.LIVE, "b.?", "", True))
    )
    at = path.encode()
    each = [pattern.match_file(at.rpartition(b"/")[2] if rule.name_only else at) for rule, pattern in policy._rules]
    assert (policy.rule_for(at) is DEFAULT) == (not any(each))


@given(st.binary(max_size=40))
def test_D1_every_path_has_one_rule(path: bytes) -> None:
    assert POLICY.rule_for(path) in (*BUILTIN, DEFAULT)


def test_D1_later_layers_win_and_mean_what_git_means() -> None:
    users = (
        Rule(Mode.SHARED, "/scratch/", "mine"),
        Rule(Mode.PROTECT, "report.log", "mine"),
        Rule(Mode.LIVE, "a/**/b", "mine"),
        Rule(Mode.SHARED, "d\udcff", "not UTF-8"),
    )
    policy = Policy((*BUILTIN, *users))
    assert policy.rules[-4:] == users
    assert policy.rule_for(b"scratch/x/y") is users[0]
    assert policy.rule_for(b"z/scratch/x") is DEFAULT
    assert policy.rule_for(b"x/report.log") is users[1]
    assert policy.rule_for(b"a/1/2/b") is users[2]
    assert policy.rule_for(b"d\xff/x") is users[3]
    assert policy.rule_for(b"x.log").mode is Mode.LIVE


@pytest.mark.parametrize("pattern", ["", "# comment", "!a.db", "/"])
def test_D1_pattern_without_a_meaning_is_an_error(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        Policy([Rule(Mode.SHARED, pattern, "mine")])


def test_D1_name_only_pattern_with_a_slash_is_an_error() -> None:
    with pytest.raises(ValueError, match="slash"):
        Policy([Rule(Mode.SHARED, "a/b", "mine", name_only=True)])


def test_D1_cache_is_bounded() -> None:
    policy = Policy(cache_size=10)
    for n in range(100):
        policy.rule_for(b"%d.db" % n)
    assert policy._cached.cache_info().currsize == 10


def test_D1_database_by_its_header() -> None:
    assert database_of(b"SQLite format 3\0\x10\x00") == "SQLite"
    assert database_of(b"\xdb\xa8\x68\xaa\x54\x3b\x63\x05DUCK\xe7\x03\x00\x00") == "DuckDB"
    assert database_of(bytes(10) + b"\x08" + bytes(5) + b"\xde\xc0\xef\xbe\x01") == "LMDB"
    assert database_of(b"\xcf\x9a\x57\x13\x00\x10") == "gdbm"
    assert database_of(bytes(4) + b"\x01" + bytes(7) + b"\x61\x15\x06\x00\x09") == "Berkeley DB"
    assert database_of(bytes(8) + b"\x04" + bytes(7) + b"\xed\xda\x0c\xed\x02") == "bbolt"
    assert database_of(bytes(12) + b"\x00\x05\x31\x62") == "Berkeley DB"
    for other in (
        b"SQLite format 3",
        b"",
        bytes(4096),
        b"text" * 100,
        b"PAR1" + bytes(20),
        b"\x89HDF\r\n\x1a\n" + bytes(20),
    ):
        assert database_of(other) is None
