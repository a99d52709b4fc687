"""Gram matrices made by workers: the same file, byte for byte."""

from __future__ import annotations

import pytest
import torch

import widthwise as ww
from widthwise.infinite import MLP, Conv, Dense, GlobalAvgPool, Network


def same_bytes(tmp_path, network, *inputs, **workers):
    alone = network.save(tmp_path / "alone.npy", *inputs).read_bytes()
    many = network.save(tmp_path / "many.npy", *inputs, **workers).read_bytes()
    assert many == alone
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone.npy", "many.npy"]


@pytest.mark.parametrize(
    ("network", "shape", "two"),
    [
        (MLP(2, "erf"), (300, 5), True),
        pytest.param(MLP(2), (1600, 5), False, marks=pytest.mark.slow),  # large enough for compiled loops
        pytest.param(Network(Conv(), "relu", GlobalAvgPool(), Dense()), (7, 2, 4, 4), False, marks=pytest.mark.slow),
    ],
)
def test_processes_write_the_same_file(tmp_path, monkeypatch, network, shape, two):
    monkeypatch.setattr("widthwise.infinite.stream.BLOCK", 1 << 18)
    x = torch.randn(shape)
    same_bytes(tmp_path, network, *((x, x[:50] + 1) if two else (x,)), jobs=2)


@pytest.mark.slow
def test_ray_writes_the_same_file(tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed", exc_type=ImportError)
    monkeypatch.setattr("widthwise.infinite.stream.BLOCK", 1 << 18)
    same_bytes(tmp_path, MLP(3), torch.randn(500, 5, dtype=torch.float64), jobs=2, ray="local")


def test_what_cannot_be_sent_is_named(tmp_path):
    with pytest.raises(ww.InputTypeError, match="cannot be sent to another process"):
        MLP(1, lambda x: x.clamp(min=0)).save(tmp_path / "k.npy", torch.randn(4, 2, dtype=torch.float64), jobs=1)
    assert not list(tmp_path.iterdir())
