"""The width predictors and the race at equal time, small: what rows and notes say follows from the numbers."""

from __future__ import annotations

import math

import pytest

from widthwise.errors import InputError
from widthwise.experiments.wider_nets import predictor
from widthwise.experiments.wider_nets.equal_time import _notes as race_notes
from widthwise.experiments.wider_nets.equal_time import equal_time
from widthwise.experiments.wider_nets.predictor import width_predictor


def test_predictors_are_judged_on_every_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "_FACTORS", (1, 4))
    outcome = width_predictor("smoke")
    assert len(outcome.rows) == 2 * 2 * 2 * 2  # data sets, budgets, depths, widths
    for row in outcome.rows:
        assert row["metric"] <= 1
        assert 0 <= row["condition"] <= 6.001
        assert row["rank"] >= 1
        assert (row["formula"] is None) == (row["depth"] == 2)
    unseen = [note for note in outcome.notes if note.startswith("On sets that none was chosen on")]  # diabetes
    assert sum("of 4" in note for note in unseen) == 6
    assert sum("of 4" in note for note in outcome.notes) == 12
    assert sum("of 2" in note for note in unseen) == 1


def rows_of(metrics: list[float], std: float) -> list[dict[str, object]]:
    common = {"data": "d", "depth": 1, "weights": 9, "std": std, "seeds": 4, "formula": 1.0, "distance": 1.0}
    return [
        {**common, "width": f, "factor": f, "metric": m, "condition": -m, "rank": 1.0, "alignment": 1.0}
        for f, m in zip((1, 4, 16), metrics, strict=True)
    ]


@pytest.mark.parametrize(
    ("metrics", "std", "verdict", "dense", "condition"),
    [
        ([0.5, 0.9, 0.7], 0.01, "widening helps", "hits 0 of 1, loses 0.4000", "hits 1 of 1, loses 0.0000"),
        ([0.85, 0.9, 0.7], 0.1, "undetermined", "hits 1 of 1, loses 0.0500", "hits 1 of 1, loses 0.0000"),
        ([0.9, 0.5, 0.4], 0.01, "dense is best", "hits 1 of 1, loses 0.0000", "hits 1 of 1, loses 0.0000"),
    ],
)
def test_verdicts(metrics: list[float], std: float, verdict: str, dense: str, condition: str) -> None:
    notes = predictor._notes(rows_of(metrics, std))
    assert any(note.startswith(f"dense: {dense}") for note in notes)
    assert any(note.startswith(f"NTK condition: {condition}") for note in notes)
    assert verdict in notes[-1]


def test_real_sets_need_their_folder() -> None:
    with pytest.raises(InputError, match="folder that holds uci, mnist and cifar-10"):
        width_predictor("small")


def test_the_race_runs() -> None:
    outcome = equal_time("smoke")
    assert {row["method"] for row in outcome.rows} == {"dense", "sparse x4", "sparse x16"}
    for row in outcome.rows:
        assert 0 < row["forward_ms"] < row["step_ms"] < math.inf
        assert 0 <= row["accuracy"] <= 1
    weights = {row["weights"] for row in outcome.rows if row["method"] != "dense"}
    assert weights == {2 * (64 + 10)}


def test_the_rival_of_a_sparse_network_is_the_best_dense_one_that_takes_no_longer() -> None:
    def row(method: str, width: int, weights: int, ms: float, accuracy: float) -> dict[str, object]:
        times = {"step_ms": ms, "forward_ms": ms / 3}
        return {
            "method": method,
            "width": width,
            "weights": weights,
            "accuracy": accuracy,
            "accuracy_std": 0.0,
            **times,
        }

    dense = [row("dense", 2, 100, 1.0, 0.5), row("dense", 4, 200, 2.0, 0.8), row("dense", 8, 400, 4.0, 0.9)]
    (note,) = race_notes([*dense, row("sparse x4", 8, 100, 3.0, 0.7)])
    assert "+20.00% over dense of equal weights" in note
    assert "-10.00% over dense of equal step (width 4)" in note
    (alone,) = race_notes([*dense, row("sparse x4", 8, 100, 0.5, 0.7)])
    assert "no dense network has as fast a step" in alone
