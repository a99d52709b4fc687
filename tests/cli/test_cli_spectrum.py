"""``widthwise kernel spectrum`` as a user meets it."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from widthwise.cli import app
from widthwise.data import load
from widthwise.kernels import extreme_eigenvalues, prepare_rows


def run(*arguments):
    return CliRunner().invoke(app, ["kernel", "spectrum", *(str(a) for a in arguments)])


def test_prints_both_ends_and_the_width(tmp_path):
    result = run("digits", "--rows", 120, "--prepare", "zero-mean", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    true = extreme_eigenvalues(prepare_rows(load("digits").x[:120].double(), "zero-mean"))
    lines = dict(line.split(" ", 1) for line in result.stdout.splitlines())
    assert lines["examples"] == "120"
    assert float(lines["largest"].split()[0]) == pytest.approx(true.largest, rel=1e-8)
    assert float(lines["smallest"].split()[0]) == pytest.approx(true.smallest, rel=1e-8)
    assert int(lines["width"]) == true.width()
    assert json.loads((tmp_path / "result.json").read_text())["smallest"] == pytest.approx(true.smallest, rel=1e-8)
    assert not list(tmp_path.glob("tile-*"))
    assert run("digits", "--rows", 120, "--prepare", "zero-mean", "--out", tmp_path).stdout == result.stdout


def test_other_activations_have_no_kappa_of_their_own(tmp_path):
    result = run("digits", "--rows", 40, "--activation", "erf", "--precision", "single", "--keep", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "kappa" not in result.stdout
    assert list(tmp_path.glob("tile-*"))


def test_a_csv_file(tmp_path):
    rows = torch.rand(30, 4).tolist()
    lines = ["a,b,c,y", *(",".join(f"{v:.6f}" for v in row) for row in rows)]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    result = run(tmp_path / "t.csv", "--target", "y", "--out", tmp_path / "o")
    assert result.exit_code == 0, result.output
    assert "examples 30" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nosuchdata",), "nosuchdata"),
        (("digits", "--rows", "1"), "--rows: got 1"),
        (("digits", "--rows", "99999"), "--rows: got 99999"),
        (("digits", "--rows", "9", "--prepare", "raw"), "--prepare: got 'raw'"),
        (("digits", "--rows", "9", "--activation", "relux"), "relux"),
        (("digits", "--rows", "9", "--precision", "half"), "precision: got 'half'"),
        (("digits", "--rows", "9", "--tolerance", "0"), "tolerance: got 0"),
        (("digits", "--rows", "9", "--activation", "sign"), "activation: got sign, with inf on the diagonal"),
    ],
)
def test_bad_options_give_one_line(tmp_path, arguments, said):
    result = run(*arguments, "--out", tmp_path)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.strip().count("\n") == 0


def test_another_task_in_the_folder(tmp_path):
    assert run("digits", "--rows", 30, "--out", tmp_path).exit_code == 0
    result = run("digits", "--rows", 31, "--out", tmp_path)
    assert result.exit_code == 2
    assert "holds another task" in result.stderr


def test_progress_is_lines_where_there_is_no_terminal(tmp_path, monkeypatch):
    monkeypatch.setattr("widthwise.cli.console._EVERY", 0.0)
    result = run("digits", "--rows", 40, "--out", tmp_path)
    stages = ["factor", "residual"]
    lines = [[line for line in result.stderr.splitlines() if f"s: {stage}, 100%" in line] for stage in stages]
    assert all(lines)
    assert "100%" not in result.stdout
