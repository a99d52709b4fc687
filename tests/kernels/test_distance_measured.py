from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from widthwise.errors import InputError, InputTypeError
from widthwise.kernels import (
    MLP,
    arc_cosine,
    distance,
    measured_distance,
    measured_distance_deep,
    random_pairs,
    sampled_distance,
)
from widthwise.kernels.distances.sampled import _draw


def uniform_nets(nets: int, n: int, d: int, p: float) -> torch.Tensor:
    """First-layer weights as PyTorch draws them, with the effective fan-in, masked at random."""
    bound = 1 / math.sqrt(d * p)
    weights = torch.empty(nets, n, d, dtype=torch.float64).uniform_(-bound, bound)
    return weights * (torch.rand(nets, n, d) < p)


def test_pairs_differ_and_reach_every_row():
    i, j = random_pairs(50, 1000, seed=1)
    assert len(i) == len(j) == 1000
    assert (i != j).all()
    assert set(i.tolist()) == set(j.tolist()) == set(range(50))
    assert all(torch.equal(a, b) for a, b in zip((i, j), random_pairs(50, 1000, seed=1), strict=True))
    assert not torch.equal(i, random_pairs(50, 1000, seed=2)[0])


def test_few_rows_give_every_pair_once():
    i, j = random_pairs(6, 15)
    assert sorted(zip(i.tolist(), j.tolist(), strict=True)) == [(a, b) for a in range(6) for b in range(a + 1, 6)]


def test_measured_is_the_plain_loop():
    d, n, outputs, rows = 5, 7, 3, 6
    weights, x = uniform_nets(2, n, d, 0.6), torch.randn(rows, d, dtype=torch.float64)
    masks = torch.rand(2, outputs, n) < 0.5
    found = measured_distance(weights, x, sigma_w=3**-0.5, last_layer_mask=masks)
    squares, limits = [], []
    for net, mask in zip(weights * (3 * d) ** 0.5, masks, strict=True):
        p_last = float(mask.double().mean())
        terms = []
        for a, b in itertools.combinations(range(rows), 2):
            limits.append(float(arc_cosine(x[a], x[b])) / d)
            for k in range(outputs):
                units = [mask[k, u] * torch.relu(net[u] @ x[a]) * torch.relu(net[u] @ x[b]) for u in range(n)]
                terms.append((float(sum(units)) / (d * n * p_last) - limits[-1]) ** 2)
        squares.append(sum(terms) / len(terms))
    assert found.per_net == pytest.approx(squares, rel=1e-10)
    scale = sum(limit**2 for limit in limits) / len(limits)
    assert found.relative == pytest.approx(sum(squares) / 2 / scale, rel=1e-10)


@pytest.mark.parametrize(("n", "p", "p_last"), [(16, 0.3, 1.0), (32, 0.1, 1.0), (32, 0.5, 0.25)])
def test_networks_as_initialised_are_at_the_distance_of_theorem_1(n, p, p_last):
    d, nets = 120, 60
    x = torch.randn(40, d, dtype=torch.float64)
    masks = torch.rand(nets, 4, n) < p_last
    found = measured_distance(uniform_nets(nets, n, d, p), x, sigma_w=3**-0.5, last_layer_mask=masks)
    i, j = random_pairs(40, 10_000)
    truth = distance(x[i], x[j], n, p, p_last=p_last)
    tolerance = 0.03 * found.value  # uniform weights are not quite normal ones
    assert abs(found.value - float(truth.value.mean())) < 4 * found.error + float(truth.error.mean()) + tolerance


@pytest.mark.parametrize(("n", "p"), [(8, 1.0), (24, 0.3), (60, 0.05)])
def test_sampled_networks_are_at_the_distance_of_theorem_1(n, p):
    x = torch.randn(40, 150, dtype=torch.float64)
    x[:, :10] *= 4
    found = sampled_distance(x, n, p, draws=100)
    i, j = random_pairs(40, 10_000)
    truth = distance(x[i], x[j], n, p)
    assert abs(found.value - float(truth.value.mean())) < 4 * found.error + 2 * float(truth.error.mean())


