"""Python's tools and library: pip, venv, pytest, logging, tempfile, multiprocessing, notebooks, caches."""

from __future__ import annotations

from tests.realworld.scenario import Argument, Run, same, scenario

_WHEEL = """
import zipfile, hashlib, base64, sys
def record(name, data): return f'{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()},{len(data)}'
for pkg, requires in (('tinypkg', 'tinydep'), ('tinydep', '')):
    files = {f'{pkg}/__init__.py': b'VALUE = 42\\n', f'{pkg}/data/blob': bytes(range(256)) * 500}
    for i in range(25): files[f'{pkg}/m{i}.py'] = f'X = {i}\\n'.encode()
    files[f'{pkg}-1.0.dist-info/METADATA'] = f'Metadata-Version: 2.1\\nName: {pkg}\\nVersion: 1.0\\n'.encode() + (f'Requires-Dist: {requires}\\n'.encode() if requires else b'')
    files[f'{pkg}-1.0.dist-info/WHEEL'] = b'Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n'
    files[f'{pkg}-1.0.dist-info/entry_points.txt'] = f'[console_scripts]\\n{pkg} = {pkg}.m1:X.__class__\\n'.encode()
    with zipfile.ZipFile(f'{sys.argv[1]}/{pkg}-1.0-py3-none-any.whl', 'w') as z:
        for name, data in files.items(): z.writestr(name, data)
        z.writestr(f'{pkg}-1.0.dist-info/RECORD', '\\n'.join([record(n, d) for n, d in files.items()] + [f'{pkg}-1.0.dist-info/RECORD,,']))
"""


@scenario(modules="pip", limit_s=240)
def pip_target(run: Run) -> None:
    """pip install of a local wheel and its dependency into a target directory, again, and --upgrade"""
    wheels = run.dir / "wheels"
    wheels.mkdir()
    run.py(_WHEEL, wheels)
    pip: list[Argument] = [
        run.python_path,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-index",
        "--find-links",
        wheels,
        "--target",
        run.dir / "t",
    ]
    run(*pip, "tinypkg")
    run(*pip, "--upgrade", "tinypkg")
    code = "import tinypkg, tinydep, tinypkg.m7, pathlib; print(tinypkg.VALUE + tinydep.VALUE + tinypkg.m7.X, len(pathlib.Path(tinypkg.__file__).with_name('data').joinpath('blob').read_bytes()))"
    same(run(run.python_path, "-c", code, PYTHONPATH=str(run.dir / "t")).split(), ["91", "128000"], "the package")


@scenario(modules="venv ensurepip", limit_s=300)
def venv_and_pip(run: Run) -> None:
    """a venv made here with its own pip; install, check, uninstall, two installs at once into two venvs"""
    wheels = run.dir / "wheels"
    wheels.mkdir()
    run.py(_WHEEL, wheels)
    run(run.python_path, "-m", "venv", run.dir / "v")
    run(run.python_path, "-m", "venv", "--without-pip", run.dir / "w")
    options: list[Argument] = ["-q", "--no-index", "--find-links", wheels, "tinypkg"]
    run.together(
        [run.dir / "v/bin/pip", "install", *options],
        [run.dir / "v/bin/pip", "--python", run.dir / "w/bin/python", "install", *options],
    )
    for name in "vw":
        same(
            run(run.dir / name / "bin/python", "-c", "import tinypkg.m3, tinydep; print(tinypkg.m3.X)").strip(),
            "3",
            name,
        )
    run.sh(
        "v/bin/pip check -q; v/bin/pip uninstall -qy tinypkg; test ! -e v/lib/python3*/site-packages/tinypkg; v/bin/pip list | grep tinydep >/dev/null; test -x v/bin/tinydep"
    )


@scenario(modules="pip", limit_s=300, extended=True)
def pip_real_package(run: Run) -> None:
    """pip install of a real package with dependencies, from the package index, built bytecode used afterwards"""
    run(run.python_path, "-m", "pip", "install", "-q", "--target", run.dir / "t", "requests", "flask")
    code = "import flask, requests; print(flask.__file__, requests.__file__)"
    said = run(run.python_path, "-c", code, PYTHONPATH=str(run.dir / "t"))
    assert said.count(str(run.dir)) == 2, said


