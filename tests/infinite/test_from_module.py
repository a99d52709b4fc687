"""Architectures read off PyTorch modules."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import widthwise as ww
from widthwise.infinite import AvgPool, Conv, Dense, Flatten, GlobalAvgPool, LayerNorm, Network, from_module


def test_reads_a_perceptron_and_its_widths():
    module = nn.Sequential(
        nn.Linear(6, 400),
        nn.Tanh(),
        nn.Sequential(nn.Linear(400, 300, bias=False), nn.Identity(), nn.ReLU()),
        nn.Linear(300, 1),
    )
    found = from_module(module, sigma_w=1.5, sigma_b=0.2)
    standard = {"sigma_w": 1.5, "parameterisation": "standard"}
    expected = Network(
        Dense(400, sigma_b=0.2, **standard), "tanh", Dense(300, **standard), "relu", Dense(1, sigma_b=0.2, **standard)
    )
    x = torch.randn(4, 6, dtype=torch.float64)
    assert torch.equal(found.ntk(x), expected.ntk(x))


def test_measures_what_is_not_said():
    module = nn.Sequential(nn.Linear(50, 2000), nn.ReLU(), nn.Linear(2000, 500))
    first, _, last = from_module(module).layers
    for layer in (first, last):
        assert layer.sigma_w == pytest.approx(3**-0.5, rel=0.02)  # PyTorch's default
    assert first.sigma_b == pytest.approx((3 * 50) ** -0.5, rel=0.1)


def test_reads_a_convolutional_network():
    module = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.LayerNorm((16, 8, 8), elementwise_affine=False),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, padding_mode="circular", bias=False),
        nn.GELU(),
        nn.AvgPool2d(2),
        nn.Conv2d(32, 32, (3, 1), stride=2),
        nn.LeakyReLU(0.1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )
    found = from_module(module, sigma_w=1.4, sigma_b=0.1, parameterisation="ntk")
    expected = Network(
        Conv(16, 3, padding=1, sigma_w=1.4, sigma_b=0.1),
        LayerNorm(over="all"),
        "relu",
        Conv(32, 3, sigma_w=1.4),
        "gelu",
        AvgPool(2),
        Conv(32, (3, 1), stride=2, padding="valid", sigma_w=1.4, sigma_b=0.1),
        "leaky_relu(0.1)",
        GlobalAvgPool(),
        Flatten(),
        Dense(10, sigma_w=1.4, sigma_b=0.1),
    )
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    assert torch.equal(found.ntk(x), expected.ntk(x))


def test_reads_one_dimensional_networks():
    module = nn.Sequential(
        nn.Conv1d(2, 8, 3), nn.ReLU(), nn.AvgPool1d(2), nn.Conv1d(8, 8, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 1)
    )
    assert from_module(module).ntk(torch.randn(3, 2, 6)).shape == (3, 3)


class Block(nn.Module):
    """A network of one's own that is no Sequential."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 3), nn.ReLU())

    def forward(self, x):
        return self.inner(x)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.BatchNorm1d(3))), "layer 1.0, BatchNorm1d"),
        (nn.Sequential(nn.LSTM(2, 3)), "layer 0, LSTM"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)), "layer 0, Conv2d"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, dilation=2)), "layer 0, Conv2d"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")), "layer 0, Conv2d"),
        (nn.Sequential(nn.Linear(2, 3), nn.MaxPool2d(2)), "layer 1, MaxPool2d"),
        (nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3)), "layer 1, LayerNorm"),
        (nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5)), "layer 1, Dropout"),
        (nn.MultiheadAttention(4, 2), "module: MultiheadAttention, which is no nn.Sequential, has no closed form"),
        (nn.Sequential(nn.Linear(2, 3), Block(), nn.Linear(3, 1)), "layer 1, Block, has no closed form"),
    ],
)
def test_names_the_layer_it_cannot_read(module, name):
    with pytest.raises(ww.InputError) as error:
        from_module(module)
    assert name in str(error.value)
    assert str(error.value).count("module:") == 1
    assert "\n" not in str(error.value)
    assert "Linear(" not in str(error.value)  # nothing of what is in it or around it


def test_zero_weights_are_named():
    module = nn.Sequential(nn.Linear(2, 3))
    nn.init.zeros_(module[0].weight)
    with pytest.raises(ww.InputError, match="layer 0, Linear.*sigma_w: got 0"):
        from_module(module)
    with pytest.raises(ww.InputTypeError, match="module: got 3"):
        from_module(3)