def test_a_wide_dense_network_is_near_its_limit():
    x = torch.randn(30, 40)
    values = [sampled_distance(x, n, 1.0, draws=20).relative for n in (100, 1000, 10_000)]
    assert values[0] > 5 * values[1] > 25 * values[2]
    assert values[2] < 5e-3


@given(st.integers(1, 8), st.integers(1, 9), st.data())
@settings(deadline=None, max_examples=40)
def test_counts_are_exact_and_the_variance_follows(n, d, data):
    live = data.draw(st.integers(1, n * d))
    last = data.draw(st.integers(1, 3 * n))
    for (weights,), mask in _draw(n, [d], [live], 1.0, 3, last, draws=2, seed=0):
        assert weights.shape == (n, d)
        assert int((weights != 0).sum()) == live
        assert mask is not None
        assert int(mask.sum()) == last
    (many,) = next(iter(_draw(200, [50], [5000], 1.0, 1, None, draws=1, seed=live)))[0]
    assert float(many.square().mean() * 50) == pytest.approx(1, abs=0.15)


def test_connectivity_and_count_are_two_ways_to_say_one_thing():
    x = torch.randn(20, 10)
    assert sampled_distance(x, 5, 0.5) == sampled_distance(x, 5, weights=25)
    assert sampled_distance(x, 5, 0.5) != sampled_distance(x, 5, weights=26)
    assert sampled_distance(x, 5, 0.5) == sampled_distance(x, 5, 0.5, outputs=3, last_weights=15)
    assert sampled_distance(x, 5, 0.5, seed=1) != sampled_distance(x, 5, 0.5)


def test_fewer_live_outputs_are_farther_off():
    x = torch.randn(20, 30)
    dense = sampled_distance(x, 64, 0.5, draws=30)
    sparse = sampled_distance(x, 64, 0.5, outputs=4, last_weights=64, draws=30)
    assert sparse.value > 2 * dense.value


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_deep_draws_are_the_plain_loop(activation):
    x, n, depth, sigma_w = torch.randn(6, 5, dtype=torch.float64), 4, 3, 1.4
    found = sampled_distance(x, n, weights=[9, 8, 7], depth=depth, activation=activation, sigma_w=sigma_w, draws=2)
    phi = {"relu": lambda v: max(v, 0.0), "erf": math.erf}[activation]
    limit = MLP(depth, activation, sigma_w).nngp(x) / sigma_w**2  # before the readout
    squares = []
    for layers, _ in _draw(n, [5, n, n], [9, 8, 7], sigma_w, 1, None, draws=2, seed=0):
        assert [int((layer != 0).sum()) for layer in layers] == [9, 8, 7]
        features = []
        for row in x.tolist():
            for layer in layers:
                row = [phi(sum(w * v for w, v in zip(unit, row, strict=True))) for unit in layer.tolist()]
            features.append(row)
        terms = [
            (sum(u * v for u, v in zip(features[a], features[b], strict=True)) / n - float(limit[a, b])) ** 2
            for a, b in itertools.combinations(range(6), 2)
        ]
        squares.append(sum(terms) / len(terms))
    assert found.per_net == pytest.approx(squares, rel=1e-10)


def test_the_distance_falls_with_width_at_any_depth_and_grows_with_depth():
    x = torch.randn(12, 20)
    relative = {
        (depth, n): sampled_distance(x, n, 0.5, depth=depth, sigma_w=2**0.5, draws=40).relative
        for depth in (1, 2, 4)
        for n in (20, 160)
    }
    for depth in (1, 2, 4):
        assert relative[depth, 20] > 2 * relative[depth, 160]  # eightfold but for heavy tails
    assert relative[1, 160] < relative[2, 160] < relative[4, 160]


def test_scale_of_the_weights_changes_nothing_but_the_scale():
    x = torch.randn(10, 8)
    one, two = (sampled_distance(x, 12, 0.4, depth=2, sigma_w=s, draws=3) for s in (1.0, 2.0))
    assert two.relative == pytest.approx(one.relative, rel=1e-5)
    assert two.scale == pytest.approx(2.0**8 * one.scale, rel=1e-5)


