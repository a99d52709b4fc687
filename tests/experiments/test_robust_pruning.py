"""The paper's figures and tables at smoke scale: that they run, and that what they measure is right."""

from __future__ import annotations

import csv
import json
import math

import pytest
import torch

from widthwise import models
from widthwise.errors import InputError
from widthwise.experiments.command import reproduce, run
from widthwise.experiments.outcome import Outcome, record_of, write
from widthwise.experiments.robust_pruning import CLAIMS, EXPERIMENTS, tables
from widthwise.experiments.robust_pruning.accuracies import winners
from widthwise.experiments.robust_pruning.collapse import critical, fig1
from widthwise.experiments.robust_pruning.growth import growth
from widthwise.experiments.robust_pruning.imagenet import bottleneck_resnet50
from widthwise.experiments.robust_pruning.layers import fig2
from widthwise.experiments.robust_pruning.magnitude import table7
from widthwise.experiments.robust_pruning.published import WINNERS, printed
from widthwise.experiments.robust_pruning.signal import signal
from widthwise.weights import prunable


def test_figure_1_is_uniform_on_the_edge_and_loses_layers_off_it():
    rows = fig1().rows
    kept = {
        phase: [r["kept"] for r in rows if r["phase"] == phase] for phase in ("ordered", "edge of chaos", "chaotic")
    }
    assert len(kept["edge of chaos"]) == 12
    assert min(kept["edge of chaos"]) > 0.1
    least = {row["phase"]: row["critical_sparsity"] for row in rows}
    assert least["edge of chaos"] == max(least.values()) > 0.9
    assert all(row["least_neuron"] <= row["kept"] <= row["most_neuron"] for row in rows)


def test_critical_sparsity_is_largest_at_the_edge_and_below_its_bound():
    rows = critical().rows
    found = {round(row["chi"], 6): row for row in rows}
    ordered, edge, chaotic = (found[key] for key in sorted(found))
    assert ordered["mean"] < edge["mean"]
    assert chaotic["bound"] is None
    assert ordered["bound"] is None or ordered["mean"] < ordered["bound"]


def test_the_corrected_bound_of_table_7_holds_and_the_printed_one_fails():
    rows = table7("small").rows
    assert len(rows) == 9
    assert all(row["measured"] < row["bound"] + 0.02 for row in rows)
    assert any(row["measured"] > row["bound_as_printed"] + 0.2 for row in rows)


def test_scores_grow_as_theorem_2_says_and_fall_as_proposition_2_says():
    for stable in (False, True):
        rows = [row for row in growth().rows if row["stable"] is stable and row["sigma_w"] == 1.0]
        shares = [row["over_theory"] for row in rows]
        assert max(shares) < 2.5 * min(shares)


def test_the_measured_rule_alone_holds_the_signal_under_every_mask():
    rates = {(r["activation"], r["method"], r["rule"]): r["growth"] for r in signal().rows}
    assert all(rates["relu", method, "measured"] == pytest.approx(1, abs=0.02) for method in ("random", "snip"))
    assert rates["relu", "random", "as printed"] < 0.75
    assert rates["relu", "snip", "closed"] > 1.2


def test_figure_2_counts_every_layer():
    rows = fig2().rows
    of = {(row["network"], row["method"], row["sparsity"]): row for row in rows}
    assert [method for network, method, s in of if (network, s) == ("ReLU", 0.98)] == [
        "SNIP",
        "GraSP",
        "SynFlow",
        "SBP-SR",
    ]
    with torch.device("meta"):
        sizes = [p.numel() for p in prunable(models.resnet20(10, 1, 0.25)).values()]
    for row in rows:
        kept = sum(share * size for share, size in zip(row["kept"], sizes, strict=True))
        assert kept == pytest.approx(sum(sizes) * (1 - row["sparsity"]), abs=1)
        assert row["kept"].count(0) == row["dead_least"] == row["dead_most"]
        assert (row["critical_sparsity"] is None) is (row["method"] == "SynFlow")
        if row["critical_sparsity"] is not None:
            assert (row["dead_most"] > 0) is (row["sparsity"] >= row["critical_sparsity"])
    assert of["tanh", "SNIP", 0.98]["cut"] > of["tanh", "SBP-SR", 0.98]["cut"]


@pytest.mark.parametrize(("name", "cases"), [("fig3", 6), ("table4", 3), ("table1", 2), ("table8", 4)])
def test_training_gives_an_accuracy_for_every_case(name, cases):
    outcome = EXPERIMENTS[name]()
    assert len(outcome.rows) == cases
    assert all(0 <= row["test_accuracy"] <= 1 for row in outcome.rows)
    if name == "table1":
        assert outcome.notes[0].startswith("ResNet32, relu, 50.0%: undetermined")


