"""The answer in words: true of the rows, and no surer than they are."""

from __future__ import annotations

import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
import report_cases as cases
from scipy import stats

from widthwise.comparison import Finding
from widthwise.comparison.findings import findings
from widthwise.report.verdict import answer, claims


def numbers(text):
    return [float(n.replace("−", "-")) for n in re.findall(r"[+−]?\d+\.\d+", text)]


def test_the_winner_its_gain_and_the_interval():
    comparison = cases.digits()
    found, best, base = answer(comparison), comparison.best, comparison.baseline
    assert found.headline == f"{best.label} spends 222 weights best"
    oracle = stats.ttest_rel(best.test, base.test).confidence_interval(0.95)
    gain, low, high = numbers(found.lead)
    assert gain == pytest.approx(100 * (np.mean(best.test) - np.mean(base.test)), abs=0.051)
    assert [low, high] == pytest.approx([100 * oracle.low, 100 * oracle.high], abs=0.051)
    assert "settle" not in found.lead


def test_width_and_choice_add_up_to_the_difference():
    found = answer(cases.digits())
    width, choice = numbers(found.why[0])
    assert width + choice == pytest.approx(numbers(found.numbers[-1][1])[0], abs=0.11)


def test_a_difference_that_may_be_none_is_called_unsettled():
    comparison = cases.digits()
    shaky = tuple(m + d for m, d in zip(comparison.baseline.test, (0.3, -0.25, 0.2, -0.15, 0.1), strict=True))
    rows = [replace(r, test=shaky) if r.rank == 1 else r for r in comparison.rows]
    assert "do not settle it" in answer(replace(comparison, rows=tuple(rows))).lead


def test_one_seed_may_be_chance():
    assert "may be chance" in answer(cases.one_seed()).lead


def test_a_worse_winner_is_said_to_be_below():
    comparison = cases.digits()
    rows = [replace(r, test=tuple(v - 0.5 for v in r.test)) if r.rank == 1 else r for r in comparison.rows]
    found = answer(replace(comparison, rows=tuple(rows)))
    assert "points below" in found.lead
    assert any("ahead on the test set" in reason for reason in found.why)


def test_the_baseline_can_win_alone_or_against_others():
    assert answer(cases.one_row()).headline == "Only the dense baseline was run at 222 weights"
    comparison = cases.digits()
    swapped = {1: 16, 16: 1}
    rows = tuple(replace(r, rank=swapped.get(r.rank, r.rank)) for r in comparison.rows)
    assert answer(replace(comparison, rows=rows)).headline == "The dense baseline spends 222 weights best"


def test_a_sparse_winner_owes_all_to_width():
    comparison = cases.digits()
    rows = tuple(r for r in comparison.rows if r.method in ("dense", "sparse"))
    rows = tuple(replace(r, rank=1 if r.label == "sparse x8" else None) for r in rows)
    assert "All of it is the width" in answer(replace(comparison, rows=rows)).why[0]


@pytest.mark.parametrize("make", [cases.all_diverged, cases.interrupted])
def test_without_a_ranked_result_there_is_no_winner(make):
    assert answer(make()).headline == "No winner"


def test_a_ranked_row_that_diverged_is_no_winner():
    comparison = cases.all_diverged()
    rows = (replace(comparison.rows[0], rank=1), *comparison.rows[1:])
    assert answer(replace(comparison, rows=rows)).headline == "No winner"


def test_diverged_seeds_leave_no_interval():
    comparison = cases.digits()
    rows = [replace(r, test=(float("nan"), *r.test[1:])) if r.rank == 1 else r for r in comparison.rows]
    assert "no interval" in answer(replace(comparison, rows=tuple(rows))).lead


def test_findings_find_their_rows_and_their_plot():
    said = claims(cases.digits())
    assert [c.plot for c in said] == ["accuracy", "distance", "curves"]
    assert [r.label for r in said[0].rows] == ["snip x8", "dense x1"]


def test_what_a_finding_does_not_say_is_not_guessed():
    rows = ("sparse x2", "no such row")
    findings = ("sparse x16 and the kernel", Finding("a layer died", "layers", rows))
    said = claims(replace(cases.digits(), findings=findings))
    assert [(c.plot, [r.label for r in c.rows]) for c in said] == [("accuracy", []), ("layers", ["sparse x2"])]


def test_the_findings_of_a_comparison_know_their_evidence():
    comparison = cases.diverged()
    found = findings(comparison)
    labels = {row.label for row in comparison.rows}
    assert {finding.evidence for finding in found} == {"accuracy", "distance"}
    for finding in found:
        assert finding.rows
        assert set(finding.rows) <= labels
        assert str(finding) == finding
    again = pickle.loads(pickle.dumps(found))
    assert [(f, f.evidence, f.rows) for f in again] == [(f, f.evidence, f.rows) for f in found]
