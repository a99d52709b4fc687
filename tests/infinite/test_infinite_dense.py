"""Dense architectures against plain recursions and against wide finite networks."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import widthwise as ww
from widthwise.infinite import MLP, Dense, LayerNorm, Network, Residual, serial

ACTIVATIONS = ["relu", "erf", "erf(2)", "tanh", "gelu", "elu", "abs", "leaky_relu(0.2)", "sincos", "linear", "softplus"]


def plain(x, activation, depth, sigma_w, sigma_b):
    """The recursion of the textbook, on whole matrices, by the duals."""
    K = sigma_w**2 * x @ x.mT / x.shape[1] + sigma_b**2
    T = K.clone()
    for _ in range(depth):
        q = K.diagonal()
        c = (K / torch.outer(q, q).sqrt()).clamp(-1, 1)
        slope = ww.duals.dual_derivative(activation, q[:, None], q[None], c)
        K = sigma_w**2 * ww.duals.dual(activation, q[:, None], q[None], c) + sigma_b**2
        T = K + sigma_w**2 * slope * T
    return K, T


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_matches_the_plain_recursion(activation):
    x = torch.randn(12, 5, dtype=torch.float64)
    K, T = plain(x, activation, 2, 1.2, 0.3)
    nngp, ntk = MLP(2, activation, 1.2, 0.3).kernels(x)
    assert torch.allclose(nngp, K, rtol=1e-8)
    assert torch.allclose(ntk, T, rtol=1e-8)


def test_tiles_do_not_show():
    x = torch.randn(600, 5, dtype=torch.float64)
    K, T = plain(x, "gelu", 1, 1.2, 0.3)
    nngp, ntk = MLP(1, "gelu", 1.2, 0.3).kernels(x)
    assert torch.allclose(nngp, K, rtol=1e-9, atol=1e-12)
    assert torch.allclose(ntk, T, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("activation", ["relu", "erf", "tanh"])
def test_the_first_layer_alone_is_f(activation):
    x = torch.nn.functional.normalize(torch.randn(6, 9, dtype=torch.float64), dim=1) * 3  # q = 1
    ntk = MLP(1, activation, train="first").ntk(x)
    assert torch.allclose(ntk, ww.duals.f(activation, (x @ x.mT / 9).clamp(-1, 1)), rtol=1e-7)
    last = MLP(1, activation, train="last")
    assert torch.allclose(last.ntk(x), last.nngp(x))


def finite(network: nn.Module, x):
    """Tangent kernel of a finite network with one output, all parameters trained."""
    jacobian = torch.func.jacrev(lambda p: torch.func.functional_call(network, p, (x,)).squeeze(-1))
    rows = [part.flatten(1) for part in jacobian(dict(network.named_parameters())).values()]
    return sum(part @ part.mT for part in rows).detach()


class NTKLinear(nn.Module):
    """A layer in the NTK parameterisation."""

    def __init__(self, fan_in, fan_out, sigma_w, sigma_b):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(fan_out, fan_in)), nn.Parameter(torch.randn(fan_out))
        self.scale, self.sigma_b = sigma_w / math.sqrt(fan_in), sigma_b

    def forward(self, x):
        return self.scale * x @ self.weight.mT + self.sigma_b * self.bias


class Skip(nn.Module):
    def __init__(self, branch, scale):
        super().__init__()
        self.branch, self.scale = branch, scale

    def forward(self, x):
        return x + self.scale * self.branch(x)


def test_wide_networks_come_near():
    torch.manual_seed(3)
    x, width = torch.randn(4, 7), 1500
    wide = [
        finite(
            nn.Sequential(
                NTKLinear(7, width, 1.4, 0.2),
                nn.LayerNorm(width, elementwise_affine=False),
                Skip(nn.Sequential(nn.Tanh(), NTKLinear(width, width, 1.1, 0.1)), 0.7),
                nn.ReLU(),
                NTKLinear(width, 1, 1.3, 0.0),
            ),
            x,
        )
        for _ in range(6)
    ]
    network = Network(
        Dense(sigma_w=1.4, sigma_b=0.2),
        LayerNorm(),
        Residual("tanh", Dense(sigma_w=1.1, sigma_b=0.1), scale=0.7),
        "relu",
        Dense(sigma_w=1.3),
    )
    samples = torch.stack(wide)
    error = samples.mean(0) - network.ntk(x)
    assert (error.abs() < 4 * samples.std(0) / 6**0.5 + 0.02).all()


def test_standard_parameterisation_is_that_of_pytorch():
    torch.manual_seed(4)
    x, width = torch.randn(3, 6), 2000
    samples = []
    for _ in range(6):
        module = nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 1, bias=False))
        nn.init.normal_(module[0].weight, std=1.5 / 6**0.5)
        nn.init.normal_(module[0].bias, std=0.3)
        nn.init.normal_(module[2].weight, std=1.2 / width**0.5)
        samples.append(finite(module, x))
    network = Network(
        Dense(width, sigma_w=1.5, sigma_b=0.3, parameterisation="standard"),
        "relu",
        Dense(sigma_w=1.2, parameterisation="standard"),
    )
    samples = torch.stack(samples)
    error = samples.mean(0) - network.ntk(x)
    assert (error.abs() < 4 * samples.std(0) / 6**0.5 + 1e-3 * samples.mean(0).abs()).all()


def test_stable_residual_networks_keep_their_variance():
    x = torch.randn(5, 8, dtype=torch.float64)

    def deep(blocks, stable):
        branch = ("relu", Dense(sigma_w=2**0.5))
        make = [Residual.stable(*branch, blocks=blocks) if stable else Residual(*branch) for _ in range(blocks)]
        return Network(Dense(), *make, "relu", Dense()).diagonal(x).nngp / x.square().mean(1)

    assert torch.allclose(deep(64, True), torch.full((5,), (1 + 1 / 64) ** 64 / 2, dtype=torch.float64))
    assert torch.allclose(deep(20, False), torch.full((5,), 2.0**20 / 2, dtype=torch.float64))


def test_layer_norm_forgets_lengths():
    x = torch.randn(5, 8, dtype=torch.float64)
    lengths = torch.tensor([1e-2, 1.0, 3.0, 10.0, 1e2], dtype=torch.float64)[:, None]
    network = serial(Dense(), LayerNorm(eps=0.0), "relu", Dense())
    assert torch.allclose(network.nngp(x * lengths), network.nngp(x), rtol=1e-13)


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 4),
    st.floats(0.3, 3),
    st.floats(0, 2),
    st.sampled_from(["relu", "erf", "abs"]),
    st.integers(0, 99),
)
def test_kernels_are_symmetric_and_positive(depth, sigma_w, sigma_b, activation, seed):
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for kernel in MLP(depth, activation, sigma_w, sigma_b).kernels(x):
        assert torch.equal(kernel, kernel.mT)
        values = torch.linalg.eigvalsh(kernel)
        assert values[0] >= -1e-12 * values[-1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: MLP(0), "depth: got 0"),
        (lambda x: MLP(1, "rleu"), "did you mean 'relu'"),
        (lambda x: MLP(1, sigma_w=0.0), "sigma_w: got 0.0"),
        (lambda x: MLP(1, sigma_b=-1.0), "sigma_b: got -1.0"),
        (lambda x: MLP(1, train="some"), "train: got 'some'"),
        (lambda x: MLP(1, parameterisation="mup"), "parameterisation: got 'mup'"),
        (lambda x: MLP(1, parameterisation="standard").ntk(x), "needs the widths"),
        (lambda x: Network(), "layers: got none"),
        (lambda x: Network(Dense, "relu"), "the class Dense"),
        (lambda x: Network("relu", Dense()).ntk(x), "relu acts on what is not normal"),
        (lambda x: Network(LayerNorm(), Dense()).ntk(x), "LayerNorm after Dense"),
        (lambda x: Network(Dense(), Residual("relu")).ntk(x), "allowed is Dense or Conv"),
        (lambda x: MLP(1).ntk(x[0]), "x1: got shape (5,)"),
        (lambda x: MLP(1).ntk(x[:0]), "x1: got shape (0, 5)"),
        (lambda x: MLP(1).ntk(x, x[:, :3]), "x2: got inputs of shape (3,), allowed is that of x1, (5,)"),
        (lambda x: MLP(1).ntk(x, x.float()), "x2: got inputs of dtype"),
        (lambda x: MLP(1).ntk(x * math.nan), "x1: 20 of 20 values are NaN"),
        (lambda x: MLP(1).ntk(x.int()), "x1: got dtype torch.int32, allowed are float32 and float64"),
        (lambda x: MLP(1).ntk(x.half()), "x1: got dtype torch.float16"),
        (lambda x: MLP(1).ntk([[1.0]]), "x1: got [[1.0]] of type list"),
        (lambda x: MLP(1, lambda z: (z**2).exp()).ntk(x), "allowed is an activation with a finite second moment"),
        (lambda x: MLP(1, "hardshrink").ntk(x), "jumps at"),
        (lambda x: MLP(1, "exp").ntk(1000 * x), "x1: the kernel of some inputs is beyond the largest torch.float64"),
        (lambda x: MLP(1).ntk(1e30 * x.float()), "beyond the largest torch.float32"),
        (lambda x: MLP(1).ntk(x.to_sparse()), "allowed are dense tensors"),
    ],
)
def test_bad_input_is_named(make, message):
    x = torch.randn(4, 5, dtype=torch.float64)
    with pytest.raises((ww.InputError, ww.InputTypeError)) as error:
        make(x)
    assert message in str(error.value)


def test_an_activation_that_jumps_still_has_an_nngp():
    x = torch.randn(4, 5, dtype=torch.float64)
    assert torch.isfinite(MLP(1, "hardshrink").nngp(x)).all()


def test_too_many_inputs_are_told_what_to_use_instead(monkeypatch):
    monkeypatch.setattr("widthwise._memory.available_memory", lambda device: 2**20)
    with pytest.raises(ww.InputError, match=r"2 kernel matrices of 600 x 600 takes .* GiB are free; allowed is blocks"):
        MLP(1).kernels(torch.randn(600, 2, dtype=torch.float64))


@pytest.mark.parametrize("activation", ["tanh", "elu", "softplus"])
@pytest.mark.parametrize("features", [4, 300])
def test_single_precision_of_a_series_follows_double(activation, features):
    x = torch.randn(90, features, dtype=torch.float64)
    x[7], x[8], x[9], x[10] = x[6], -x[6], 0, x[6] * (1 + 1e-9)
    network = MLP(2, activation, 1.4, 0.1)
    for found, exact in zip(network.kernels(x.float()), network.kernels(x), strict=True):
        size = exact.diagonal().sqrt()
        assert float(((found.double() - exact) / torch.outer(size, size)).abs().max()) < 1e-6


def test_series_of_few_terms_are_the_whole_ones():
    x = torch.randn(64, 400, dtype=torch.float64)  # correlations of a few tenths at most, and of 1
    K, T = plain(x, "tanh", 2, 1.4, 0.0)
    nngp, ntk = MLP(2, "tanh", 1.4).kernels(x)
    assert torch.allclose(nngp, K, rtol=1e-12, atol=1e-14)
    assert torch.allclose(ntk, T, rtol=1e-12, atol=1e-14)


def test_the_tangent_kernel_of_a_jump_is_refused():
    x = torch.randn(3, 2)
    with pytest.raises(ww.InputError, match="layers: sign jumps at 0"):
        MLP(1, "sign").ntk(x)
    angles = torch.acos(torch.nn.functional.normalize(x) @ torch.nn.functional.normalize(x).mT - 1e-7)
    assert torch.allclose(MLP(1, "sign").nngp(x), 1 - 2 * angles / math.pi, atol=1e-3)
