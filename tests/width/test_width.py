from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from widthwise import kernels
from widthwise.errors import InputError, InputTypeError
from widthwise.width import best_width

FORMULAS = ("heuristic", "gaussian", "exact", "measured")


@pytest.fixture(scope="module")
def digits() -> torch.Tensor:
    x = torch.from_numpy(load_digits().data)
    spread = x.std(0)
    return (x - x.mean(0)) / torch.where(spread > 0, spread, 1)


def test_the_papers_formula_is_minimised_over_every_width():
    found = best_width(784, 6352, 10, candidates=range(8, 635))
    values = {n: kernels.distance_approx(784, n, (6352 - 10 * n) / (784 * n)) for n in range(8, 635)}
    assert found.formula == "heuristic"
    assert found.width == min(values, key=values.__getitem__)
    assert {each.width: each.distance for each in found.candidates} == pytest.approx(values)


@given(st.integers(1, 60), st.integers(1, 12), st.integers(2, 5000), st.sampled_from(["dense", "balanced"]))
@settings(deadline=None, max_examples=80)
def test_every_candidate_spends_exactly_the_budget(d, n_outputs, budget, last_layer):
    narrowest = math.ceil(budget / (d + n_outputs))
    if last_layer == "dense" and narrowest * n_outputs >= budget:
        with pytest.raises(InputError, match=f"budget: got {budget}, .* width {narrowest} needs more than"):
            best_width(d, budget, n_outputs, last_layer=last_layer)
        return
    found = best_width(d, budget, n_outputs, last_layer=last_layer)
    for each in found.candidates:
        assert each.first_weights + each.last_weights == budget
        assert 1 <= each.first_weights <= each.width * d
        assert 1 <= each.last_weights <= each.width * n_outputs
        assert last_layer == "balanced" or each.last_weights == each.width * n_outputs
    assert [each.width for each in found.candidates] == sorted({each.width for each in found.candidates})
    best = min(found.candidates, key=lambda each: each.distance)
    assert found.width == best.width


def test_a_sparse_last_layer_counts_as_fewer_units_seen():
    wide = best_width(64, 1000, 10, last_layer="balanced", formula="gaussian", candidates=[100]).candidates[0]
    assert (wide.first_weights, wide.last_weights) == (500, 500)
    assert wide.distance == kernels.distance_gaussian(64, 100, 500 / 6400, p_last=0.5)
    paper = best_width(64, 1000, 10, last_layer="balanced", candidates=[100]).candidates[0]
    assert paper.distance == kernels.distance_approx(64, 50, 500 / 6400)


@pytest.mark.parametrize("last_layer", ["dense", "balanced"])
def test_theory_foretells_what_is_measured_on_data(digits, last_layer):
    widths = [12, 24, 40, 60]
    exact, measured = (
        best_width(64, 888, 10, digits, formula, last_layer, widths, pairs=300, draws=60)
        for formula in ("exact", "measured")
    )
    for theory, practice in zip(exact.candidates, measured.candidates, strict=True):
        assert abs(theory.distance - practice.distance) < 5 * practice.error + 2 * theory.error + 0.02 * theory.distance
    assert measured.width == exact.width


@pytest.mark.parametrize("formula", FORMULAS)
def test_the_same_question_has_the_same_answer(digits, formula):
    first, second = (best_width(64, 300, 10, digits.float(), formula, pairs=20, draws=2) for _ in range(2))
    assert first == second
    assert first.formula == formula
    assert all(each.error == 0 for each in first.candidates) or formula in ("exact", "measured")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"budget": 1}, InputError, "budget: got 1"),
        ({"budget": 10}, InputError, "budget: got 10, .*width 0 holds at most 0 and width 1 needs more than 10"),
        ({"d": 0}, InputError, "d: got 0"),
        ({"n_outputs": 2.5}, InputTypeError, "n_outputs: got 2.5"),
        ({"formula": "exakt"}, InputError, "formula: got 'exakt', .*did you mean 'exact'"),
        ({"formula": "exact"}, InputError, r"x: got None, allowed .* \(rows, 64\)"),
        (
            {"formula": "measured", "x": torch.ones(5, 63)},
            InputError,
            r"x: got shape \(5, 63\), allowed is \(rows, 64\)",
        ),
        ({"last_layer": "sparse"}, InputError, "last_layer: got 'sparse', allowed are balanced, dense"),
        ({"candidates": []}, InputError, "candidates: got none"),
        ({"candidates": 8}, InputTypeError, "candidates: got 8 of type int"),
        ({"candidates": [8.5]}, InputTypeError, "candidates: got 8.5"),
        ({"candidates": [7, 8]}, InputError, "candidates: got width 7, allowed for 600 weights is 9 to 59"),
        ({"candidates": [60]}, InputError, "candidates: got width 60"),
    ],
)
def test_bad_input(change, error, message):
    with pytest.raises(error, match=message):
        best_width(**({"d": 64, "budget": 600, "n_outputs": 10} | change))
