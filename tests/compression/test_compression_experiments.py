from __future__ import annotations

import functools
import json

import pytest

from widthwise.errors import InputError
from widthwise.experiments.command import run
from widthwise.experiments.outcome import Outcome
from widthwise.experiments.two_layer_compression import EXPERIMENTS


@functools.cache
def smoke(name: str) -> Outcome:
    return EXPERIMENTS[name]("smoke", None, 0)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_runs_at_smoke_scale(name):
    outcome = smoke(name)
    assert (outcome.name, outcome.scale) == (name, "smoke")
    assert len({tuple(row) for row in outcome.rows}) == 1


@pytest.mark.parametrize("name", ["fig3", "decay", "configurations"])
def test_the_same_seed_gives_the_same_numbers(name):
    assert EXPERIMENTS[name]("smoke", None, 0).rows == smoke(name).rows


def test_descent_reaches_the_simplex():
    for row in smoke("fig2").rows:
        assert row["gd_error"] < 1e-12
        assert row["lbfgs_error"] < 1e-12
        assert row["gd_reached"] < 120


def test_the_distance_falls_and_the_band_closes():
    distances = [row for row in smoke("fig3").rows if row["M"] == 5]
    assert 0 <= distances[-1]["least"] <= distances[-1]["greatest"] < 1e-6 * distances[0]["least"]
    last = [row for row in smoke("fig4").rows if row["M"] == 5][-1]
    assert last["greatest"] - last["least"] < 1e-12
    assert abs(last["short_most"]) < 1e-12


def test_the_optimum_is_below_everything_else():
    for row in smoke("orientation").rows:
        assert row["optimum"] <= row["turned"] <= row["simplex"] < row["random"] < row["power"]
        assert abs(row["limit"] - row["optimum"]) < row["power"]


def test_no_configuration_passes_its_bound():
    rows = smoke("configurations").rows
    assert all(row["short_of_bound"] > -1e-9 for row in rows)
    simplex = next(row for row in rows if row["M"] == 3)
    assert simplex["short_of_bound"] == pytest.approx(0, abs=1e-9)
    assert simplex["least_cosine"] == pytest.approx(-0.5, abs=1e-5)


def test_an_odd_activation_has_no_limit():
    by_name = {row["activation"]: row for row in smoke("activations").rows}
    assert by_name["relu"]["proved"] is True
    assert by_name["tanh"]["g0"] == pytest.approx(0, abs=1e-20)
    assert by_name["relu"]["R"] == pytest.approx(by_name["relu"]["simplex"], rel=1e-3)
    assert by_name["tanh"]["R"] > 2 * by_name["tanh"]["simplex"]


def test_the_command_writes_numbers_and_a_drawing(tmp_path, capsys):
    assert run("two-layer-compression", ["fig4", "decay", "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "fig4-smoke.json").read_text())
    assert record["command"].endswith("fig4 --scale smoke --out DIR")
    assert (tmp_path / "decay-smoke.svg").read_text().startswith("<?xml")
    assert "slope of" in capsys.readouterr().out


def test_mistakes_of_the_command(tmp_path, capsys):
    assert run("two-layer-compression", ["fig9", "--out", str(tmp_path)]) == 2
    assert run("two-layer-compression", ["mnist", "--data", "no-such-data", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")
    with pytest.raises(InputError, match="scale"):
        EXPERIMENTS["fig2"]("huge")
