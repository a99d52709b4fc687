"""The kernels under `WIDTHWISE_CHECK_BOUNDS=1`, where an access out of bounds ends the process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from widthwise.sparse import SparseLinear, _types
from widthwise.sparse._kernels.build import MODULES
from widthwise.sparse.conv import SparseConv2d

CASES = Path(__file__).with_name("bounds_cases.py")
ENDS = ("_f32", "_f64", "_u16", "_i32")
KERNELS = {n for m in MODULES for n in vars(m) if n.endswith(ENDS) and n[0] != "_" and "_now_" not in n}
needs_kernels = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not _types.is_native(torch.device("cpu")), reason="no kernels to check here"
)
BEYOND = """
import torch
from widthwise.sparse._team import run
order, values, found = torch.tensor([0, 1, {place}], dtype=torch.int32), torch.arange(3.0), torch.zeros({room})
run("gather_f32", 1, values, order, found, 3)
print("unharmed", found.tolist())
"""


def checked(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "WIDTHWISE_CHECK_BOUNDS": "1", "OMP_NUM_THREADS": "2"}
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)


def ran_all(count: int) -> None:
    done = checked(str(CASES), str(count))
    assert done.returncode == 0, done.stderr[-3000:]
    assert set(done.stdout.split()) == KERNELS


@needs_kernels
def test_every_kernel_stays_within_its_arguments():
    ran_all(8)


@needs_kernels
@pytest.mark.slow
def test_every_kernel_stays_within_its_arguments_on_many_shapes():
    ran_all(1500)


@needs_kernels
@pytest.mark.parametrize(
    ("place", "room", "argument"), [(-1, 3, "argument 1, (3,) of torch.float32, at number -1"), (2, 2, "argument 3")]
)
def test_an_access_out_of_bounds_is_named(place, room, argument):
    done = checked("-c", BEYOND.format(place=place, room=room))
    assert done.returncode == 134
    assert f"kernel gather_f32 reads or writes out of bounds: {argument}" in done.stderr
    assert "unharmed" not in done.stdout


@pytest.mark.parametrize("batch", [1, 3, 8, 70])
@pytest.mark.parametrize("kind", ["linear", "conv"])
@pytest.mark.parametrize("pack", [torch.clone, lambda t: t.clone(memory_format=torch.contiguous_format)])
def test_gradients_do_not_depend_on_how_saved_tensors_come_back(kind, batch, pack):
    if kind == "linear":
        layer, x = SparseLinear(torch.randn(6, 9, dtype=torch.float64)), torch.randn(batch, 9, dtype=torch.float64)
    else:
        layer = SparseConv2d.from_conv2d(nn.Conv2d(2, 3, 3, padding=1, dtype=torch.float64))
        x = torch.randn(batch, 2, 5, 5, dtype=torch.float64)
    layer.clip = True
    ends = (x.requires_grad_(), *layer.parameters())
    expected = layer(x)
    slope = torch.randn_like(expected)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        got = layer(x)
    torch.testing.assert_close(torch.autograd.grad(got, ends, slope), torch.autograd.grad(expected, ends, slope))
