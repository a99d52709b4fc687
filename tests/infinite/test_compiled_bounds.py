"""The compiled kernels of infinite width run as plain Python, where NumPy checks every index."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

PROGRAM = """
import sys, torch
from widthwise import kernels
from widthwise.infinite import compiled, sliding
for module in (compiled, sliding):
    assert not hasattr(getattr(module, module.__all__[0]), "py_func") or sys.argv[1] == "compiled"
torch.manual_seed(0)
found = []
for n, m in ((1, 1), (5, 3), (17, 18)):
    x, y = torch.randn(n, 4), torch.randn(m, 4)
    for network in (kernels.MLP(3, "relu", 1.4, 0.1), kernels.MLP(2, "leaky_relu", 1.2)):
        for other in (None, y):
            found += [part.flatten() for part in network.kernels(x, other)]
for padding, size in (("same", (3, 4)), ("circular", (4, 3)), ("circular", (2, 2))):
    network = kernels.serial(
        kernels.Conv(4, padding=padding), "relu", kernels.Conv(4, padding=padding), "relu",
        kernels.GlobalAvgPool(), kernels.Dense(1),
    )
    for other in (None, torch.randn(2, 2, *size)):
        found += [part.flatten() for part in network.kernels(torch.randn(3, 2, *size), other)]
torch.save(torch.cat([part.double() for part in found]), sys.argv[2])
"""


def run(tmp_path, how: str, **environment: str) -> torch.Tensor:
    place = tmp_path / how
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how, str(place)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(place, weights_only=True)


def test_every_index_is_within_its_array(tmp_path):
    plain = run(tmp_path, "python", NUMBA_DISABLE_JIT="1")
    torch.testing.assert_close(run(tmp_path, "compiled"), plain, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_every_index_is_within_its_array_compiled(tmp_path):
    cache = tmp_path / "cache"
    checked = run(tmp_path, "compiled", NUMBA_BOUNDSCHECK="1", NUMBA_CACHE_DIR=str(cache))
    assert checked.isfinite().all()
    assert len(checked) > 100