def test_single_precision_agrees():
    x = torch.randn(50, 30)
    narrow, wide = (sampled_distance(data, 20, 0.3, draws=3) for data in (x, x.double()))
    assert narrow.per_net == pytest.approx(wide.per_net, rel=1e-4)
    assert narrow.scale == pytest.approx(wide.scale, rel=1e-6)


def test_one_network_has_no_error_bar():
    found = measured_distance(torch.ones(3, 4), torch.randn(5, 4), sigma_w=1.0)
    assert math.isnan(found.error)
    assert found.value == found.per_net[0]


def test_zero_rows_are_valid():
    x = torch.randn(4, 6)
    x[1] = 0
    found = sampled_distance(x, 8, 0.5)
    assert found.value > 0
    assert measured_distance_deep([torch.randn(8, 6)], x, "tanh").value > 0


def test_a_limit_of_zero_has_no_relative_distance():
    found = sampled_distance(torch.zeros(4, 6), 8, 0.5)
    assert found.value == 0
    assert math.isnan(found.relative)


def test_one_layer_is_the_shallow_case():
    x, weights = torch.randn(15, 12, dtype=torch.float64), torch.randn(3, 9, 12, dtype=torch.float64)
    shallow = measured_distance(weights, x, sigma_w=2.0)
    deep = measured_distance_deep([weights], x, sigma_w=2.0)
    assert deep.relative == pytest.approx(shallow.relative)
    assert deep.value == pytest.approx(2.0**4 * shallow.value)


def test_the_deep_limit_is_the_arc_cosine_recursion():
    """Two orthogonal kernels of value 0 leave the limit itself."""
    x = torch.randn(6, 5, dtype=torch.float64)
    found = measured_distance_deep([torch.zeros(4, 5), torch.zeros(3, 4)], x, sigma_w=1.5)
    i, j = random_pairs(6, 1000)
    variance = 1.5**2 * x.square().sum(1) / 5
    norms = (variance[i] * variance[j]).sqrt()
    angle = torch.acos((x[i] * x[j]).sum(1) * 1.5**2 / 5 / norms)
    for layer in range(2):
        covariance = norms * (angle.sin() + (math.pi - angle) * angle.cos()) / (2 * math.pi)
        if layer == 0:
            norms = norms / 2 * 1.5**2
            angle = torch.acos(1.5**2 * covariance / norms)
    assert found.value == pytest.approx(float(covariance.square().mean()), rel=1e-10)
    assert found.relative == pytest.approx(1)


@pytest.mark.parametrize("activation", ["tanh", "relu", torch.nn.GELU()])
def test_deep_networks_approach_their_limit(activation):
    x = torch.randn(8, 6, dtype=torch.float64)
    values = []
    for n in (50, 800):
        weights = [torch.randn(12, n, m, dtype=torch.float64) * (1.2 / m**0.5) for m in (6, n)]
        values.append(measured_distance_deep(weights, x, activation, sigma_w=1.2).value)
    assert 16 / 3 < values[0] / values[1] < 16 * 3


@pytest.mark.slow
def test_mnist_formulas_and_measurement_agree(shared_data):
    import gzip

    import numpy as np

    raw = gzip.decompress((shared_data / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes())
    x = torch.from_numpy(np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 784).astype("float64"))
    spread = x.std(0)
    x = (x - x.mean(0)) / torch.where(spread > 0, spread, 1)
    i, j = random_pairs(len(x), 400)
    for n in (32, 128, 328):
        weights = 6352 - 10 * n
        measured = sampled_distance(x, n, weights=weights, pairs=400, draws=100)
        truth = distance(x[i], x[j], n, weights / (784 * n))
        assert abs(measured.value - float(truth.value.mean())) < 4 * measured.error + 2 * float(truth.error.mean())


