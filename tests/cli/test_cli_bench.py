"""``widthwise bench`` as a user meets it."""

from __future__ import annotations

import csv
import json

import pytest
from typer.testing import CliRunner

from widthwise.cli import app
from widthwise.sparse import measure

TINY = ["mlp", "--set", "width=16", "--input", "8", "--batch", "4", "--rounds", "3", "--seconds", "0"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WIDTHWISE_CACHE", str(tmp_path / "cache"))


def run(*arguments: object):
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def test_bench_prints_a_table_and_writes_its_files(tmp_path):
    result = run(*TINY, "--sparsity", "0.9", "--sparsity", "0.5", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    for word in ("hidden1", "output", "model", "break-even", "0.5", "0.9", "speed.svg"):
        assert word in result.output
    rows = list(csv.DictReader((tmp_path / "speed.csv").read_text().splitlines()))
    assert len(rows) == 12
    held = json.loads((tmp_path / "speed.json").read_text())
    assert len(held["speeds"]) == 12
    assert held["settings"] == {"model": "mlp", "arguments": ["width=16"], "input": [8], "batch": 4}
    assert held["machine"]["torch"]
    assert "<svg" in (tmp_path / "speed.svg").read_text()


def test_ctrl_c_keeps_what_was_measured(tmp_path, monkeypatch):
    whole = measure.measure_speeds

    def interrupted(*arguments, **options):
        for i, speed in enumerate(whole(*arguments, **options)):
            if i == 3:
                raise KeyboardInterrupt
            yield speed

    monkeypatch.setattr(measure, "measure_speeds", interrupted)
    result = run(*TINY, "--sparsity", "0.9", "--sparsity", "0.5", "--out", tmp_path)
    assert result.exit_code == 130
    assert "3 of 12 measurements are done and kept" in result.stderr
    assert len(list(csv.DictReader((tmp_path / "speed.csv").read_text().splitlines()))) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mpl"], ["mpl", "mlp"]),
        (["mlp", "--input", "3x"], ["--input", "784"]),
        (["mlp", "--input", "0"], ["--input"]),
        (["mlp", "--sparsity", "1"], ["--sparsity", "1"]),
        (["mlp", "--batch", "0"], ["--batch"]),
        (["mlp", "--threads", "0"], ["--threads"]),
        (["mlp", "--threads", "100000"], ["--threads", "100000", "1 to 1024"]),
        (["mlp", "--input", "8", "--batch", "100000000000"], ["memory:", "GiB were asked for"]),
        (["mlp", "--input", "8", "--set", "width=1000000000000"], ["memory:", "GiB were asked for"]),
        (["mlp", "--set", f"width={10**22}"], ["width: got", "below 2**63"]),
        (["mlp", "--set", f"depth={10**11}"], ["depth: got", "0 to 1000000"]),
        (["mlp", "--set", "bias=maybe"], ["bias: got 'maybe'", "True or False"]),
        (["mlp", "--outputs", "0"], ["--outputs"]),
        (["mlp", "--seed", "-1"], ["--seed: got -1"]),
        (["mlp", "--seed", f"{10**20}"], ["--seed: got", "below 2**63"]),
        (["torch:zeros"], ["torch:zeros cannot be built", "TypeError"]),
        (["mlp", "--rounds", "1"], ["rounds"]),
        (["mlp", "--set", "width"], ["--set", "name=value"]),
        (["resnet20", "--input", "7"], ["shape", "7"]),
        (["gpt", "--input", "7"], ["example"]),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(tmp_path, arguments, said):
    result = run(*arguments, "--out", tmp_path / "out")
    assert result.exit_code == 2, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    for word in said:
        assert word in lines[0]
    assert not (tmp_path / "out").exists()


def test_a_network_of_ones_own_in_a_file(tmp_path):
    (tmp_path / "mine.py").write_text("from torch import nn\ndef tiny():\n    return nn.Sequential(nn.Linear(8, 6))\n")
    result = run(f"{tmp_path / 'mine.py'}:tiny", *TINY[3:], "--sparsity", "0.5", "--out", tmp_path)
    assert result.exit_code == 0, result.output
