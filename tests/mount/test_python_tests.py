"""Python's own tests give the same results on a mount as on a plain directory (D3)."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.mounting import ROOT

MODULES = ("tempfile", "shutil", "fileio", "mmap", "fcntl")


@pytest.mark.slow
@pytest.mark.limit(280)
def test_D3_python_s_own_tests_see_no_difference(can_mount: None) -> None:
    """A few quick modules; scripts/python-tests has all."""
    if importlib.util.find_spec("test.test_tempfile") is None:
        pytest.skip(f"{sys.executable} has no test package")
    with tempfile.TemporaryDirectory(prefix="lockfs-test-") as base:
        script = str(ROOT / "scripts" / "python_tests.py")
        command = [sys.executable, script, "--dir", base, "--limit", "120", *MODULES]
        done = subprocess.run(command, capture_output=True, text=True, timeout=270, check=False)
        logs = "".join(path.read_text(errors="replace")[-4000:] for path in Path(base).glob("*/test_*.mount"))
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{logs}"