@scenario()
def python_imports(run: Run) -> None:
    """four processes import and compile the same fresh package at once; its __pycache__ is whole afterwards"""
    for number in range(30):
        run.write(f"pkg/m{number}.py", f"X = {number}\n" + "def f():\n    return 'x'\n" * 20)
    run.write("pkg/__init__.py", "")
    run.env["PYTHONDONTWRITEBYTECODE"] = ""
    code = "import importlib; print(sum(importlib.import_module(f'pkg.m{n}').X for n in range(30)))"
    same([one.strip() for one in run.py_together(code, 4)], ["435"] * 4, "sums")
    same(len(list((run.dir / "pkg" / "__pycache__").glob("*.pyc"))), 31, "compiled files")
    check = "import marshal, glob; print(len([marshal.loads(open(p, 'rb').read()[16:]) for p in glob.glob('pkg/__pycache__/*')]))"
    same(run.py(check).strip(), "31", "compiled files that load")
    run(run.python_path, "-m", "compileall", "-qfj2", "pkg")


_TEST_FILE = """
import os, pathlib, pytest
@pytest.mark.parametrize('n', range(12))
def test_tmp(tmp_path, n):
    p = tmp_path / 'f'; p.write_text('x' * n); assert p.stat().st_size == n
def test_cache(request):
    v = request.config.cache.get('x/y', 0); request.config.cache.set('x/y', v + 1)
def test_fails(): assert os.environ.get('OK') == '1'
"""


@scenario(modules="pytest", limit_s=240)
def pytest_with_cache(run: Run) -> None:
    """pytest with its cache and tmp_path here: --lf runs what failed, --junitxml, and two at once"""
    run.write("test_x.py", _TEST_FILE)
    pytest = [run.python_path, "-m", "pytest", "-q", "--basetemp=bt"]
    run(*pytest, status=1)
    said = run(*pytest, "--lf", "--junitxml=out.xml", OK="1")
    assert "1 passed" in said, said
    assert 'tests="1"' in run.read("out.xml")
    both = [[run.python_path, "-m", "pytest", "-q", f"--basetemp=b{n}", "-k", "not fails"] for n in range(2)]
    for said in run.together(*both):
        assert "13 passed" in said, said
    run.py("import json; assert json.load(open('.pytest_cache/v/x/y')) >= 2")


@scenario(modules="pytest xdist", limit_s=240)
def pytest_xdist(run: Run) -> None:
    """pytest -n 3: workers share the cache and the temporary directory"""
    run.write("test_x.py", _TEST_FILE)
    assert "14 passed" in run(run.python_path, "-m", "pytest", "-q", "-n", "3", OK="1")


@scenario()
def logging_rotates(run: Run) -> None:
    """RotatingFileHandler and TimedRotatingFileHandler: every record once, in order, over all files"""
    code = """
import logging, logging.handlers, sys
h = logging.handlers.RotatingFileHandler(sys.argv[1], maxBytes=5000, backupCount=50)
h.setFormatter(logging.Formatter('%(message)s'))
t = logging.handlers.TimedRotatingFileHandler('timed.' + sys.argv[1], when='S', backupCount=20)
t.setFormatter(logging.Formatter('%(message)s'))
l = logging.getLogger('x'); l.setLevel('INFO'); l.addHandler(h); l.addHandler(t)
for n in range(1500):
    l.info('record %06d %s', n, 'x' * 50)
    if n == 700: t.rolloverAt = 0
"""
    for name in ("app.log", "app.txt"):
        run.py(code, name)
        files = sorted(run.dir.glob(f"{name}*"), key=lambda path: -int(path.name.partition(f"{name}.")[2] or 0))
        lines = "".join(path.read_text() for path in files).splitlines()
        same([line.split()[1] for line in lines], [f"{n:06}" for n in range(1500)], name)
        assert all(path.stat().st_size <= 5000 for path in files)
        timed = list(run.dir.glob(f"timed.{name}*"))
        same(len({line for path in timed for line in path.read_text().splitlines()}), 1500, "timed records")
        assert len(timed) >= 2, "no rotation by time"


@scenario()
def logging_by_processes(run: Run) -> None:
    """five processes log to one file by FileHandler: every record whole, none lost"""
    code = """
import logging, sys
logging.basicConfig(filename=sys.argv[2], level='INFO', format='%(asctime)s %(process)d %(message)s')
for n in range(200): logging.info('%s-%d %s', sys.argv[1], n, 'x' * 200)
"""
    for name in ("all.log", "all.txt"):
        run.py_together(code, 5, name)
        lines = run.read(name).splitlines()
        same(
            (len(lines), len({line.split()[3] for line in lines}), {len(line.split()[4]) for line in lines}),
            (1000, 1000, {200}),
            name,
        )


