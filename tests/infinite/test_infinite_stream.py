"""Kernels by rows and in files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import widthwise as ww
from widthwise.infinite import MLP, Conv, Dense, GlobalAvgPool, Network


@pytest.mark.parametrize("rows", [None, 1, 7, 100])
@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
def test_blocks_make_up_the_matrix(rows, kernel):
    x = torch.randn(30, 4, dtype=torch.float64)
    network = MLP(2, "relu", 1.3, 0.1)
    found = list(network.blocks(x, kernel=kernel, rows=rows))
    assert [some.start for some, _ in found] == list(range(0, 30, rows or 30))
    whole = getattr(network, kernel)(x)
    assert torch.allclose(torch.cat([block for _, block in found]), whole, rtol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("two", [False, True])
def test_file_holds_the_matrix(tmp_path, dtype, two, monkeypatch):
    monkeypatch.setattr("widthwise.infinite.stream.BLOCK", 1 << 12)
    x = torch.randn(300, 4, dtype=dtype)
    pair = (x, x[:5] + 1) if two else (x,)
    seen = []
    path = MLP(2).save(tmp_path / "k.npy", *pair, watch=lambda done, total, what: seen.append(done / total))
    found = np.load(path, allow_pickle=False)
    assert found.dtype == x.numpy().dtype
    assert np.array_equal(found, MLP(2).ntk(*pair).numpy())
    assert seen == sorted(seen)
    assert list(tmp_path.iterdir()) == [path]


def test_images_stream_too(tmp_path):
    x = torch.randn(5, 2, 4, 4)
    network = Network(Conv(), "relu", GlobalAvgPool(), Dense())
    path = network.save(tmp_path / "k.npy", x, kernel="nngp")
    assert np.array_equal(np.load(path), network.nngp(x).numpy())


def test_a_failure_leaves_no_file(tmp_path):
    def stop(done, total, what):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        MLP(1).save(tmp_path / "k.npy", torch.randn(600, 2), watch=stop)
    assert not list(tmp_path.iterdir())


def test_bad_arguments_are_named(tmp_path):
    x = torch.randn(4, 2)
    with pytest.raises(ww.InputError, match=r"allowed is a name that ends in \.npy"):
        MLP(1).save(tmp_path / "k.npz", x)
    with pytest.raises(ww.InputError, match="kernel: got 'gp'"):
        MLP(1).blocks(x, kernel="gp")
    with pytest.raises(ww.InputError, match="rows: got 0"):
        MLP(1).blocks(x, rows=0)
    with pytest.raises(ww.InputError, match="x2: got inputs of shape"):
        MLP(1).blocks(x, x[:, :1])
