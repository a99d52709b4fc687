"""What networks at initialization tell of their width, against plain loops and cases known in advance."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import widthwise as ww
from widthwise.errors import InputError
from widthwise.masks import Mask
from widthwise.width import capacity, divided, narrowest
from widthwise.width.initial import condition, initial_scores, limit_gram


def sparse_net(width: int, weights: int, depth: int = 1, seed: int = 0) -> tuple[nn.Sequential, Mask]:
    model, mask = ww.widen(lambda n: ww.models.mlp(5, 3, width=n, depth=depth).double(), width, 1, seed=seed)
    return model, ww.widening.sparsify_randomly(model, weights, seed=seed) if weights < mask.kept else mask


def kernel_by_loop(model: nn.Sequential, mask: Mask, x: Tensor, signs: Tensor) -> Tensor:
    """Tangent kernel, one backward pass a row."""
    rows = []
    for row in x:
        model.zero_grad()
        (model(row[None])[0] * signs).sum().backward()
        parts = []
        for name, parameter in model.named_parameters():
            gradient = parameter.grad
            assert gradient is not None
            parts.append((gradient * mask[name] if name in mask else gradient).flatten())
        rows.append(torch.cat(parts))
    jacobian = torch.stack(rows)
    return jacobian @ jacobian.T


@pytest.mark.parametrize("depth", [1, 2])
def test_condition_and_rank_are_those_of_the_kernel_of_living_weights(depth: int) -> None:
    x = torch.randn(7, 5, dtype=torch.float64)
    model, mask = sparse_net(20, 60, depth)
    signs = 2.0 * torch.randint(2, (3,), generator=torch.Generator().manual_seed(0)).double() - 1
    kernel = kernel_by_loop(model, mask, x, signs)
    low, high = torch.linalg.eigvalsh(kernel)[[0, -1]].tolist()
    assert condition(model, mask, x) == pytest.approx(math.log10((high + 1e-6 * high) / (max(low, 0) + 1e-6 * high)))
    found = initial_scores(model, mask, x, torch.randn(7, 2), limit_gram(x, depth))
    assert found["rank"] == pytest.approx(float(kernel.trace() ** 2 / kernel.square().sum()))
    assert 1 <= found["rank"] <= 7
    assert -1 <= found["alignment"] <= 1


def test_wide_dense_networks_are_near_the_limit_and_narrow_ones_far() -> None:
    x = torch.randn(20, 5, dtype=torch.float64)
    limit = limit_gram(x, 1, seed=1)
    distances = []
    for width in (4, 64, 1024):
        model, mask = sparse_net(width, 10**9)
        distances.append(initial_scores(model, mask, x, x[:, :2], limit)["distance"])
    assert distances[0] > 3 * distances[1] > 9 * distances[2]


def test_targets_that_are_the_kernel_align_with_it() -> None:
    x = torch.randn(12, 5, dtype=torch.float64)
    model, mask = sparse_net(40, 10**9)
    signs = 2.0 * torch.randint(2, (3,), generator=torch.Generator().manual_seed(0)).double() - 1
    values, vectors = torch.linalg.eigh(kernel_by_loop(model, mask, x, signs))
    root = vectors * values.clamp_min(0).sqrt()
    assert initial_scores(model, mask, x, root, limit_gram(x, 1))["alignment"] == pytest.approx(1)


def test_a_network_that_answers_nothing_has_the_largest_condition() -> None:
    model, mask = sparse_net(6, 30)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    x = torch.ones(4, 5, dtype=torch.float64)
    assert condition(model, mask, x) == pytest.approx(6, abs=1e-3)  # equal rows


def test_width_by_condition_number() -> None:
    x = torch.randn(200, 8, dtype=torch.float64)
    one = ww.best_width(8, 90, 1, x, "condition", "balanced", draws=3)
    assert [c.width for c in one.candidates] == [10, 20, 40, 80]
    assert all(c.first_weights + c.last_weights == 90 for c in one.candidates)
    assert one.width == min(one.candidates, key=lambda c: c.distance).width
    assert one == ww.best_width(8, 90, 1, x, "condition", "balanced", draws=3)
    deep = ww.best_width(8, 300, 2, x, "condition", "dense", depth=3, draws=1)
    assert all(c.last_weights == 2 * c.width for c in deep.candidates)
    assert all(c.error == 0 for c in deep.candidates)
    same = ww.best_width(8, 90, 1, torch.ones(5, 8), "condition", draws=1)  # one different row tells nothing
    assert same.width == same.candidates[0].width


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"depth": 2}, "formula"),
        ({"depth": 0}, "depth"),
        ({"formula": "condition"}, "x: got None"),
        ({"formula": "condition", "x": torch.randn(9, 3)}, "x: got shape"),
        ({"formula": "condition", "x": torch.randn(9, 8), "draws": 0}, "draws"),
        ({"formula": "condition", "x": torch.randn(9, 8), "candidates": [3]}, "candidates: got width 3"),
        ({"formula": "condition", "x": torch.randn(9, 8), "candidates": [3], "depth": 2}, "budget: got 90"),
    ],
)
def test_questions_that_have_no_answer(more: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ww.best_width(8, 90, 1, **more)  # type: ignore[arg-type]


def test_no_network_too_large_to_draw_is_drawn() -> None:
    found = ww.best_width(100, 60_000, 10, torch.randn(60, 100), "condition", draws=1)
    assert [c.width for c in found.candidates] == [546, 1092, 2184, 4368]  # 8736 would have 960 960 weights


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 50), st.integers(1, 9), st.integers(1, 4), st.integers(1, 10**6))
def test_the_narrowest_width_is_the_least_that_holds_the_budget(d: int, k: int, depth: int, budget: int) -> None:
    width = narrowest(d, k, depth, budget)
    assert capacity(d, k, width, depth) >= budget
    assert width == 1 or capacity(d, k, width - 1, depth) < budget


def test_budgets_are_divided_exactly() -> None:
    sizes = {"a": 100, "b": 400, "c": 30}
    assert divided(sizes, 200, "balanced") == {"a": 85, "b": 85, "c": 30}
    assert divided(sizes, 200, "dense") == {"a": 85, "b": 85, "c": 30}
    assert divided(sizes, 60, "dense") == {"a": 15, "b": 15, "c": 30}
    with pytest.raises(InputError, match="allowed at these sizes with a dense last layer is 32 to 530"):
        divided(sizes, 31, "dense")
    assert capacity(8, 2, 10, 3) == 10 * 8 + 2 * 100 + 10 * 2
