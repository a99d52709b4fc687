"""Figure 5: its networks, and that a stopped run goes on from where it was."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from widthwise.errors import InputError
from widthwise.experiments.parts import kept_in
from widthwise.experiments.wider_nets import shallow
from widthwise.experiments.wider_nets.shallow import Shape, fig5, shapes, sparse_nets


@settings(deadline=None, max_examples=50)
@given(
    st.integers(1, 100), st.integers(1, 12), st.integers(2, 500), st.lists(st.integers(1, 50), min_size=1, max_size=4)
)
def test_every_network_has_exactly_the_weights(inputs: int, outputs: int, weights: int, widths: list[int]) -> None:
    for shape in shapes(inputs, outputs, weights, widths):
        assert shape.first + shape.last == weights
        assert 1 <= shape.first <= inputs * shape.width
        assert 1 <= shape.last <= outputs * shape.width


def test_the_papers_grid() -> None:
    found = shapes(784, 10, 3970, [5 * 2**k for k in range(8)])
    assert found[0] == Shape(5, 3920, 50)
    assert len(found) == 1 + 6 * 10 + 6  # width 5 is dense; at 640 a last layer above 0.62 would need all weights
    assert max(s.last / (10 * s.width) for s in found if s.width == 640) == pytest.approx(0.6)


def test_weights_live_where_they_should_and_have_the_papers_scale() -> None:
    chosen = [Shape(40, 2000, 200), Shape(60, 1800, 600)]
    models, pruned = sparse_nets(100, 10, chosen, "relu", 3)
    for shape, model, masks in zip(chosen, models, pruned, strict=True):
        for name, kept, fan_in in (("hidden1", shape.first, 100), ("output", shape.last, shape.width)):
            weight = model.get_parameter(f"{name}.weight").detach()
            assert int((weight != 0).sum()) == kept == int((~masks[f"{name}.weight"]).sum())
            bound = 1 / math.sqrt(fan_in * kept / weight.numel())
            assert 0.97 * bound < float(weight.abs().max()) <= bound * (1 + 1e-6)
    again, _ = sparse_nets(100, 10, chosen, "relu", 3)
    assert torch.equal(again[1].get_parameter("output.weight"), models[1].get_parameter("output.weight"))


def test_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shallow, "_SAVE_EVERY", -1.0)
    whole = fig5("smoke")
    told: list[tuple[float, str]] = []

    def stop(done: float, total: float, what: str) -> None:
        told.append((done, what))
        if done == 2 and "linear" in what:
            raise KeyboardInterrupt

    file = tmp_path / "parts.sqlite"
    with pytest.raises(KeyboardInterrupt), kept_in(file, stop):
        fig5("smoke")
    first = len(told)
    with kept_in(file, lambda *seen: told.append((seen[0], seen[2]))):
        resumed = fig5("smoke")
    assert resumed.rows == whole.rows
    assert "linear" in told[first + 2][1]
    assert told[first + 2][0] == 2  # not again the epoch that was saved
    assert list(tmp_path.iterdir()) == []


def test_smoke_rows_and_notes() -> None:
    outcome = fig5("smoke", seed=1, seeds=2)
    assert {row["activation"] for row in outcome.rows} == {"relu", "linear"}
    assert all(0.05 <= row["accuracy"] <= row["best_epoch_accuracy"] <= 1 for row in outcome.rows)
    assert outcome.settings["weights"] == 222
    assert sum("best accuracy" in note for note in outcome.notes) == 2


def test_regression_data_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "arrays.npz"
    np.savez(file, x=np.random.default_rng(0).normal(size=(40, 3)), y=np.linspace(0, 1, 40))
    with pytest.raises(InputError, match="allowed is classification"):
        fig5("smoke", data=str(file))
