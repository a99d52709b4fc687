import math

import pytest
import torch
from torch import nn

from widthwise import init, meanfield
from widthwise.activations import get
from widthwise.errors import InputError, InputTypeError

DEPTH = 6


def pair(q, c, *shape):
    """Two inputs of variance q and correlation c."""
    u, w = torch.randn(2, *shape, dtype=torch.float64)
    return math.sqrt(q) * torch.stack([u, c * u + math.sqrt(1 - c * c) * w])


def statistics(y):
    """Variance and correlation of two rows of pre-activations."""
    variance = y.square().flatten(1).mean(1)
    return variance, float((y[0] * y[1]).mean() / variance.prod().sqrt())


@pytest.mark.parametrize(
    ("activation", "sigma_w", "sigma_b"),
    [("tanh", 1.3041, 0.2), ("relu", 2**0.5, 0.0), ("elu", 1.23, 0.2), ("gelu", 1.4, 0.5), ("erf", 2.5, 0.1)],
)
def test_wide_dense_nets_follow_the_maps(activation, sigma_w, sigma_b):
    # 6 nets of 600 units, two inputs: a standard error of 2 % on a variance.
    theory = meanfield.propagate(activation, sigma_w, sigma_b, DEPTH, q=0.8, c=0.3)
    seen_q, seen_c = torch.zeros(DEPTH + 1, dtype=torch.float64), torch.zeros(DEPTH + 1, dtype=torch.float64)
    for _ in range(6):
        y = pair(0.8, 0.3, 600)
        for at in range(DEPTH + 1):
            variance, correlation = statistics(y)
            seen_q[at] += variance.mean() / 6
            seen_c[at] += correlation / 6
            if at < DEPTH:
                layer = init.gaussian_(nn.Linear(600, 600, dtype=torch.float64), sigma_w, sigma_b)
                y = layer(get(activation)(y)).detach()
    torch.testing.assert_close(seen_q, theory.variance, rtol=0.1, atol=0.0)
    torch.testing.assert_close(seen_c, theory.correlation, rtol=0.0, atol=0.05)


def test_wide_convolutions_average_over_the_kernel():
    channels, positions, draws = 250, 12, 12
    start = torch.linspace(0.2, 2.0, positions, dtype=torch.float64)
    theory = meanfield.propagate("tanh", 1.5, 0.2, 3, q=start, c=0.5, kernel_size=3)
    variance, correlation = torch.zeros(2, 4, positions, dtype=torch.float64)
    for _ in range(draws):
        y = start.sqrt() * pair(1.0, 0.5, channels, positions)
        for at in range(4):
            variance[at] += y.square().mean((0, 1)) / draws
            correlation[at] += (y[0] * y[1]).mean(0) / draws
            if at < 3:
                layer = nn.Conv1d(channels, channels, 3, padding=1, padding_mode="circular", dtype=torch.float64)
                y = init.gaussian_(layer, 1.5, 0.2)(torch.tanh(y)).detach()
    torch.testing.assert_close(variance, theory.variance, rtol=0.1, atol=0.0)
    torch.testing.assert_close(correlation / variance, theory.correlation, rtol=0.0, atol=0.06)
    spread = theory.variance.max(1).values - theory.variance.min(1).values
    assert float(spread[3]) < float(spread[0]) / 4


def test_a_two_dimensional_kernel_is_two_averages():
    q = torch.rand(4, 5, dtype=torch.float64)
    both = meanfield.variance_map("tanh", q, 1.0, 0.0, kernel_size=(3, 3))
    columns = torch.stack([torch.roll(q, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)])
    torch.testing.assert_close(both, meanfield.variance_map("tanh", columns, 1.0, 0.0).mean(0))
    torch.testing.assert_close(meanfield.variance_map("tanh", q, 1.0, 0.0, kernel_size=1),
                               meanfield.variance_map("tanh", q, 1.0, 0.0))  # fmt: skip


