"""What is timed is the right thing, and what is concluded from the times; the times themselves are the machine's."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from widthwise.errors import InputError
from widthwise.masks import Mask
from widthwise.report.speed import speed_csv, speed_figure, speed_table
from widthwise.sparse.measure import (
    WHOLE,
    Speed,
    break_even,
    interleaved,
    measure_speeds,
    random_mask,
    sparse_layers,
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WIDTHWISE_CACHE", str(tmp_path))


def line(fixed: float, slope: float, sparsities=(0.5, 0.8, 0.95)) -> list[Speed]:
    """Measurements that lie on ``sparse / dense = fixed + slope density``."""
    shares = [(s, fixed + slope * (1 - s)) for s in sparsities]
    return [Speed("0", "step", s, 1.0, share, 1 / share, 1 / share, 1 / share, 3) for s, share in shares]


@given(st.floats(0, 0.9), st.floats(0.2, 5))
def test_the_break_even_of_times_on_a_line_is_where_it_crosses(fixed, slope):
    expected = max(0.0, 1 - (1 - fixed) / slope)
    assert break_even(line(fixed, slope)) == pytest.approx(expected, abs=1e-9)


def test_a_break_even_that_is_not_there():
    assert break_even([]) is None
    assert break_even(line(1.2, 0.5)) is None
    assert break_even(line(0.9, -1.0)) == 0.0
    assert break_even(line(2.0, -1.0)) is None
    assert break_even(line(0.0, 2.0, sparsities=(0.9,))) == pytest.approx(0.5)


def test_contenders_run_in_turn_and_the_first_round_does_not_count():
    order = []
    taken = interleaved({name: lambda name=name: order.append(name) for name in "ab"}, rounds=4)
    assert "".join(order) == "ab" * 5
    assert {name: len(times) for name, times in taken.items()} == {"a": 4, "b": 4}
    assert len(interleaved({"a": lambda: None}, rounds=50, seconds=0)["a"]) == 3


@given(st.floats(0, 0.999), st.integers(0, 3))
def test_a_random_mask_removes_exactly_its_part_of_each_layer(sparsity, seed):
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Linear(7, 5))
    mask = random_mask(model, sparsity, seed)
    assert [layer.total - layer.kept for layer in mask.layers()] == [round(sparsity * 54), round(sparsity * 35)]
    assert mask == random_mask(model, sparsity, seed)


def test_every_layer_and_the_whole_are_measured_and_the_model_is_left_as_it_is():
    model = nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    speeds = list(measure_speeds(model, torch.randn(4, 12), [0.5, 0.9], rounds=3))
    assert {(s.layer, s.work, s.sparsity) for s in speeds} == {
        (layer, work, sparsity)
        for layer in ("0", "3", WHOLE)
        for work in ("forward", "step")
        for sparsity in (0.5, 0.9)
    }
    for s in speeds:
        assert s.dense > 0
        assert s.low <= s.ratio <= s.high
        assert math.isfinite(s.ratio)
        assert s.rounds == 3
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert Mask.of(model) is None
    assert model.training
    assert not model[0]._forward_pre_hooks
    assert sparse_layers(model) == ["0", "3"]


def test_one_example_does_not_trouble_batch_norm():
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))
    assert len(list(measure_speeds(model, torch.randn(1, 6), [0.5], rounds=3))) == 4


@pytest.mark.parametrize(
    ("model", "shape", "arguments", "said"),
    [
        (nn.Linear(3, 2), (4, 5), {}, "does not take shape"),
        (nn.Sequential(nn.Conv1d(3, 2, 1)), (4, 3, 5), {}, "no layer of it can be sparse"),
        (nn.Sequential(nn.Linear(3, 2)), (4, 3), {"sparsities": []}, "sparsities: got none"),
        (nn.Sequential(nn.Linear(3, 2)), (4, 3), {"sparsities": [1.0]}, "sparsities: got 1.0"),
        (nn.Sequential(nn.Linear(3, 2)), (4, 3), {"sparsities": [-0.1]}, "sparsities: got -0.1"),
        (nn.Sequential(nn.Linear(3, 2)), (4, 3), {"rounds": 2}, "rounds: got 2"),
        (nn.Sequential(nn.Linear(3, 2)), (4, 3), {"seconds": -1}, "seconds: got -1"),
        (nn.LSTM(3, 2), (4, 3), {}, "allowed is"),
    ],
)
def test_what_can_not_be_measured_is_refused(model, shape, arguments, said):
    arguments = {"sparsities": [0.5], **arguments}
    with pytest.raises(InputError, match=said):
        list(measure_speeds(model, torch.randn(shape), **arguments))


def test_the_report_shows_every_layer_and_the_break_even():
    speeds = line(0.05, 2.0)
    speeds += [Speed(WHOLE, "step", s.sparsity, s.dense, s.sparse, s.ratio, s.low, s.high, 3) for s in line(0.1, 1.8)]
    table = speed_table(speeds)
    assert [column.header for column in table.columns] == ["layer", "work", "0.5", "0.8", "0.95", "break-even"]
    assert [next(iter(column.cells)) for column in table.columns][2:] == ["0.95x", "2.2x", "6.7x", "52%"]
    rows = speed_csv(speeds).splitlines()
    assert rows[0].startswith("layer,work,sparsity,dense")
    assert len(rows) == 7
    figure = speed_figure(speeds)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["step"]
    assert "break-even 50%" in [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
