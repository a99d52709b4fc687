from __future__ import annotations

import itertools

import pytest
import torch
from compression_cases import gaussian, uniform, unit

from widthwise.activations import get
from widthwise.compression import BASELINES, GaussianNeurons, Target, UnitNeurons


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def target() -> Target:
    return Target(unit(12, 4), uniform(12, 2), UnitNeurons(get("relu")))


@pytest.mark.parametrize("name", BASELINES)
def test_as_many_neurons_as_there_are_lose_nothing(target, name):
    V, b = BASELINES[name](target, 12, generator())
    assert target.loss(V, b) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("name", BASELINES)
def test_each_gives_unit_rows_and_is_the_same_for_the_same_seed(target, name):
    V, b = BASELINES[name](target, 5, generator())
    assert V.shape == (5, 4)
    assert b.shape == (5, 2)
    assert torch.allclose(V.norm(dim=1), torch.ones(5, dtype=torch.float64))
    again = BASELINES[name](target, 5, generator())
    assert torch.equal(V, again[0])
    assert torch.equal(b, again[1])


@pytest.mark.parametrize("name", ["greedy", "kmeans", "random"])
def test_refitted_coefficients_are_the_best(target, name):
    V, b = BASELINES[name](target, 5, generator())
    assert target.loss(V, b) == pytest.approx(float(target.least_loss(V)), abs=1e-12)


@pytest.mark.parametrize("kind", [UnitNeurons(get("relu")), GaussianNeurons(get("gelu"))])
def test_greedy_adds_what_helps_most_found_by_trying_all(kind):
    rows = unit(10, 4) if isinstance(kind, UnitNeurons) else gaussian(10, 4)
    target, kept = Target(rows, gaussian(10, 2), kind), list[int]()
    for _ in range(4):
        left = [n for n in range(10) if n not in kept]
        kept.append(min(left, key=lambda n: float(target.least_loss(rows[[*kept, n]]))))
    V, _ = BASELINES["greedy"](target, 4, generator())
    assert torch.equal(V, rows[kept])


def test_greedy_passes_over_copies():
    W = unit(6, 4).repeat(2, 1)
    target = Target(W, gaussian(12, 1), UnitNeurons(get("relu")))
    V, b = BASELINES["greedy"](target, 6, generator())
    assert target.loss(V, b) == pytest.approx(0, abs=1e-10)
    assert torch.unique(V, dim=0).shape == (6, 4)
    more, b = BASELINES["greedy"](target, 9, generator())
    assert torch.isfinite(b).all()
    assert target.loss(more, b) == pytest.approx(0, abs=1e-9)


def test_magnitude_keeps_the_largest_contributions(target):
    V, b = BASELINES["magnitude"](target, 3, generator())
    best = max(itertools.combinations(range(12), 3), key=lambda keep: float(target.a[list(keep)].norm(dim=1).sum()))
    assert {tuple(v.tolist()) for v in V} == {tuple(target.W[n].tolist()) for n in best}
    assert torch.allclose(b.norm(dim=1).sum() * 12 / 3, target.a[list(best)].norm(dim=1).sum())


@pytest.mark.parametrize("name", ["merge", "kmeans"])
def test_copies_are_put_together_without_loss(name):
    W = unit(4, 6).repeat_interleave(3, dim=0)
    target = Target(W, uniform(12, 1), UnitNeurons(get("relu")))
    kept = target.a.reshape(4, 3).argmax(1) + 3 * torch.arange(4)
    target.a[kept] += 10  # so that the largest are one of each kind
    V, b = BASELINES[name](target, 4, generator())
    assert target.loss(V, b) == pytest.approx(0, abs=1e-9)


def test_merging_carries_lengths_over_only_where_that_is_exact():
    rows = torch.cat([gaussian(1, 3), 0.5 * gaussian(1, 3)])
    a = torch.ones(2, 1, dtype=torch.float64)
    for name, exact in (("relu", True), ("gelu", False)):
        target = Target(rows, a, GaussianNeurons(get(name), degree=64))
        V, b = BASELINES["merge"](target, 1, generator())
        assert b.item() == pytest.approx(1.5 / 2 if exact else 2 / 2)
        assert (target.loss(V, b) < 1e-3 * target.power).item() is exact
