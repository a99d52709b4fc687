from __future__ import annotations

import pytest
import torch
from compression_cases import gaussian, naive_gram, uniform, unit

from widthwise.activations import get
from widthwise.compression import GaussianNeurons, Target, UnitNeurons
from widthwise.compression import target as target_module
from widthwise.errors import InputError

N, D, M = 20, 4, 5


@pytest.fixture
def target() -> Target:
    return Target.unit(unit(N, D), uniform(N), "relu")


def test_lengths_of_rows_count_as_coefficients_where_they_may(target):
    length = uniform(N, seed=8) + 0.1
    longer = Target.unit(length[:, None] * target.W, uniform(N) / length, "relu")
    assert torch.allclose(longer.W, target.W)
    assert torch.allclose(longer.a, target.a)
    with pytest.raises(InputError, match="gelu is not homogeneous"):
        Target.unit(2 * target.W, uniform(N), "gelu")


def test_loss_is_the_formula_written_out(target):
    V, b = unit(M, D, seed=3), gaussian(M, 1, seed=4)
    a = target.a
    s = naive_gram(V, target.W) @ a / N
    wanted = (a.T @ naive_gram(target.W, target.W) @ a) / N**2
    wanted = wanted - 2 / M * b.T @ s + b.T @ naive_gram(V, V) @ b / M**2
    assert target.loss(V, b) == pytest.approx(float(wanted), abs=1e-8)
    assert torch.allclose(target.correlation(V), s, atol=1e-12)


@pytest.mark.parametrize(("kind", "rows"), [(UnitNeurons(get("gelu")), unit), (GaussianNeurons(get("relu")), gaussian)])
def test_loss_is_a_monte_carlo_mean(kind, rows):
    W, V, a, b = rows(N, D, seed=0), rows(M, D, seed=3), uniform(N, 2), gaussian(M, 2, seed=4)
    target = Target(W, a, kind)
    X = gaussian(400_000, D)
    if isinstance(kind, GaussianNeurons):
        X[:, -1] = 1
    difference = kind.activation(X @ W.T) @ a / N - kind.activation(X @ V.T) @ b / M
    assert target.loss(V, b) == pytest.approx(float(difference.square().sum(1).mean()), rel=2e-2)
    assert torch.allclose(target.mean, (kind.activation(X @ W.T) @ a / N).mean(0), atol=1e-2)


def test_the_best_coefficients_beat_all_others_and_give_the_least_loss(target):
    V = unit(3, M, D, seed=3)
    b = target.coefficients(V)
    least = target.least_loss(V)
    assert torch.allclose(least, target.loss(V, b), atol=1e-12)
    for seed in range(5):
        assert (target.loss(V, b + 0.1 * gaussian(3, M, 1, seed=seed)) > least).all()


def test_the_limit_replaces_s_by_a_constant(target):
    V, b = unit(M, D, seed=3), gaussian(M, 1, seed=4)
    constant = float(target.a.mean()) / (2 * torch.pi)
    assert torch.allclose(target.limit_correlation(V), torch.full((M, 1), constant, dtype=torch.float64), atol=1e-12)
    G = naive_gram(V, V)
    wanted = target.power - 2 / M * constant * float(b.sum()) + float(b.T @ G @ b) / M**2
    assert target.limit_loss(V, b) == pytest.approx(wanted, abs=1e-8)
    best = target.limit_coefficients(V)
    assert torch.allclose(best, M * constant * torch.linalg.solve(target.neurons(V).gram(), torch.ones_like(b)))
    assert torch.allclose(target.least_limit_loss(V), target.limit_loss(V, best), atol=1e-12)


def test_the_gap_is_the_distance_of_the_two_losses(target):
    V, b = unit(4, M, D, seed=3), gaussian(4, M, 1, seed=4)
    assert torch.allclose(target.gap(V, b), (target.loss(V, b) - target.limit_loss(V, b)).abs(), atol=1e-12)


def test_several_outputs_add_up():
    W, a, kind = unit(N, D), gaussian(N, 3), UnitNeurons(get("relu"))
    V = unit(M, D, seed=3)
    each = [float(Target(W, a[:, k : k + 1], kind).least_loss(V)) for k in range(3)]
    assert Target(W, a, kind).least_loss(V) == pytest.approx(sum(each), rel=1e-10)


def test_large_targets_are_taken_in_blocks(target, monkeypatch):
    monkeypatch.setattr(target_module, "_ROWS", 7)
    pieces = Target(target.W, target.a, target.neurons)
    V = unit(M, D, seed=3)
    assert len(pieces._blocks) == 3
    assert pieces.power == pytest.approx(target.power, rel=1e-14)
    assert torch.allclose(pieces.correlation(V), target.correlation(V), rtol=1e-14)
    assert torch.allclose(pieces.mean, target.mean, rtol=1e-14)


def test_a_network_explains_itself(target):
    assert target.least_loss(target.W) == pytest.approx(0, abs=1e-12)
    assert torch.allclose(target.loss(target.W, target.a), torch.zeros((), dtype=torch.float64), atol=1e-12)
