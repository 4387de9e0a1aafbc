"""Notebooks, caches and the formats of data people."""

from __future__ import annotations

from tests.realworld.scenario import Run, same, scenario


@scenario(modules="nbformat jupyter_server", limit_s=240)
def notebook_save(run: Run) -> None:
    """jupyter_server's contents manager: save, checkpoint, restore, rename, two savers; nbformat reads it all"""
    code = """
import nbformat.v4 as v4, nbformat, os, sys
from jupyter_server.services.contents.filemanager import FileContentsManager
os.makedirs('nb', exist_ok=True)
m = FileContentsManager(root_dir=os.path.abspath('nb'), use_atomic_writing=sys.argv[1] == '1')
name = f'n{sys.argv[1]}.ipynb'
for i in range(8):
    nb = v4.new_notebook(cells=[v4.new_code_cell(f'print({j})') for j in range(i + 1)])
    m.save({'type': 'notebook', 'format': 'json', 'content': nb}, name)
    assert len(nbformat.read(f'nb/{name}', 4).cells) == i + 1
    if i == 3: c = m.create_checkpoint(name)
m.restore_checkpoint(c['id'], name); assert len(nbformat.read(f'nb/{name}', 4).cells) == 4
m.save({'type': 'file', 'format': 'text', 'content': 'text'}, 't.txt'); assert m.get('t.txt')['content'] == 'text'
m.rename_file(name, 'renamed.ipynb'); assert m.get('renamed.ipynb')['content']['cells']; m.delete_file('renamed.ipynb')
assert sorted(x['name'] for x in m.get('')['content']) == ['t.txt']
"""
    for atomic in "10":
        run.py(code, atomic)


@scenario(modules="nbclient nbformat ipykernel", limit_s=240, extended=True)
def notebook_run(run: Run) -> None:
    """nbclient runs a notebook that writes files, and its result is saved over it"""
    code = """
import nbformat, nbformat.v4 as v4; from nbclient import NotebookClient
nb = v4.new_notebook(cells=[v4.new_code_cell("open('made', 'w').write('x' * 10)"), v4.new_code_cell("print(open('made').read())")])
nbformat.write(nb, 'n.ipynb'); nb = nbformat.read('n.ipynb', 4); NotebookClient(nb, timeout=120, kernel_name='python3').execute(); nbformat.write(nb, 'n.ipynb')
assert nbformat.read('n.ipynb', 4).cells[1].outputs[0].text == 'x' * 10 + chr(10)
"""
    run.py(code)


@scenario(modules="diskcache", limit_s=240)
def diskcache_processes(run: Run) -> None:
    """diskcache: four processes set, get and count; big values in files of their own"""
    code = """
import diskcache, sys
c = diskcache.Cache('cache', timeout=60)
for n in range(40):
    c.set((sys.argv[1], n), bytes([n]) * (60000 if n % 5 == 0 else 100), retry=True); c.incr('n', default=0, retry=True)
"""
    run.py_together(code, 4)
    same(
        run.py(
            "import diskcache; c = diskcache.Cache('cache'); print(len(c), c['n'], len(c.check()), len(c[('2', 10)]))"
        ).split(),
        ["161", "160", "0", "60000"],
        "cache",
    )


@scenario(modules="requests_cache")
def requests_cache_sqlite(run: Run) -> None:
    """requests-cache with its SQLite and file backends, against a server on the loopback"""
    code = """
import http.server, threading, requests_cache
class H(http.server.BaseHTTPRequestHandler):
    n = 0
    def do_GET(self): H.n += 1; self.send_response(200); self.end_headers(); self.wfile.write(b'body' * 100)
    def log_message(self, *a): pass
s = http.server.HTTPServer(('127.0.0.1', 0), H); threading.Thread(target=s.serve_forever, daemon=True).start()
for k, b in enumerate(('sqlite', 'filesystem')):
    for again in range(2):
        session = requests_cache.CachedSession(f'cache-{b}', backend=b); session.trust_env = False
        for i in range(10): assert session.get(f'http://127.0.0.1:{s.server_port}/{i}').text == 'body' * 100
        session.close()
    assert H.n == 10 * (k + 1), H.n
"""
    run.py(code)


