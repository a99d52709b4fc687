"""Convolutional architectures against whole covariance matrices moved by selection matrices, and finite networks."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import widthwise as ww
from widthwise.infinite import AvgPool, Conv, Dense, Flatten, GlobalAvgPool, LayerNorm, Network, Residual


def taps(space, size, stride, pads, circular):
    """For each tap of a kernel, the matrix that takes an image to what lies under the tap; and the space after."""
    after = [(n + sum(pad) - size) // stride + 1 for n, pad in zip(space, pads, strict=True)]
    matrices = []
    for tap in itertools.product(range(size), repeat=len(space)):
        matrix = torch.zeros(math.prod(after), math.prod(space), dtype=torch.float64)
        for row, place in enumerate(itertools.product(*map(range, after))):
            at = [p * stride + d - pad[0] for p, d, pad in zip(place, tap, pads, strict=True)]
            if circular:
                at = [a % n for a, n in zip(at, space, strict=True)]
            if all(0 <= a < n for a, n in zip(at, space, strict=True)):
                column = 0
                for a, n in zip(at, space, strict=True):
                    column = column * n + a
                matrix[row, column] = 1
        matrices.append(matrix)
    return matrices, tuple(after)


class Whole:
    """Covariances and tangent kernels of all positions of all inputs, ``(n, n, P, P)``."""

    def __init__(self, x):
        flat = x.flatten(2)
        self.space = tuple(x.shape[2:])
        self.K = torch.einsum("icp,jcq->ijpq", flat, flat) / x.shape[1]
        self.T = torch.zeros_like(self.K)

    def conv(self, size, sigma_w, sigma_b, padding, stride=1):
        pads = [(0, 0)] * len(self.space) if padding == "valid" else [((size - 1) // 2, size // 2)] * len(self.space)
        matrices, self.space = taps(self.space, size, stride, pads, padding == "circular")
        self.K, self.T = (
            sigma_w**2 * sum(m @ kernel @ m.mT for m in matrices) / len(matrices) for kernel in (self.K, self.T)
        )
        self.K = self.K + sigma_b**2
        self.T = self.T + self.K
        return self

    def act(self, activation):
        n = len(self.K)
        q = torch.stack([self.K[i, i].diagonal() for i in range(n)])
        q1, q2 = q[:, None, :, None], q[None, :, None, :]
        c = (self.K / (q1 * q2).sqrt()).clamp(-1, 1)
        self.T = self.T * ww.duals.dual_derivative(activation, q1, q2, c)
        self.K = ww.duals.dual(activation, q1, q2, c)
        return self

    def pool(self, size):
        matrices, self.space = taps(self.space, size, size, [(0, 0)] * len(self.space), False)
        mean = sum(matrices) / len(matrices)
        self.K, self.T = mean @ self.K @ mean.mT, mean @ self.T @ mean.mT
        return self

    def flat(self):
        return tuple(kernel.diagonal(dim1=2, dim2=3).mean(-1) for kernel in (self.K, self.T))

    def everywhere(self):
        return tuple(kernel.mean((2, 3)) for kernel in (self.K, self.T))


def images(*space, n=3, channels=2):
    return torch.randn(n, channels, *space, dtype=torch.float64)


def agree(network, x, expected, rtol=1e-11):
    for got, wanted in zip(network.kernels(x), expected, strict=True):
        assert torch.allclose(got, wanted, rtol=rtol, atol=1e-12)
        assert torch.equal(got, got.mT)
    whole = network.kernels(x)
    for got, wanted in zip(network.kernels(x[:2], x[1:]), whole, strict=True):
        assert torch.allclose(got, wanted[:2, 1:], rtol=rtol, atol=1e-12)
    for got, wanted in zip(network.diagonal(x), whole, strict=True):
        assert torch.allclose(got, wanted.diagonal(), rtol=1e-12)


@pytest.mark.parametrize("space", [(6,), (5, 6)])
@pytest.mark.parametrize("padding", ["circular", "same", "valid"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_flattened_convolutions(space, padding, size):
    x = images(*space)
    layer = Conv(kernel_size=size, padding=padding, sigma_w=1.3, sigma_b=0.2)
    network = Network(layer, "relu", layer, "erf", Flatten())
    whole = Whole(x)
    for activation in ("relu", "erf"):
        whole.conv(size, 1.3, 0.2, padding).act(activation)
    agree(network, x, whole.flat())


@pytest.mark.parametrize("activation", ["relu", "erf", "tanh", "gelu", "leaky_relu(0.3)"])
@pytest.mark.parametrize("padding", ["circular", "same"])
def test_pooled_convolutions(activation, padding):
    x = images(4, 4)
    layer = Conv(padding=padding, sigma_w=1.3, sigma_b=0.2)
    network = Network(layer, activation, AvgPool(2), layer, activation, GlobalAvgPool())
    whole = Whole(x).conv(3, 1.3, 0.2, padding).act(activation).pool(2)
    agree(network, x, whole.conv(3, 1.3, 0.2, padding).act(activation).everywhere(), rtol=1e-9)


def test_strides_and_a_readout():
    x = images(7, 5)
    network = Network(
        Conv(stride=2, padding="valid"), "relu", Conv(kernel_size=1), "relu", Flatten(), Dense(sigma_w=1.1)
    )
    K, T = Whole(x).conv(3, 1.0, 0.0, "valid", 2).act("relu").conv(1, 1.0, 0.0, "valid").act("relu").flat()
    agree(network, x, (1.21 * K, 1.21 * (K + T)))


def test_pooling_of_a_blank_image_and_equal_images():
    x = images(4, 4, n=4)
    x[1], x[3] = 0.0, x[0]
    network = Network(Conv(), "relu", Conv(), "relu", GlobalAvgPool(), Dense())
    for kernel in network.kernels(x):
        assert torch.isfinite(kernel).all()
        assert (kernel[1] == 0).all()
        assert torch.allclose(kernel[3], kernel[0], rtol=1e-12)


@pytest.mark.parametrize("distance", [1e-3, 1e-6, 1e-9])
def test_nearly_equal_images_stay_exact(distance):
    """A kernel's deviation from its diagonal is to first order linear in the distance, which rounding would hide."""
    x = images(4, 4, n=1)
    y = x + distance * torch.randn_like(x)
    network = Network(Conv(sigma_w=2**0.5), "relu", Conv(sigma_w=2**0.5), "relu", GlobalAvgPool(), Dense())
    cross = network.ntk(x, y)[0, 0] / (network.ntk(x)[0, 0] * network.ntk(y)[0, 0]).sqrt()
    assert 1e-3 * distance < float(1 - cross) < 10 * distance