@scenario()
def logging_socket_and_queue(run: Run) -> None:
    """QueueHandler from a Pool to one listener that writes, MemoryHandler"""
    code = """
import logging, logging.handlers, multiprocessing
def work(args):
    q, n = args
    l = logging.getLogger(f'w{n}'); l.setLevel('INFO'); l.addHandler(logging.handlers.QueueHandler(q))
    for i in range(50): l.info('%d %d', n, i)
if __name__ == '__main__':
    m = multiprocessing.Manager(); q = m.Queue()
    target = logging.FileHandler('q.out.txt'); lis = logging.handlers.QueueListener(q, logging.handlers.MemoryHandler(64, target=target)); lis.start()
    with multiprocessing.Pool(3) as p: p.map(work, [(q, n) for n in range(8)])
    lis.stop(); [h.close() for h in lis.handlers]
"""
    run.write("job.py", code)
    run(run.python_path, "job.py")
    same(len(set(run.read("q.out.txt").splitlines())), 400, "records")


@scenario()
def tempfiles(run: Run) -> None:
    """NamedTemporaryFile handed to a child, TemporaryFile, SpooledTemporaryFile, TemporaryDirectory, mkstemp, delete=False"""
    code = """
import os, subprocess, tempfile
def out(*a): return subprocess.run(a, check=True, capture_output=True, text=True).stdout
with tempfile.NamedTemporaryFile('w+', dir='.', suffix='.txt') as f:
    f.write('for the child\\n'); f.flush()
    assert out('cat', f.name) == 'for the child\\n'
    subprocess.run(['sh', '-c', f'echo from the child >> {f.name}'], check=True)
    f.seek(0); assert f.read() == 'for the child\\nfrom the child\\n', 'child append'
    subprocess.run(['sed', '-i', 's/for/by/', f.name], check=True)
    assert open(f.name).read().startswith('by the'), 'child replaced'
assert not os.path.exists(f.name)
with tempfile.TemporaryFile('w+', dir='.') as f:
    f.write('x' * 100000); f.seek(0); assert len(f.read()) == 100000
with tempfile.SpooledTemporaryFile(10, dir='.') as f:
    f.write(b'y' * 1000); f.seek(500); assert len(f.read()) == 500
with tempfile.TemporaryDirectory(dir='.') as d:
    for i in range(30): open(f'{d}/{i}', 'w').write('x')
    assert len(os.listdir(d)) == 30
assert not os.path.exists(d)
fd, p = tempfile.mkstemp(dir='.'); os.write(fd, b'abc'); assert os.stat(p).st_size == 3; assert out('wc', '-c', p).split()[0] == '3'; os.close(fd); os.rename(p, 'kept')
with tempfile.NamedTemporaryFile(dir='.', delete=False) as f: f.write(b'z')
os.replace(f.name, 'kept2')
assert out('sort', 'kept', 'kept2') == 'abc\\nz\\n'
"""
    run.py(code)
    same(
        sorted(path.name for path in run.dir.iterdir() if not path.name.startswith(".")),
        ["kept", "kept2"],
        "what is left",
    )


@scenario()
def multiprocessing_pool(run: Run) -> None:
    """Pool writes a file per task and appends to one shared csv, by fork and by spawn; SharedMemory and Lock"""
    code = """
import csv, multiprocessing as mp, sys
def work(n):
    with open(f'r{n}.json', 'w') as f: f.write('[' + ','.join(['1'] * n) + ']')
    with open('all.csv', 'a', newline='') as f:
        w = csv.writer(f)
        for i in range(20): w.writerow([n, i, 'x' * 80])
    return n
if __name__ == '__main__':
    with mp.get_context(sys.argv[1]).Pool(4) as p: assert sum(p.imap_unordered(work, range(40))) == 780
"""
    run.write("job.py", code)
    for rounds, method in enumerate(("fork", "spawn"), 1):
        run(run.python_path, "job.py", method)
        rows = [line.split(",") for line in run.read("all.csv").splitlines()]
        same(
            (len(rows), len({(r[0], r[1]) for r in rows}), {len(r[2]) for r in rows}), (800 * rounds, 800, {80}), method
        )
    run.py("import json; assert [sum(json.load(open(f'r{n}.json'))) for n in range(40)] == list(range(40))")