@scenario(modules="joblib", limit_s=240)
def joblib_memory(run: Run) -> None:
    """joblib.Memory and Parallel: each value is computed, stored and found again by other processes"""
    run.write(
        "job.py",
        "import joblib\nm = joblib.Memory('cache', verbose=0)\n@m.cache\ndef f(n):\n    open(f'ran{n}', 'a').write('1\\n'); return list(range(n))\n",
    )
    code = "import job, joblib; assert sum(map(len, joblib.Parallel(2)(joblib.delayed(job.f)(n) for n in range(12)))) == 66"
    run.env["PYTHONPATH"] = str(run.dir)
    run.py(code)
    run.py(code)
    same([run.read(f"ran{n}") for n in range(12)], ["1\n"] * 12, "computed")
    run.py(
        "import joblib; joblib.dump({'a': [1] * 10000}, 'd.gz', compress=3); assert joblib.load('d.gz')['a'][5] == 1"
    )


@scenario(modules="pandas numpy", limit_s=240)
def pandas_and_numpy(run: Run) -> None:
    """to_csv (w, a), to_json, to_pickle, read back; numpy save, savez, memmap w+ and r+; pickle by several processes"""
    code = """
import numpy as np, pandas as pd, pickle, sys
d = pd.DataFrame({'a': range(5000), 'b': [str(i) * 3 for i in range(5000)]})
d.to_csv('x.csv', index=False); d.to_csv('x.csv', mode='a', header=False, index=False); assert len(pd.read_csv('x.csv')) == 10000
d.to_csv('x.csv.gz', index=False); assert pd.read_csv('x.csv.gz').equals(d.astype({'b': int})) or len(pd.read_csv('x.csv.gz')) == 5000
d.to_json('x.json', orient='records', lines=True); assert len(pd.read_json('x.json', lines=True)) == 5000
d.to_pickle('x.pkl'); assert pd.read_pickle('x.pkl').equals(d)
a = np.arange(1 << 17, dtype='f8'); np.save('a.npy', a); assert (np.load('a.npy', mmap_mode='r') == a).all(); np.savez_compressed('a.npz', a=a, b=a[:10]); assert (np.load('a.npz')['b'] == a[:10]).all()
m = np.memmap('m.dat', 'f4', 'w+', shape=(500, 500)); m[:] = 3; m.flush(); del m
m = np.memmap('m.dat', 'f4', 'r+', shape=(500, 500)); m[7] = 5; m.flush(); del m
m = np.memmap('m.dat', 'f4', 'r', shape=(500, 500)); assert m.sum() == 500 * 499 * 3 + 500 * 5
o = np.lib.format.open_memmap('o.npy', 'w+', 'i4', (1000, 10)); o[3] = 9; del o; assert np.load('o.npy').sum() == 90
a.tofile('raw'); assert (np.fromfile('raw') == a).all(); np.savetxt('t.txt', a[:100]); assert np.loadtxt('t.txt').sum() == 4950
"""
    run.py(code)
    append = "import pandas as pd, sys\nfor i in range(15): pd.DataFrame({'w': [int(sys.argv[1])] * 50, 'i': range(50)}).to_csv('shared.csv', mode='a', header=False, index=False)"
    run.py_together(append, 3)
    same(
        run.py("import pandas as pd; d = pd.read_csv('shared.csv', header=None); print(len(d), d[1].sum())").split(),
        ["2250", str(1225 * 45)],
        "shared.csv",
    )