def test_residual_and_normalised_images_are_those_of_wide_networks():
    torch.manual_seed(5)
    x, width = torch.randn(3, 2, 4, 4), 300

    class NTKConv(nn.Module):
        def __init__(self, channels, out, sigma_w, sigma_b):
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.randn(out, channels, 3, 3)), nn.Parameter(torch.randn(out))
            self.scale, self.sigma_b = sigma_w / (9 * channels) ** 0.5, sigma_b

        def forward(self, x):
            x = functional.pad(x, (1, 1, 1, 1), mode="circular")
            return functional.conv2d(x, self.scale * self.weight, self.sigma_b * self.bias)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = NTKConv(2, width, 1.3, 0.2), NTKConv(width, width, 1.1, 0.1)
            self.readout = nn.Parameter(torch.randn(width))

        def forward(self, x):
            y = self.first(x)
            y = functional.layer_norm(y, y.shape[1:])
            y = y + 0.8 * self.second(torch.erf(y))
            return torch.relu(y).mean((2, 3)) @ self.readout / width**0.5

    def kernel(net):
        rows = []
        for one in x:
            grads = torch.autograd.grad(net(one[None]).sum(), tuple(net.parameters()))
            rows.append(torch.cat([g.flatten() for g in grads]))
        return torch.stack(rows) @ torch.stack(rows).mT

    samples = torch.stack([kernel(Net()) for _ in range(8)])
    network = Network(
        Conv(sigma_w=1.3, sigma_b=0.2),
        LayerNorm(over="all"),
        Residual("erf", Conv(sigma_w=1.1, sigma_b=0.1), scale=0.8),
        "relu",
        GlobalAvgPool(),
        Dense(),
    )
    error = samples.mean(0) - network.ntk(x)
    assert (error.abs() < 4 * samples.std(0) / 8**0.5 + 0.01 * samples.mean(0).abs()).all()


def test_standard_convolutions_count_their_fan_in():
    x = images(5, channels=3)
    standard = Network(
        Conv(7, 3, sigma_w=1.2, sigma_b=0.3, parameterisation="standard"),
        "relu",
        Flatten(),
        Dense(sigma_w=0.9, parameterisation="standard"),
    )
    whole = Whole(x).conv(3, 1.2, 0.3, "circular")
    whole.T = 9 * (whole.K - 0.09) / 1.44 + 1
    K, T = whole.act("relu").flat()
    assert torch.allclose(standard.ntk(x), 35 * K + 0.81 * T, rtol=1e-12)


def test_gradients_reach_images():
    x = images(3, 3, n=2).requires_grad_()
    network = Network(Conv(sigma_b=0.1), "relu", Conv(), "erf", AvgPool(2), Flatten(), Dense())
    assert torch.autograd.gradcheck(lambda x: tuple(network.kernels(x)), x)


