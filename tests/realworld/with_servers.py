"""Servers with their data directory on the target."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
from pathlib import Path

from tests.realworld.scenario import Argument, Run, Skip, same, scenario
from tests.support.waiting import wait_until


@scenario("redis-server redis-cli", limit_s=240)
def redis_aof_and_rdb(run: Run) -> None:
    """redis with its append-only file and snapshots here: rewritten, killed, started again, nothing lost"""
    socket = run.scratch / "s"
    cli = ["redis-cli", "-s", str(socket)]
    run.write(
        "redis.conf", f"port 0\nunixsocket {socket}\ndir {run.dir}\nappendonly yes\nappendfsync always\nsave 3600 1\n"
    )

    def start() -> subprocess.Popen[bytes]:
        server = run.start("redis-server", "redis.conf")
        wait_until(lambda: "PONG" in run(*cli, "ping", status=None), 40.0, "redis")
        return server

    server = start()
    run(*cli, data="".join(f"set k{n} {'v' * 100}\n" for n in range(400)))
    run(*cli, "bgrewriteaof")
    wait_until(lambda: "aof_rewrite_in_progress:0" in run(*cli, "info", "persistence"), 40.0, "the rewriting")
    run(*cli, data="".join(f"incr n\nappend big {'x' * 50}\n" for n in range(200)))
    run(*cli, "save")
    run(*cli, "incr", "n")
    server.kill()
    server.wait(30)
    server = start()
    same(run(*cli, "dbsize").strip(), "402", "keys after the kill")
    same((run(*cli, "get", "n").strip(), run(*cli, "strlen", "big").strip()), ("201", "10000"), "counter and string")
    run(*cli, "shutdown", status=None)
    server.wait(30)
    run.sh("redis-check-rdb dump.rdb > out; redis-check-aof appendonlydir/*.manifest > out")


@scenario(limit_s=600, extended=True)
def postgres_cluster(run: Run) -> None:
    """PostgreSQL: initdb, four clients with pgbench or psql, VACUUM FULL, a kill, recovery, dump"""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    if not found:
        raise Skip("postgres")
    binaries = Path(found[-1])
    data = run.dir / "data"
    data.mkdir()
    user: list[Argument] = []
    if os.getuid() == 0:
        shutil.chown(data, "postgres", "postgres")
        shutil.chown(run.scratch, "postgres", "postgres")
        run.dir.chmod(0o777)
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    run.env |= {"PGHOST": str(run.scratch), "PGDATABASE": "postgres", "PGUSER": "postgres", "PGDATA": str(data)}
    run(*user, binaries / "initdb", "-U", "postgres", "-A", "trust", "--no-sync", "-k")

    def start() -> None:
        options = f"-c listen_addresses='' -k {run.scratch}"
        run(*user, binaries / "pg_ctl", "-w", "-t", "120", "-l", data / "server.log", "-o", options, "start")

    def psql(query: str) -> str:
        return run(*user, binaries / "psql", "-AtqX", "-c", query).strip()

    start()
    psql(
        "create table t(who int, n int, pad text); create index on t(n); create table c(v int); insert into c values (0)"
    )
    work = 'for i in $(seq 1 25); do "$1/psql" -qX -c "insert into t select $0, g, repeat(\'x\', 100) from generate_series(1, 50) g; update c set v = v + 1"; done'
    run.together(*([*user, "bash", "-ec", work, str(n), str(binaries)] for n in range(4)))
    psql("vacuum full t")
    psql("checkpoint")
    psql("insert into t select 9, g, 'y' from generate_series(1, 500) g")
    run(*user, binaries / "pg_dump", "-f", data / "dump.sql")
    run(*user, binaries / "pg_ctl", "-m", "immediate", "-w", "stop")
    start()
    same(psql("select count(*), (select v from c) from t"), "5500|100", "rows and counter after a crash")
    same(psql("select count(*) from t where n = 7"), "101", "rows by the index")
    run(*user, binaries / "pg_ctl", "-m", "fast", "-w", "stop")
    run(*user, binaries / "pg_checksums", "--check", "-D", data)


@scenario("git python3", limit_s=120)
def http_server(run: Run) -> None:
    """python -m http.server serves files that are replaced meanwhile: each answer is one whole version"""
    code = r"""
import functools, http.server, threading, urllib.request, os
h = functools.partial(http.server.SimpleHTTPRequestHandler, directory='.'); h.func.log_message = lambda *a: None
s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), h); threading.Thread(target=s.serve_forever, daemon=True).start()
o = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for n in range(40):
    open('p.new', 'w').write(str(n % 10) * 60000); os.replace('p.new', 'page'); b = o.open(f'http://127.0.0.1:{s.server_port}/page').read(); assert b == str(n % 10).encode() * 60000
"""
    run.py(code)


@scenario("mariadbd mariadb-install-db mariadb mariadb-check", limit_s=600, extended=True)
def mariadb_server(run: Run) -> None:
    """MariaDB: three clients write InnoDB and Aria tables, a kill -9, recovery, CHECK TABLE, ALTER, dump"""
    data, socket = run.dir / "data", run.scratch / "s"
    user = ["--user=root"] if os.getuid() == 0 else []
    common = ["--no-defaults", f"--datadir={data}", *user]
    run("mariadb-install-db", *common, "--auth-root-authentication-method=normal", "--skip-test-db")

    def sql(query: str, status: int | None = 0) -> str:
        return run(
            "mariadb", "--no-defaults", "-uroot", f"--socket={socket}", "-N", "-B", "-e", query, status=status
        ).strip()

    def start() -> subprocess.Popen[bytes]:
        server = run.start(
            "mariadbd", *common, f"--socket={socket}", "--skip-networking", "--innodb-buffer-pool-size=16M"
        )
        wait_until(lambda: sql("select 1", None) == "1", 120.0, "MariaDB")
        return server

    server = start()
    sql(
        "create database d; create table d.i(w int, n int, p varchar(200)) engine=innodb; create table d.a(w int, n int) engine=aria"
    )
    work = "for i in $(seq 1 20); do mariadb --no-defaults -uroot --socket=$1 d -e \"insert into i select $0, seq, repeat('x', 100) from seq_1_to_50; insert into a values ($0, $i)\"; done"
    run.together(*(["bash", "-ec", work, str(n), str(socket)] for n in range(3)))
    server.kill()
    server.wait(60)
    server = start()
    same(
        sql("select count(*) from d.i; select count(distinct w, n) from d.a").split(),
        ["3000", "60"],
        "rows after the kill",
    )
    sql("alter table d.i add index (n); alter table d.a engine=innodb; optimize table d.i")
    said = sql("check table d.i, d.a extended")
    same([line.split("\t")[-1] for line in said.splitlines()], ["OK", "OK"], "check table")
    sql("shutdown")
    server.wait(120)
