"""Gram matrices against 60-digit arithmetic, on the rows where angles are hardest."""

from __future__ import annotations

import pytest
import torch
from exact_kernels import adversarial_rows, exact, kernels, worst

from widthwise.infinite import MLP

SETTINGS = [(2**0.5, 0.0), (1.0, 0.1), (1.7, 0.05)]
"""The edge of chaos of ReLU, the ordered phase, and the chaotic one, where errors grow from layer to layer."""


@pytest.mark.parametrize(("sigma_w", "sigma_b"), SETTINGS)
@pytest.mark.parametrize("activation", ["relu", "erf"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_kernels_of_ten_layers_are_exact(activation, sigma_w, sigma_b, dtype, tolerance):
    x = adversarial_rows(dtype)
    truth = exact(dtype, activation, sigma_w, sigma_b)
    for depth in range(1, 11):
        nngp, ntk = MLP(depth, activation, sigma_w, sigma_b).kernels(x)
        assert worst(nngp, truth[depth - 1][0]) < tolerance
        assert worst(ntk, truth[depth - 1][1]) < tolerance
        assert torch.equal(nngp, nngp.mT)
        assert torch.equal(ntk, ntk.mT)


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_diagonal_is_that_of_the_matrix(activation):
    x = adversarial_rows(torch.float64)
    network = MLP(3, activation, 1.4, 0.1)
    for whole, own in zip(network.kernels(x), network.diagonal(x), strict=True):
        assert torch.allclose(whole.diagonal(), own, rtol=4e-16, atol=0)


@pytest.mark.parametrize("activation", ["relu", "erf", "abs", "gelu"])
def test_two_sets_of_rows_agree_with_one(activation):
    x = adversarial_rows(torch.float64)
    network = MLP(2, activation, 1.4, 0.1)
    for whole, part in zip(network.kernels(x), network.kernels(x[:9], x[4:]), strict=True):
        scale = whole.diagonal().sqrt()
        assert ((part - whole[:9, 4:]).abs() <= 1e-14 * scale[:9, None] * scale[4:]).all()


def test_opposite_rows_stay_exact_under_abs():
    x = adversarial_rows(torch.float64)
    network = MLP(3, "abs", 1.0)
    assert torch.allclose(network.ntk(x, -x), network.ntk(x), rtol=1e-14, atol=0)


def test_many_near_rows_are_as_exact_as_few():
    x = 1 + 1e-3 * torch.randn(30, 30, dtype=torch.float64)
    truth = kernels(x, "relu", 2, 2**0.5, 0.0)
    nngp, ntk = MLP(2, "relu", 2**0.5).kernels(x)
    assert worst(nngp, truth[1][0]) < 1e-14
    assert worst(ntk, truth[1][1]) < 1e-14


def test_zero_rows_give_zero():
    x = torch.zeros(3, 4)
    x[1] = 1.0
    for kernel in MLP(2, "relu", 1.3).kernels(x):
        assert (kernel[[0, 2]] == 0).all()
        assert kernel[1, 1] > 0


@pytest.mark.parametrize("activation", ["relu", "erf", "abs", "leaky_relu(0.1)"])
def test_gradients_are_finite_everywhere(activation):
    x = adversarial_rows(torch.float64).requires_grad_()
    network = MLP(2, activation, 1.2, 0.1)
    nngp, ntk = network.kernels(x)
    (gradient,) = torch.autograd.grad(nngp.sum() + ntk.sum(), x)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(
    "activation", ["relu", "erf", "abs", *(pytest.param(slow, marks=pytest.mark.slow) for slow in ("tanh", "elu"))]
)
def test_gradients_are_right(activation):
    network = MLP(1 if activation in ("tanh", "elu") else 2, activation, 1.2, 0.1)
    x = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: tuple(network.kernels(x)), x)


def test_differentiated_kernels_have_the_values_of_the_others():
    x = adversarial_rows(torch.float64)
    network = MLP(3, "relu", 1.3, 0.2)
    for plain, tracked in zip(network.kernels(x), network.kernels(x.clone().requires_grad_()), strict=True):
        assert torch.allclose(plain, tracked.detach(), rtol=1e-14, atol=0)


@pytest.mark.parametrize(("sigma_w", "sigma_b"), SETTINGS)
def test_compiled_pass_is_as_exact(monkeypatch, sigma_w, sigma_b):
    monkeypatch.setattr("widthwise.infinite.task.WORTH", 0)
    x = adversarial_rows(torch.float32)
    truth = exact(torch.float32, "relu", sigma_w, sigma_b)
    for depth in (1, 3, 10):
        nngp, ntk = MLP(depth, "relu", sigma_w, sigma_b).kernels(x)
        assert worst(nngp, truth[depth - 1][0]) < 1e-6
        assert worst(ntk, truth[depth - 1][1]) < 1e-6
        assert torch.equal(ntk, ntk.mT)


@pytest.mark.parametrize("train", ["all", "first", "last"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu(0.2)", "abs", "erf"])
@pytest.mark.parametrize("sigma_b", [None, 0.3])
def test_compiled_pass_agrees_with_the_layers(monkeypatch, train, activation, sigma_b):
    x = torch.randn(40, 7)
    network = MLP(3, activation, 1.3, sigma_b, train=train)
    plain = *network.kernels(x), network.ntk(x[:5], x)
    monkeypatch.setattr("widthwise.infinite.task.WORTH", 0)
    compiled = *network.kernels(x), network.ntk(x[:5], x)
    for a, b in zip(plain, compiled, strict=True):
        assert torch.allclose(a, b, rtol=2e-6, atol=1e-6 * float(a.abs().max()))


def test_compiled_tiles_meet(monkeypatch):
    x = torch.randn(150, 7)
    x[100] = 3 * x[20]
    x[120] = -x[90]
    x[130] = x[40] + 1e-4 * x[41]
    network = MLP(2, "relu", 1.3, 0.3)
    plain = *network.kernels(x), network.ntk(x[:70].mT.contiguous().mT, x)
    monkeypatch.setattr("widthwise.infinite.task.WORTH", 0)
    monkeypatch.setattr("widthwise.infinite.task.LONG", 100)
    with torch.no_grad():
        compiled = *network.kernels(x.requires_grad_()), network.ntk(x[:70].mT.contiguous().mT, x)
    rows = torch.cat([block for _, block in network.blocks(x.detach(), rows=60)])
    for a, b in zip((*plain, plain[1]), (*compiled, rows), strict=True):
        assert torch.allclose(a, b, rtol=2e-6, atol=1e-6 * float(a.abs().max()))
    assert torch.equal(compiled[0], compiled[0].mT)
    assert torch.equal(compiled[1], compiled[1].mT)