@scenario()
def futures_and_threads(run: Run) -> None:
    """ThreadPoolExecutor and ProcessPoolExecutor write results; threads of one process share one file with a lock"""
    code = """
import concurrent.futures as cf, threading, os
def write(n):
    with open(f'o{n}', 'wb') as f: f.write(bytes([n]) * 10000)
    return os.path.getsize(f'o{n}')
lock = threading.Lock()
def line(n):
    with lock, open('lines.txt', 'a') as f: f.write(f'{n}\\n')
def counter(n):
    with lock, open('count', 'r+') as f:
        v = int(f.read()); f.seek(0); f.write(str(v + 1)); f.truncate()
if __name__ == '__main__':
    open('count', 'w').write('0')
    with cf.ThreadPoolExecutor(8) as e: assert sum(e.map(write, range(60))) == 600000; list(e.map(line, range(200))); list(e.map(counter, range(100)))
    with cf.ProcessPoolExecutor(3) as e: assert sum(e.map(write, range(60, 90))) == 300000
    assert sorted(map(int, open('lines.txt'))) == list(range(200)); assert open('count').read() == '100'
"""
    run.write("job.py", code)
    run(run.python_path, "job.py")


@scenario()
def stdlib_files(run: Run) -> None:
    """mailbox, zipfile append, tarfile, shutil, fileinput inplace, configparser, csv, mmap, os.sendfile, linecache"""
    code = """
import mailbox, zipfile, tarfile, shutil, fileinput, configparser, mmap, os, json, plistlib
b = mailbox.Maildir('md'); [b.add(f'Subject: {i}\\n\\nbody') for i in range(20)]; assert len(mailbox.Maildir('md')) == 20
m = mailbox.mbox('mb'); m.lock(); [m.add(f'Subject: {i}\\n\\nbody') for i in range(20)]; m.flush(); m.unlock(); m.close(); m = mailbox.mbox('mb'); m.remove(3); m.flush(); assert len(mailbox.mbox('mb')) == 19
z = zipfile.ZipFile('z.zip', 'w'); z.writestr('a', 'x' * 999); z.close(); z = zipfile.ZipFile('z.zip', 'a'); z.writestr('b', 'y'); z.close(); assert zipfile.ZipFile('z.zip').testzip() is None and len(zipfile.ZipFile('z.zip').namelist()) == 2
t = tarfile.open('t.tar', 'w'); t.add('md'); t.close(); t = tarfile.open('t.tar', 'a'); t.add('z.zip'); t.close(); assert 'z.zip' in tarfile.open('t.tar').getnames()
shutil.copytree('md', 'md2'); shutil.make_archive('arch', 'gztar', 'md'); shutil.unpack_archive('arch.tar.gz', 'md3'); shutil.move('md2', 'md4'); shutil.rmtree('md4')
open('fi', 'w').write('a\\nb\\n')
for line in fileinput.input('fi', inplace=True, backup='.bak'): print(line.upper(), end='')
assert open('fi').read() == 'A\\nB\\n' and open('fi.bak').read() == 'a\\nb\\n'
c = configparser.ConfigParser(); c['s'] = {'k': 'v'}; c.write(open('c.ini', 'w')); c.read('c.ini'); assert c['s']['k'] == 'v'
f = open('mm', 'wb+'); f.truncate(8192); v = mmap.mmap(f.fileno(), 8192); v[4096:4099] = b'abc'; v.flush(); v.resize(12288); v[12287:] = b'z'; v.close(); f.close(); d = open('mm', 'rb').read(); assert d[4096:4099] == b'abc' and len(d) == 12288 and d[-1:] == b'z'
s = open('mm', 'rb'); o = open('sf', 'wb'); assert os.sendfile(o.fileno(), s.fileno(), 0, 12288) == 12288; o.close(); assert open('sf', 'rb').read() == d
fd = os.open('rw', os.O_RDWR | os.O_CREAT); os.pwrite(fd, b'end', 100); os.pwritev(fd, [b'st', b'art'], 0); assert os.pread(fd, 5, 0) == b'start'; os.posix_fallocate(fd, 0, 5000); assert os.fstat(fd).st_size == 5000; os.ftruncate(fd, 103); os.close(fd); assert open('rw', 'rb').read() == b'start' + bytes(95) + b'end'
"""
    run.py(code)
