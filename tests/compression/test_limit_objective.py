from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from compression_cases import gaussian, unit
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import Polynomial
from scipy.special import eval_gegenbauer, roots_gegenbauer

from widthwise.compression import (
    etf_objective,
    lbfgs,
    limit_energy,
    limit_objective,
    network_distance,
    objective_bound,
    simplex_etf,
    simplex_is_optimal,
)
from widthwise.compression.linalg import explained

PROVED = ("relu", "leaky_relu(0.2)", "gelu", "silu", "softplus")


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 9), st.integers(1, 6), st.integers(0, 10_000), st.sampled_from(PROVED))
def test_no_configuration_exceeds_the_bound(M, d, seed, name):
    assert limit_objective(unit(M, d, seed=seed), name) <= objective_bound(M, d, name) * (1 + 1e-7)


@settings(deadline=None, max_examples=60)
@given(st.integers(3, 8), st.integers(2, 7), st.integers(0, 10_000), st.floats(0.01, 50))
def test_no_coefficients_of_either_sign_have_less_energy_than_the_simplex(M, d, seed, spread):
    """The theorem itself: b'G_VV b >= 1/R_ETF for any unit V and any b that sums to one."""
    V = unit(M, d, seed=seed)
    b = spread * gaussian(M, seed=seed + 1)
    b = b + (1 - b.sum()) / M
    dual = (V @ V.T).clamp(-1, 1).fill_diagonal_(1)
    G = ((1 - dual.square()).clamp_min(0).sqrt() + dual * (math.pi - torch.arccos(dual))) / (2 * math.pi)
    assert b @ G @ b >= 1 / etf_objective(M, "relu") - 1e-12 * spread**2


@pytest.mark.parametrize("M", [3, 4, 6])
@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_the_argument_holds_for_every_even_power_at_the_edge_of_its_condition(M, m):
    """R of 0.1 + slope c + c^(2m) with the least slope allowed, sought from many starts, is that of the simplex."""
    t = -1 / (M - 1)
    slope = 2 * m * abs(t) ** (2 * m - 1)

    def dual(c):
        return 0.1 + slope * c + c ** (2 * m)

    def objective(V):
        return -explained(dual(V @ V.mT), V.new_ones(*V.shape[:-1], 1))[0], None

    found = -lbfgs(objective, unit(12, M, M, seed=m), iterations=150).value
    assert found <= M / (dual(1.0) + (M - 1) * dual(t)) * (1 + 1e-9)


@pytest.mark.parametrize("name", PROVED)
def test_descent_finds_the_simplex_and_nothing_better(name):
    found = lbfgs(limit_energy(name), unit(4, 6, 7), iterations=200)
    assert torch.allclose(-found.values[-1], torch.full((4,), etf_objective(6, name), dtype=torch.float64), atol=1e-8)
    assert network_distance(found.best, simplex_etf(6, 7), name) < 1e-4


@pytest.mark.parametrize(
    ("name", "proved"),
    [*((name, True) for name in PROVED), ("tanh", False), ("erf", False), ("sigmoid", False), ("abs", False)],
)
def test_where_the_argument_applies(name, proved):
    assert [simplex_is_optimal(M, name) for M in (2, 3, 12)] == [proved] * 3


def test_without_a_linear_part_orthogonal_vectors_are_better_than_the_simplex():
    """|x| does not tell v from -v, and the argument's condition on the slope fails with good reason."""
    assert limit_objective(torch.eye(4, dtype=torch.float64), "abs") > etf_objective(4, "abs") + 1e-3


def test_two_vectors_are_best_opposite():
    angle = torch.linspace(0.01, math.pi, 50, dtype=torch.float64)
    V = torch.stack([torch.stack([torch.ones(50).double(), torch.zeros(50).double()], 1),
                     torch.stack([angle.cos(), angle.sin()], 1)], 1)  # fmt: skip
    values = limit_objective(V, "relu")
    assert (values.diff() > 0).all()
    assert values[-1] == pytest.approx(4, rel=1e-12)


def test_the_bound_tends_to_the_mean_over_the_sphere():
    """In the plane the mean of g over the circle is 2 / pi^2, and a regular polygon of many sides comes near it."""
    assert objective_bound(10**6, 2, "relu") == pytest.approx(math.pi**2 / 2, rel=1e-4)
    angle = 2 * math.pi * torch.arange(101, dtype=torch.float64) / 101
    polygon = torch.stack([angle.cos(), angle.sin()], 1)
    assert limit_objective(polygon, "relu") == pytest.approx(math.pi**2 / 2, rel=1e-4)


def test_without_a_zeroth_coefficient_there_is_no_bound():
    assert objective_bound(4, 3, "tanh") == math.inf
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 1e-3]], dtype=torch.float64)
    assert limit_objective(torch.nn.functional.normalize(opposite, dim=1), "erf") > 1e5


def test_the_distance_of_networks():
    V = unit(4, 3)
    turned = V @ torch.linalg.qr(gaussian(3, 3))[0]
    assert network_distance(V, turned, "relu") < 1e-7
    other = unit(4, 3, seed=5)
    assert network_distance(V, other, "relu") == pytest.approx(float(network_distance(other, V, "relu")))
    assert network_distance(V, other, "relu") > 0.01


def squares(m, t):
    """c^(2m) as [(weight, p)] with weight p^2 summed, plus the factor of c^2 and the constant that are left."""
    if m == 1:
        return [], 1.0, 0.0
    p = Polynomial([0.0] * m + [1.0])
    if m % 2:
        p -= Polynomial([0.0, t ** (m - 1)])
        half, weight, rest = (m + 1) // 2, 2 * t ** (m - 1), (-(t ** (2 * m - 2)), 0.0)
    else:
        p -= t**m
        half, weight, rest = m // 2, 2 * t**m, (0.0, -(t ** (2 * m)))
    inner, quadratic, constant = squares(half, t)
    terms = [(1.0, p), *((weight * w, q) for w, q in inner)]
    return terms, weight * quadratic + rest[0], weight * constant + rest[1]


@pytest.mark.parametrize("M", [3, 4, 7, 30])
@pytest.mark.parametrize("m", range(1, 10))
def test_the_decomposition_of_the_proof(M, m):
    t = -1 / (M - 1)
    terms, quadratic, constant = squares(m, t)
    total = sum((w * p**2 for w, p in terms), Polynomial([constant, 0.0, quadratic]))
    assert all(w >= 0 for w, _ in terms)
    assert all(abs(p(t)) < 1e-15 for _, p in terms)
    assert quadratic == pytest.approx(m * t ** (2 * m - 2))
    assert constant == pytest.approx(-(m - 1) * t ** (2 * m))
    c = np.linspace(-1, 1, 41)
    assert np.allclose(total(c), c ** (2 * m), atol=1e-12)
    for _, p in terms:  # positive definite on the sphere in R^M: no negative Gegenbauer coefficient
        order = (M - 2) / 2
        nodes, weights = roots_gegenbauer(40, order)
        coefficients = [(weights * p(nodes) * eval_gegenbauer(n, order, nodes)).sum() for n in range(m + 1)]
        assert min(coefficients) > -1e-12