X = torch.randn(5, 4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: random_pairs(1, 5), InputError, "rows: got 1"),
        (lambda: random_pairs(3, 0), InputError, "pairs: got 0"),
        (lambda: sampled_distance(X[:1], 3, 0.5), InputError, r"x: got shape \(1, 4\), allowed is \(rows, d\)"),
        (lambda: sampled_distance(X[0], 3, 0.5), InputError, r"x: got shape \(4,\)"),
        (lambda: sampled_distance(X / 0, 3, 0.5), InputError, "x: .* values are NaN or infinite"),
        (lambda: sampled_distance(X.long(), 3, 0.5), InputTypeError, "x: got dtype torch.int64"),
        (lambda: sampled_distance(X, 0, 0.5), InputError, "n: got 0"),
        (lambda: sampled_distance(X, 3), InputError, "p, weights: got p=None and weights=None, allowed is exactly"),
        (lambda: sampled_distance(X, 3, 0.5, weights=6), InputError, "p, weights: got p=0.5 and weights=6"),
        (lambda: sampled_distance(X, 3, 1.5), InputError, "p: got 1.5"),
        (lambda: sampled_distance(X, 3, 1e-4), InputError, "p: got 0.0001, which leaves no weight of 12"),
        (lambda: sampled_distance(X, 3, weights=13), InputError, "weights: got 13, allowed is .*1 to 12"),
        (lambda: sampled_distance(X, 3, 0.5, outputs=2, last_weights=7), InputError, "last_weights: got 7"),
        (lambda: sampled_distance(X, 3, 0.5, depth=0), InputError, "depth: got 0"),
        (lambda: sampled_distance(X, 3, weights=6, depth=2), InputError, "weights: got 1 numbers for 2 layers"),
        (lambda: sampled_distance(X, 3, weights=[6, 10], depth=2), InputError, "weights: got 10, allowed is .*1 to 9"),
        (lambda: sampled_distance(X, 3, 0.05, depth=2), InputError, "p: got 0.05, which leaves no weight of 9"),
        (lambda: sampled_distance(X, 3, 0.5, sigma_w=0.0), InputError, "sigma_w: got 0"),
        (lambda: sampled_distance(X, 3, weights="6"), InputTypeError, "weights: got '6'"),
        (lambda: sampled_distance(X, 3, 0.5, draws=0), InputError, "draws: got 0"),
        (lambda: sampled_distance(X, 3, 0.5, seed=-1), InputError, "seed: got -1"),
        (lambda: measured_distance(torch.ones(3, 5), X, sigma_w=1.0), InputError, r"weights: got .*\(1, n, 4\)"),
        (lambda: measured_distance(torch.ones(3, 4), X, sigma_w=0.0), InputError, "sigma_w: got 0.0"),
        (lambda: measured_distance(torch.ones(4), X, sigma_w=1.0), InputError, "weights: got a layer of shape"),
        (lambda: measured_distance([[1.0] * 4], X, sigma_w=1.0), InputTypeError, "weights: got .* of type list"),
        (lambda: measured_distance_deep([], X), InputError, "weights: got no layer"),
        (lambda: measured_distance_deep(torch.ones(3, 4), X), InputTypeError, "weights: got"),
        (
            lambda: measured_distance_deep([torch.ones(2, 3, 4), torch.ones(1, 3, 3)], X),
            InputError,
            r"weights: got a layer of shape \(1, 3, 3\), allowed is \(2, n, 3\)",
        ),
        (lambda: measured_distance_deep([torch.ones(3, 4)], X, "rleu"), InputError, "relu"),
        (
            lambda: measured_distance(torch.ones(3, 4), X, sigma_w=1.0, last_layer_mask=torch.ones(2, 4) > 0),
            InputError,
            r"last_layer_mask: got shape \(2, 4\), allowed is \(1, outputs, 3\) or \(outputs, 3\)",
        ),
        (
            lambda: measured_distance(torch.ones(3, 4), X, sigma_w=1.0, last_layer_mask=torch.ones(2, 3)),
            InputError,
            "last_layer_mask: got dtype torch.float32",
        ),
        (
            lambda: measured_distance(torch.ones(3, 4), X, sigma_w=1.0, last_layer_mask=torch.zeros(2, 3) > 0),
            InputError,
            "last_layer_mask: got a network without a live weight",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
