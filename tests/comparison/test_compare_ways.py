"""All three ways of widening side by side in the main job, and sweeps over the last layer's connectivity."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import widthwise as ww
from widthwise.cli import app
from widthwise.comparison.ways import is_drawn, is_scored, last_layer
from widthwise.errors import InputError
from widthwise.store import Store
from widthwise.training import TrainConfig

BRIEF = TrainConfig(epochs=2)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ways")
    return folder, ww.compare(
        "digits", base_width=24, depth=3, factors=(1.5, 8), seeds=2, train=BRIEF, jobs=1, out=folder,
        methods=("dense", "sparse", "linear_bottleneck", "nonlinear_bottleneck"), last_layer_connectivity=(1.0, 0.5),
    )  # fmt: skip


def test_every_way_keeps_to_the_budget(found):
    rows = {row.label: row for row in found[1].rows}
    assert set(rows) == {
        "dense x1", "dense x1.5", "dense x8", "sparse x1.5", "sparse x8", "linear_bottleneck x1.5",
        "nonlinear_bottleneck x1.5", "sparse last=1 x1.5", "sparse last=1 x8", "sparse last=0.5 x1.5",
        "sparse last=0.5 x8",
    }  # fmt: skip
    for label, row in rows.items():
        assert row.within_budget is (not label.startswith("dense") or label == "dense x1")
        assert (row.rank is not None) is row.within_budget
        if row.within_budget:
            assert abs(row.weights - 2928) <= (50 if "bottleneck" in label else 0)
    assert rows["sparse last=0.5 x8"].layer_connectivity[-1] == 0.5
    assert rows["sparse last=1 x8"].layer_connectivity[-1] == 1.0
    assert rows["linear_bottleneck x1.5"].measured is None
    assert rows["sparse last=1 x8"].measured is not None


def test_what_is_left_out_or_missed_is_said(found):
    said = "\n".join(found[1].findings)
    assert "linear_bottleneck, width 24 to 36, 2,928 weights met: +16 weights (+0.55%)" in said
    assert (
        "linear_bottleneck at width 192 is left out: factor: got 8 with linear_bottleneck, allowed is at most" in said
    )


def test_no_network_is_trained_twice(found, monkeypatch):
    folder, first = found
    monkeypatch.setattr("widthwise.comparison.execute.train_group", None)
    again = ww.compare(
        "digits", base_width=24, depth=3, factors=(1.5, 8), seeds=2, train=BRIEF, out=folder,
        methods=("dense", "sparse", "linear_bottleneck", "nonlinear_bottleneck"), last_layer_connectivity=(1.0, 0.5),
    )  # fmt: skip
    assert again.rows == first.rows


@pytest.mark.parametrize("method", ["linear_bottleneck", "nonlinear_bottleneck"])
def test_a_winner_with_bottlenecks_takes_raw_inputs_and_is_rebuilt_from_its_file(tmp_path, monkeypatch, method):
    def let_it_win(rows):
        return tuple(dataclasses.replace(row, rank=1 if row.method == method else 2) for row in rows)

    monkeypatch.setattr("widthwise.comparison.rows._ranked", let_it_win)
    train = TrainConfig(epochs=15, lr=0.3)
    won = ww.compare("digits", base_width=24, depth=3, factors=(1.5,), methods=(method,), seeds=2, train=train,
                     jobs=1, out=tmp_path)  # fmt: skip
    model = ww.load(tmp_path / "model.safetensors")
    digits = ww.data.load("digits")
    assert float((model(digits.x).argmax(1) == digits.y).double().mean()) > 0.4
    torch.testing.assert_close(model(digits.x[:5]), won.model(digits.x[:5]))


def test_your_own_networks_can_be_compared_in_all_ways():
    x = torch.randn(60, 1, 8, 8)
    y = (x.mean((1, 2, 3)) > 0).long()
    build = ww.models.by_width("resnet18", num_classes=2, in_channels=1)
    made = ww.compare((x, y), build, base_width=4, factors=(2,), seeds=1, train=TrainConfig(epochs=1), jobs=1,
                      methods=("sparse", "linear_bottleneck", "nonlinear_bottleneck"))  # fmt: skip
    assert len(made.rows) == 4
    assert isinstance(made.model, nn.Module)


def test_methods_are_named_and_told_apart():
    assert last_layer(0.25) == "sparse last=0.25"
    assert is_drawn("sparse last=0.25")
    assert not is_drawn("linear_bottleneck")
    assert is_scored("snip")
    assert not is_scored("nonlinear_bottleneck")


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"last_layer_connectivity": (0.0,)}, "last_layer_connectivity: got 0"),
        ({"methods": ("sparse last=x",)}, "allowed is such as 'sparse last=0.5'"),
        ({"methods": ("linear_botleneck",)}, "did you mean 'linear_bottleneck'"),
        ({"methods": ("nonlinear_bottleneck",)}, "methods: got 'nonlinear_bottleneck', but build: a non-linear"),
    ],
)
def test_bad_ways_are_named_before_anything_is_trained(tmp_path, chosen, message):
    with pytest.raises(InputError, match=message):
        ww.compare("digits", factors=(2,), out=tmp_path / "out", **chosen)
    assert not (tmp_path / "out").exists()


def test_the_command_sweeps_over_the_last_layer(tmp_path):
    options = ["--factors", "4", "--methods", "dense", "--seeds", "1", "--epochs", "1", "--jobs", "1"]
    last = ["--last-layer-connectivity"]
    result = CliRunner().invoke(app, ["compare", *options, *last, "0.5,1", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    with Store(tmp_path / "results.sqlite") as store:
        assert {run["method"] for run, _ in store.all("network")} == {"dense", "sparse last=0.5", "sparse last=1"}
    assert "sparse last=0.5" in (tmp_path / "report.html").read_text()
    bad = CliRunner().invoke(app, ["compare", *options, *last, "half", "--out", str(tmp_path)])
    assert bad.exit_code == 2
