"""A node lost in the middle of a sweep, and a driver killed on Ray, by the script that the documentation quotes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "sweep_survival.py"


@pytest.mark.slow
@pytest.mark.parametrize("what", [["node"], ["driver", "--ray", "--kills", "3"]])
def test_every_run_is_in_the_store_once(what):
    pytest.importorskip("ray", reason="Ray is not installed", exc_type=ImportError)
    command = [sys.executable, SCRIPT, *what, "--runs", "200", "--seconds", "0.1"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "ended with exit code 0" in found.stdout
    assert "200 runs, 200 in the store exactly once" in found.stdout