@pytest.mark.parametrize("net", ["residual", "stable"])
def test_residual_nets_follow_their_maps(net):
    width, depth, draws = 500, 5, 8
    theory = meanfield.propagate("relu", 1.2, 0.3, depth, q=1.0, c=-0.2, net=net)
    share = depth**-0.5 if net == "stable" else 1.0
    seen_q, seen_c = torch.zeros(depth + 1, dtype=torch.float64), torch.zeros(depth + 1, dtype=torch.float64)
    for _ in range(draws):
        y = pair(1.0, -0.2, width)
        for at in range(depth + 1):
            variance, correlation = statistics(y)
            seen_q[at] += variance.mean() / draws
            seen_c[at] += correlation / draws
            if at < depth:
                layer = init.gaussian_(nn.Linear(width, width, dtype=torch.float64), 1.2, 0.3)
                y = y + share * layer(torch.relu(y)).detach()
    torch.testing.assert_close(seen_q, theory.variance, rtol=0.1, atol=0.0)
    torch.testing.assert_close(seen_c, theory.correlation, rtol=0.0, atol=0.06)


def test_stable_residual_nets_grow_by_a_constant_and_plain_ones_exponentially():
    # Theorem 2 and Proposition 2: gradients grow as (1 + sigma_w^2 / 2)^L, and are bounded after scaling by L^(-1/2).
    growth = {net: meanfield.propagate("relu", 1.0, 0.0, 20, net=net).gain.prod() for net in ("residual", "stable")}
    assert float(growth["residual"]) == pytest.approx(1.5**20, rel=1e-12)
    assert float(growth["stable"]) == pytest.approx((1 + 0.5 / 20) ** 20, rel=1e-12)
    assert float(growth["stable"]) < math.exp(0.5)


@pytest.mark.parametrize(
    ("activation", "sigma_w", "sigma_b"), [("tanh", 0.8, 0.3), ("tanh", 2.0, 0.1), ("relu", 1.5, 0.1)]
)
def test_gradients_shrink_and_grow_by_the_gain(activation, sigma_w, sigma_b):
    theory = meanfield.propagate(activation, sigma_w, sigma_b, DEPTH, q=1.0).gain
    ratios = torch.zeros(DEPTH, dtype=torch.float64)
    for _ in range(8):
        states = [pair(1.0, 0.0, 400).requires_grad_()]
        for _ in range(DEPTH):
            layer = init.gaussian_(nn.Linear(400, 400, dtype=torch.float64), sigma_w, sigma_b)
            states.append(layer(get(activation)(states[-1])))
        gradients = torch.autograd.grad((states[-1] * torch.randn(400, dtype=torch.float64)).sum(), states)
        squares = torch.stack([g.square().mean() for g in gradients])
        ratios += squares[:-1] / squares[1:] / 8
    torch.testing.assert_close(ratios, theory, rtol=0.12, atol=0.0)


def test_the_maps_by_hand():
    assert float(meanfield.variance_map("relu", 3.0, 2.0, 0.5)) == pytest.approx(0.25 + 6.0)
    assert float(meanfield.covariance_map("linear", 1.0, 4.0, 0.5, 2.0, 0.5)) == pytest.approx(0.25 + 4.0)
    assert float(meanfield.correlation_map("relu", -1.0, 1.0, 2**0.5, 0.0)) == pytest.approx(0.0, abs=1e-15)
    assert float(meanfield.correlation_map("tanh", 1.0, 0.0, 1.0, 0.0)) == 0.0  # no signal, and no NaN


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: meanfield.variance_map("tanh", 1.0, -1.0, 0.0), InputError, "sigma_w: got -1.0"),
        (lambda: meanfield.variance_map("tanh", 1.0, 1.0, math.nan), InputError, "sigma_b: got nan"),
        (lambda: meanfield.variance_map("tanh", -1.0, 1.0, 0.0), InputError, "q: got -1.0"),
        (lambda: meanfield.variance_map("tanh", 1.0, 1.0, 0.0, kernel_size=3), InputError, "kernel_size"),
        (lambda: meanfield.variance_map("tanh", torch.ones(3), 1.0, 0.0, kernel_size=0), InputError, "kernel_size"),
        (lambda: meanfield.correlation_map("tanh", 1.5, 1.0, 1.0, 0.0), InputError, "c: got 1.5"),
        (lambda: meanfield.propagate("tanh", 1.0, 0.0, 0), InputError, "depth: got 0"),
        (lambda: meanfield.propagate("tanh", 1.0, 0.0, 2, net="resnet"), InputError, "net: got 'resnet'"),
        (lambda: meanfield.propagate("tanh", "1", 0.0, 2), InputTypeError, "sigma_w"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
