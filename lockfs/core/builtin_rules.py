"""The built-in rules, in one place (D1, D4). A later one wins."""

from __future__ import annotations

from collections.abc import Iterator

from lockfs.core.rules import Mode, Rule

_LIVE = {
    "output that people watch while it is written": "*.log *.out *.err",
    "information log of LevelDB or RocksDB": "LOG",
    "where nohup(1) puts the output of a running program": "nohup.out",
}

_SHARED = {
    "SQLite database: its own locks, many processes": "*.db *.db3 *.sqlite *.sqlite3 *.s3db *.sl3",
    "SQLite's write-ahead log, shared memory or rollback journal": "*-wal *-shm *-journal *-mj[0-9A-F]*",
    "LMDB database: its own locks, mapped by many processes": "*.mdb *.mdb-lock *.lmdb *.lmdb-lock",
    "DuckDB database: its own lock": "*.duckdb *.ddb",
    "a database's write-ahead log": "*.wal",
    # Open, and synced, for as long as the database: without it all the other files are worth nothing.
    "LevelDB or RocksDB: its own LOCK": "MANIFEST-[0-9]*",
    "Redis: what it has acknowledged, appended and synced for as long as it runs": "*.aof",
    # dbm.dumb also has a .dat; that name is used for everything, and dbm.dumb has no locks to rely on.
    "dbm database: changed in place by its own library": "*.dbm *.gdbm *.pag *.dir",
    "Berkeley DB: its own locks, in memory that processes share": "*.bdb __db.*",
    "MariaDB or MySQL: its own locks; open, and recovered from, for as long as it runs": (
        "ibdata[0-9]* ib_logfile[0-9]* \\#ib_redo[0-9]* ibtmp[0-9]* *.ibd *.ibt undo00[0-9] undo_00[0-9] aria_log.* "
        "aria_log_control *.MAI *.MAD *.MYI *.MYD *-bin.[0-9]* binlog.[0-9]*"
    ),
    "lock file: processes hold it open to lock each other out": (
        "*.lock *.lck *-lock lock LOCK .package-cache .package-cache-mutate .~lock.*#"
    ),
    "names the running process": "*.pid",
    "editor's swap file: must survive the editor's death": r".*.sw[a-p] .*.kate-swp .#* \#*#",
}

# Each connection is a process of its own, and has the tables' files open for writing as long as it likes.
_POSTGRESQL = (
    "**/base/[0-9]*/[0-9]*[0-9] **/base/[0-9]*/[0-9]*_fsm **/base/[0-9]*/[0-9]*_vm **/base/[0-9]*/[0-9]*_init "
    "**/base/[0-9]*/t[0-9]*_[0-9]* **/base/[0-9]*/pg_* **/base/pgsql_tmp/ **/global/[0-9]*[0-9] **/global/[0-9]*_fsm "
    "**/global/[0-9]*_vm **/global/pg_* pg_wal/ pg_xact/ pg_multixact/ pg_subtrans/ pg_commit_ts/ pg_notify/ "
    "pg_serial/ pg_replslot/ pg_logical/ pg_twophase/ pg_dynshmem/ pg_stat/ pg_stat_tmp/"
)

# They end in .lock and lock nothing: they list versions, and are worth as much as other data.
_LOCK_DATA = (
    "Berksfile.lock Cargo.lock Chart.lock Gemfile.lock Pipfile.lock Podfile.lock Puppetfile.lock "
    "buf.lock bun.lock composer.lock deno.lock devbox.lock dvc.lock flake.lock mise.lock mix.lock "
    "paket.lock pdm.lock pixi.lock poetry.lock pubspec.lock rebar.lock shard.lock symfony.lock uv.lock "
    "yarn.lock"
)


def _builtin() -> Iterator[Rule]:
    for mode, groups in ((Mode.LIVE, _LIVE), (Mode.SHARED, _SHARED)):
        for reason, patterns in groups.items():
            for pattern in patterns.split():
                yield Rule(mode, pattern, reason, name_only=True)
    for pattern in _LOCK_DATA.split():
        yield Rule(Mode.PROTECT, pattern, "a list of pinned versions, not a lock", name_only=True)
    for pattern in _POSTGRESQL.split():
        yield Rule(Mode.SHARED, pattern, "PostgreSQL: its own processes and locks")
    yield Rule(Mode.SHARED, ".git/", "git has its own lock files, and renames what it publishes")


BUILTIN: tuple[Rule, ...] = tuple(_builtin())
