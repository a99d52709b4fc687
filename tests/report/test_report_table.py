"""The table: right numbers, in the right order, that fit a terminal and survive a round trip."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import report_cases as cases
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from widthwise.errors import InputTypeError
from widthwise.report import rich_table, rows_as_dicts, to_csv, to_json
from widthwise.report.summary import METRICS, Summary, clean


def printed(comparison, width=80):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(rich_table(comparison))
    return console.file.getvalue()


def test_numbers_agree_with_numpy():
    comparison = cases.digits()
    by_label = {r.label: r for r in comparison.rows}
    start = np.mean(comparison.baseline.test)
    for record in rows_as_dicts(comparison):
        row = by_label[record["label"]]
        assert record["mean"] == pytest.approx(np.mean(row.test), abs=1e-15)
        assert record["spread"] == pytest.approx(np.std(row.test, ddof=1), abs=1e-15)
        if row is comparison.baseline:
            assert record["difference"] is None
        else:
            assert record["difference"] == pytest.approx(np.mean(row.test) - start, abs=1e-15)


def test_rows_go_by_rank_and_end_with_those_over_the_budget():
    records = rows_as_dicts(cases.digits())
    assert [r["rank"] for r in records] == [*range(1, 17), *[None] * 5]
    assert [r["within_budget"] for r in records] == [True] * 16 + [False] * 5


@pytest.mark.parametrize("make", [cases.digits, cases.one_seed, cases.one_row, cases.diverged, cases.interrupted])
def test_every_row_fits_eighty_columns_whole(make):
    comparison, text = make(), printed(make())
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for row in comparison.rows:
        summary = Summary.of(row)
        written = "diverged" if summary.diverged and not summary.kept else "–"
        if summary.mean is not None:
            written = METRICS["accuracy"].pair(summary.mean, summary.spread)
        assert any(f" {row.label} " in line and f" {written} " in line for line in text.splitlines())


def test_best_row_is_bold_and_rows_over_the_budget_stand_below_a_line():
    table = rich_table(cases.digits())
    assert [r.style for r in table.rows] == ["bold green"] + [""] * 15 + ["dim"] * 5
    assert [i for i, r in enumerate(table.rows) if r.end_section] == [15]


def test_one_seed_claims_no_spread():
    text = printed(cases.one_seed())
    assert "±" not in text
    assert all(r["spread"] is None for r in rows_as_dicts(cases.one_seed()))


def test_diverged_seeds_are_left_out_and_said():
    comparison = cases.diverged()
    records = {r["label"]: r for r in rows_as_dicts(comparison)}
    kept = comparison.rows[7].test[1:4]  # the first lost its test value, the last its validation value
    assert records["sparse x4"]["mean"] == pytest.approx(np.mean(kept), abs=1e-15)
    assert records["sparse x4"]["diverged"] == 2
    assert records["sparse x16"]["mean"] is None
    assert records["sparse x16"]["difference"] is None
    text = printed(comparison)
    assert "2 of 5 diverged" in text
    assert any("sparse x16" in line and "diverged" in line for line in text.splitlines())


def test_regression_is_written_as_a_pure_number():
    text = printed(cases.regression())
    assert "R²" in text
    assert "%" not in text.split("\n")[4].split("alive")[0]
    assert "−21.380 ± 24.645" in text


def test_hostile_names_neither_colour_nor_clear_the_terminal():
    text = printed(cases.hostile())
    assert not any(ord(c) < 32 and c != "\n" for c in text)
    assert "\u202e" not in text
    text.encode()  # no lone surrogates


def test_csv_gives_back_the_numbers():
    comparison = cases.diverged()
    read = list(csv.DictReader(io.StringIO(to_csv(comparison))))
    for got, want in zip(read, rows_as_dicts(comparison), strict=True):
        assert got["label"] == want["label"]
        assert got["mean"] == ("" if want["mean"] is None else repr(want["mean"]))
        assert [float(v) for v in got["test"].split(";")] == pytest.approx(want["test"], nan_ok=True, abs=0)


def test_json_is_strict_and_whole():
    def refuse(token):
        raise AssertionError(token)

    comparison = cases.diverged()
    read = json.loads(to_json(comparison), parse_constant=refuse)
    assert read["budget"] == comparison.budget
    assert read["settings"]["factors"] == [2, 4, 8, 16, 32]
    assert read["findings"] == list(comparison.findings)
    rows = {r["label"]: r for r in read["rows"]}
    assert rows["sparse x4"]["test"][0] is None
    assert rows["sparse x16"]["test"] == [None] * 5
    assert rows["snip x8"]["curve"] == [list(p) for p in comparison.rows[18].curve]


def test_a_thousand_rows_and_none():
    assert len(rows_as_dicts(cases.huge())) == 1000
    assert rows_as_dicts(replace(cases.digits(), rows=())) == []
    assert to_csv(replace(cases.digits(), rows=())).strip() == ""


def test_only_a_comparison_is_shown():
    with pytest.raises(InputTypeError, match="comparison: got 3"):
        rows_as_dicts(3)


@settings(deadline=None)
@given(st.floats(-1e6, 1e6))
def test_written_values_are_rounded_values(value):
    for metric in METRICS.values():
        back = float(metric.number(value).replace("−", "-")) / metric.scale
        assert math.isclose(back, value, abs_tol=0.51 * 10.0**-metric.decimals / metric.scale, rel_tol=1e-12)
        assert metric.number(-value) != "−0." + "0" * metric.decimals
        assert metric.gap(value)[0] in "+−"


@settings(deadline=None)
@given(st.text())
def test_clean_text_prints_and_encodes(text):
    assert len(clean(text)) == len(text)
    assert all(c.isprintable() or c in " \N{NO-BREAK SPACE}" for c in clean(text))
    assert clean(clean(text)) == clean(text)