def test_single_precision_follows_double():
    x = images(6, 6, n=5, channels=3)
    network = Network(*[Conv(sigma_w=2**0.5), "relu"] * 4, GlobalAvgPool(), Dense())
    for double, single in zip(network.kernels(x), network.kernels(x.float()), strict=True):
        scale = double.diagonal().sqrt()
        assert ((single - double).abs() <= 2e-6 * torch.outer(scale, scale)).all()


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([Conv(kernel_size=(3, 3, 3)), Flatten()], "kernel_size: got 3 sizes, allowed are as many as spatial axes, 2"),
        (
            [Conv(kernel_size=9, padding="valid"), Flatten()],
            "kernel_size: got 9, allowed is at most 4 on an axis of 4 positions",
        ),
        ([Conv(), "relu", Dense()], "Dense follows a layer with positions"),
        ([Conv(), "relu"], "the outputs still have positions"),
        ([Flatten(), Conv()], "Conv follows a layer without positions"),
        ([Flatten(), AvgPool()], "AvgPool follows a layer without positions"),
        ([Conv(), "relu", Flatten(), GlobalAvgPool()], "GlobalAvgPool follows a layer without positions"),
        ([Conv(), Residual("relu", Conv(padding="valid")), Flatten()], "the branch makes (4, 4) positions (2, 2)"),
    ],
)
def test_what_does_not_fit_is_named(layers, message):
    with pytest.raises(ww.InputError) as error:
        Network(*layers).ntk(images(4, 4))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Conv(padding="reflect"), "padding: got 'reflect'"),
        (lambda: Conv(kernel_size=0), "kernel_size: got 0"),
        (lambda: Conv(stride=0), "stride: got 0"),
        (lambda: Conv(padding=-1), "padding: got -1"),
        (lambda: AvgPool(0), "kernel_size: got 0"),
    ],
)
def test_bad_layers_are_named(make, message):
    with pytest.raises(ww.InputError, match=message):
        make()


@pytest.mark.parametrize("activation", ["relu", "leaky_relu(0.2)"])
def test_compiled_activations_agree_with_the_others(monkeypatch, activation):
    x = images(5, 4).float()
    network = Network(Conv(sigma_b=0.1), activation, Conv(padding="same"), activation, GlobalAvgPool(), Dense())
    plain = network.kernels(x)
    monkeypatch.setattr("widthwise.infinite.bending.WORTH", 0)
    for a, b in zip(plain, network.kernels(x), strict=True):
        assert torch.allclose(a, b, rtol=1e-6)
    assert torch.allclose(network.nngp(x), plain.nngp, rtol=1e-6)


def seen_two_ways(monkeypatch, network, x, x2=None):
    """Single-precision kernels one displacement at a time, and kernels in double precision by the layers."""
    monkeypatch.setattr("widthwise.infinite.displaced.WORTH", 0)
    found = network.kernels(x.float(), None if x2 is None else x2.float())
    return zip(found, network.kernels(x, x2), strict=True)


@pytest.mark.parametrize("padding", ["circular", "same", 1])
@pytest.mark.parametrize("space", [(5, 4), (7,)])
@pytest.mark.parametrize("sigma_b", [None, 0.3])
def test_displacements_make_up_the_matrix(monkeypatch, padding, space, sigma_b):
    x = images(*space, n=4, channels=3)
    x[1], x[2, ..., :2] = x[0], 0

    def convolve(**given):
        return Conv(sigma_w=1.5, sigma_b=sigma_b, padding=padding, **given)

    layers = [convolve(), "relu", convolve(train=False), convolve(), "leaky_relu(0.2)", GlobalAvgPool()]
    for network in (Network(*layers, Dense(sigma_b=0.2), "relu", Dense()), Network(*layers)):
        for single, double in seen_two_ways(monkeypatch, network, x):
            scale = network.diagonal(x).nngp.sqrt()
            assert ((single - double).abs() <= 2e-6 * torch.outer(scale, scale)).all()
            assert torch.equal(single, single.mT)
        for single, double in seen_two_ways(monkeypatch, network, x[:3], x[2:]):
            assert torch.allclose(single.double(), double, rtol=1e-5)


def test_kernels_wider_than_a_circular_image_wrap_more_than_once(monkeypatch):
    network = Network(Conv(kernel_size=5), "relu", Conv(kernel_size=5), "relu", GlobalAvgPool(), Dense())
    for single, double in seen_two_ways(monkeypatch, network, images(2, 2, n=3)):
        assert torch.allclose(single.double(), double, rtol=1e-6)


@pytest.mark.parametrize(
    "layers",
    [
        (Conv(stride=2), "relu"),
        (Conv(padding="valid"), "relu"),
        (Conv(kernel_size=2, padding=1), "relu"),
        (Conv(), "relu", Conv(kernel_size=1), "relu"),
        (Conv(), "abs"),
        (Conv(8, parameterisation="standard"), "relu"),
    ],
)
def test_other_stacks_are_left_to_the_layers(monkeypatch, layers):
    network = Network(*layers, GlobalAvgPool(), Dense())
    for single, double in seen_two_ways(monkeypatch, network, images(6, 6, n=3, channels=2)):
        assert torch.allclose(single.double(), double, rtol=1e-5)


def test_images_beyond_single_precision_are_refused(monkeypatch):
    monkeypatch.setattr("widthwise.infinite.displaced.WORTH", 0)
    network = Network(Conv(), "relu", GlobalAvgPool(), Dense())
    with pytest.raises(ww.InputError, match="beyond the largest torch.float32"):
        network.kernels(1e25 * images(3, 3, n=2).float())
    assert not network.kernels(0 * images(3, 3, n=2).float()).ntk.any()