@scenario(modules="h5py numpy")
def hdf5(run: Run) -> None:
    """h5py: create, append with resize, r+ by another process, SWMR reader beside its writer, core driver"""
    code = """
import h5py, numpy as np, subprocess, sys
with h5py.File('d.h5', 'w') as f: f.create_dataset('x', data=np.arange(10000), maxshape=(None,), chunks=(1000,), compression='gzip')
for i in range(5):
    with h5py.File('d.h5', 'a') as f: n = len(f['x']); f['x'].resize((n + 1000,)); f['x'][n:] = 7
subprocess.run([sys.executable, '-c', "import h5py; f = h5py.File('d.h5', 'r+'); f['y'] = [1, 2]; f.attrs['k'] = 'v'; f.close()"], check=True)
with h5py.File('d.h5', 'r') as f: assert len(f['x']) == 15000 and f['x'][-1] == 7 and f['y'][1] == 2 and f.attrs['k'] == 'v'
with h5py.File('c.h5', 'w', driver='core') as f: f['z'] = np.ones(1000)
assert h5py.File('c.h5', 'r')['z'][:].sum() == 1000
"""
    run.py(code)
    swmr = """
import h5py, subprocess, sys
f = h5py.File('s.h5', 'w', libver='latest'); d = f.create_dataset('x', (0,), maxshape=(None,), chunks=(100,)); f.swmr_mode = True
reader = subprocess.Popen([sys.executable, '-c', "import h5py, time\\nf = h5py.File('s.h5', 'r', libver='latest', swmr=True); d = f['x']\\nprint('up', flush=True)\\nend = time.time() + 40\\nwhile len(d) < 500 and time.time() < end: d.refresh(); time.sleep(0.01)\\nprint(len(d))"], stdout=subprocess.PIPE, text=True)
reader.stdout.readline()
for i in range(5): d.resize((len(d) + 100,)); d[-100:] = i; d.flush(); f.flush()
print(reader.communicate()[0].strip()); f.close()
"""
    same(run.py(swmr).strip(), "500", "what the child that reads along saw")


@scenario(modules="pyarrow pandas")
def parquet_and_arrow(run: Run) -> None:
    """pyarrow: Parquet, partitioned data set by three processes, Feather, IPC by memory map"""
    code = """
import pyarrow as pa, pyarrow.parquet as pq, pyarrow.dataset as ds, pyarrow.feather as fe, sys
w = int(sys.argv[1]); t = pa.table({'w': [w] * 3000, 'k': [i % 3 for i in range(3000)], 'v': list(range(3000))})
pq.write_table(t, f'p{w}.parquet'); assert pq.read_table(f'p{w}.parquet').equals(t)
ds.write_dataset(t, 'set', format='parquet', partitioning=['k'], basename_template=f'w{w}-{{i}}.parquet', existing_data_behavior='overwrite_or_ignore')
fe.write_feather(t, f'f{w}.feather'); assert fe.read_table(f'f{w}.feather').equals(t)
with pa.OSFile(f'i{w}.arrow', 'wb') as s, pa.ipc.new_file(s, t.schema) as o: o.write_table(t)
assert pa.ipc.open_file(pa.memory_map(f'i{w}.arrow')).read_all().equals(t)
"""
    run.py_together(code, 3)
    same(
        run.py("import pyarrow.dataset as ds; print(ds.dataset('set', partitioning=['k']).count_rows())").strip(),
        "9000",
        "rows",
    )


@scenario(modules="openpyxl zarr numpy")
def excel_and_zarr(run: Run) -> None:
    """openpyxl saves and edits a workbook; zarr arrays written by two processes"""
    code = """
import openpyxl
w = openpyxl.Workbook(); s = w.active
for i in range(300): s.append([i, 'x' * 20])
w.save('b.xlsx'); w = openpyxl.load_workbook('b.xlsx'); w.active['A1'] = 99; w.save('b.xlsx')
s = openpyxl.load_workbook('b.xlsx', read_only=True).active; assert s['A1'].value == 99 and s.max_row == 300
import zarr; zarr.create_array('z.zarr', shape=(200, 100), chunks=(10, 100), dtype='i4', fill_value=0)
"""
    run.py(code)
    run.py_together(
        "import zarr, sys; w = int(sys.argv[1]); z = zarr.open('z.zarr', mode='r+')\nfor r in range(10): z[(2 * r + w) * 10:(2 * r + w + 1) * 10] = w + 1",
        2,
    )
    same(run.py("import zarr; print(int(zarr.open('z.zarr', mode='r')[:].sum()))").strip(), "30000", "sum")