@pytest.mark.parametrize("table", ["table1", "table2", "table3", "table5", "table8", "table9"])
def test_the_claims_hold_on_the_papers_own_numbers(table):
    classes = {"table3": 200, "table8": 1000}.get(table, 10)
    rows = [
        {"network": net, "activation": act, "sparsity": s, "method": method, "seed": run, "test_accuracy": number / 100}
        for (net, act, method, s), number in printed(table, classes).items()
        for run in range(2)
    ]
    assert CLAIMS[table].judge(rows).held
    assert CLAIMS[table].judge([{**row, "test_accuracy": 0.5} for row in rows]).held is None
    assert CLAIMS[table].judge([{**row, "test_accuracy": row["test_accuracy"] / 3} for row in rows]).held is None
    assert not CLAIMS[table].judge([{**row, "test_accuracy": 1 - row["test_accuracy"]} for row in rows]).held
    assert CLAIMS[table].judge([row for row in rows if row["seed"]]).held is None  # one run has no error


def test_the_matrix_of_winners_is_that_of_the_papers_tables():
    rows = []
    for table in ("table2", "table5"):
        numbers = printed(table, 10)
        rows += winners(
            [
                {"network": net, "activation": act, "sparsity": s, "method": method, "test_accuracy": number / 100}
                for (net, act, method, s), number in numbers.items()
                for _ in range(2)
            ]
        )
    theirs = WINNERS[10]
    decided = [row for row in rows if theirs[row["network"], row["sparsity"]] not in ("C", "-")]
    assert len(decided) == 9
    for row in decided:
        assert row["winner"] == theirs[row["network"], row["sparsity"]]
    matrix = [{"network": n, "sparsity": s, "winner": w, "paper": w, "accuracy": 0.9} for (n, s), w in theirs.items()]
    judge = CLAIMS["table6"].judge
    assert judge(matrix).held
    assert judge([{**row, "winner": "C"} for row in matrix]).held is None
    assert judge([{**row, "winner": "random"} for row in matrix]).held is False
    assert judge([{**row, "accuracy": 0.2} for row in matrix]).held is None


def test_the_runs_of_several_tables_are_shared(tmp_path, monkeypatch):
    ran = []

    def counted(case, splits):
        ran.append(case)
        return {"dead_layers": 0, "test_accuracy": 0.5}

    monkeypatch.setattr(tables, "trained", counted)
    list(reproduce([f"robust-pruning/table{i}" for i in (1, 2, 9, 10)], tmp_path, scale="smoke"))
    assert len(ran) == len(set(ran)) == 9 + 2  # of Table 2, which has those of Table 1, and tanh of Table 9


def test_the_imagenet_network_has_a_stable_variant_whose_branches_are_scaled():
    torch.manual_seed(0)
    net = bottleneck_resnet50(10, 1, 0.125, stable=True)
    scales = [module.scale for module in net.modules() if isinstance(module, models.Residual)]
    assert scales == [0.25] * 16
    assert net(torch.randn(2, 1, 64, 64)).shape == (2, 10)


def test_the_command_writes_what_the_experiment_gives_and_the_same_again(tmp_path, capsys):
    assert run("robust-pruning", ["growth", "--out", str(tmp_path / "a")]) == 0
    assert run("robust-pruning", ["growth", "--out", str(tmp_path / "b")]) == 0
    printed = capsys.readouterr().out
    assert "growth-smoke.json" in printed
    for kind in ("json", "csv", "svg"):
        first, second = (tmp_path / part / f"growth-smoke.{kind}" for part in "ab")
        assert first.read_bytes() == second.read_bytes()
    record = json.loads((tmp_path / "a" / "growth-smoke.json").read_text())
    assert record["command"].startswith("widthwise reproduce robust-pruning/growth --scale smoke")
    with (tmp_path / "a" / "growth-smoke.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(record["rows"]) == 12
    assert float(rows[0]["mean"]) == record["rows"][0]["mean"]


def test_what_is_not_finite_is_written_as_null(tmp_path):
    outcome = fig1()
    odd = Outcome("odd", "smoke", {"a": (1.0, math.inf)}, [{"x": math.nan, "y": 1 / 3}], outcome.figure)
    paths = write(record_of(odd, "command"), odd.figure, tmp_path)
    record = json.loads(paths[0].read_text())
    assert (record["rows"], record["settings"]) == ([{"x": None, "y": 0.333333}], {"a": [1.0, None]})


def test_bad_input_is_one_line_and_code_2(tmp_path, capsys):
    assert run("robust-pruning", ["fig1", "--data", "nowhere.npz", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: nowhere.npz")
    assert run("robust-pruning", ["fig9", "--out", str(tmp_path)]) == 2
    assert "did you mean" in capsys.readouterr().err
    for experiment in EXPERIMENTS.values():
        with pytest.raises(InputError, match="scale: got 'huge', allowed are paper, small, smoke"):
            experiment("huge")
