"""``widthwise kernel`` as a user meets it."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from typer.testing import CliRunner

from widthwise.cli import app
from widthwise.kernels import MLP


def run(*arguments: object):
    return CliRunner().invoke(app, ["kernel", *(str(a) for a in arguments)])


def digits(count: int) -> torch.Tensor:
    x = torch.from_numpy(load_digits().data[:count]).float()
    return (x - x.mean()) / x.std(correction=0)


def test_gram_writes_both_kernels_and_a_picture(tmp_path):
    result = run("gram", "digits", "--examples", 40, "--depth", 2, "--sigma-b", 0.1, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    for name, kernel in MLP(2, "relu", 2**0.5, 0.1).kernels(digits(40))._asdict().items():
        assert np.allclose(np.load(tmp_path / f"{name}.npy", allow_pickle=False), kernel.numpy(), rtol=1e-5, atol=1e-4)
    ElementTree.parse(tmp_path / "kernels.svg")
    assert str(tmp_path / "ntk.npy") in result.output


@pytest.mark.parametrize("network", ["mlp", "conv", "gap"])
def test_gram_of_every_network_in_one_file(tmp_path, network):
    chosen = ("--network", network, "--format", "safetensors", "--dtype", "float64", "--standardize", "pixel")
    result = run("gram", "digits", "--examples", 3, *chosen, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    kernels = load_file(tmp_path / "kernels.safetensors")
    assert set(kernels) == {"nngp", "ntk"}
    for kernel in kernels.values():
        assert kernel.dtype == torch.float64
        assert (torch.linalg.eigvalsh(kernel) > 0).all()


def test_predict_digits(tmp_path):
    result = run("predict", "digits", "--examples", 200, "--tests", 50, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    with (tmp_path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    right = sum(row["truth"] == row["predicted"] for row in rows) / 50
    summary = json.loads((tmp_path / "predictions.json").read_text())
    assert summary["score"] == right > 0.8
    assert f"test accuracy at time inf: {right:.4f}" in result.output
    assert summary["largest_learning_rate"] == pytest.approx(2 / summary["eigenvalues"][1], rel=1e-3)
    ElementTree.parse(tmp_path / "curve.svg")


def test_predict_a_table(tmp_path):
    x = np.random.default_rng(0).normal(size=(80, 3))
    y = np.sin(x[:, 0]) + x[:, 1]
    lines = ["a,b,c,y", *(",".join(map(str, (*row, value))) for row, value in zip(x, y, strict=True))]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    chosen = ("--target", "y", "--activation", "erf", "--time", 5)
    result = run("predict", tmp_path / "table.csv", *chosen, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "out" / "predictions.json").read_text())["score"] > 0.8


def test_predictions_of_regression_are_in_the_units_of_the_data(tmp_path):
    source = np.random.default_rng(0)
    x = source.normal(size=(60, 2))
    y = np.stack([1e4 + 50 * x[:, 0], 0.01 * np.sin(x[:, 1])], 1)
    np.savez(tmp_path / "table.npz", x=x.astype(np.float32), y=y.astype(np.float32))
    result = run("predict", tmp_path / "table.npz", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = [[[float(number) for number in cell.split()] for cell in row] for row in list(csv.reader(file))[1:]]
    truth, mean, std = np.array(rows).transpose(1, 0, 2)
    nearest = np.abs(truth[:, None] / [1e4, 0.01] - y / [1e4, 0.01]).max(2).min(1)
    assert (nearest < 1e-6).all()  # each is a target of the table
    assert (((mean - truth) ** 2).mean(0) < 0.2 * y.var(0)).all()
    assert np.allclose(std[:, 0] / std[:, 1], y.std(0)[0] / y.std(0)[1], rtol=0.5)
    said = result.output.split("mean standard deviation over initializations: ")[1].split("\n")[0]
    assert np.allclose([float(part) for part in said.split()], std.mean(0), rtol=1e-3)


def test_targets_by_which_no_score_can_be_had_are_one_line(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("a,b\n" + "".join(f"{i},{i == 7:d}.5\n" for i in range(50)))
    for more, said in [((), "target 0 is the same in all"), (("--tests", 1), "tests: got 1 examples")]:
        if more:
            table.write_text("a,b\n" + "".join(f"{i},{i}.5\n" for i in range(50)))
        result = run("predict", table, "--target", "b", *more, "--out", tmp_path / "out")
        assert result.exit_code == 2
        assert said in result.output
        assert len(result.output.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gram", "nothing"), "nothing"),
        (("gram", "digits", "--examples", 0), "examples: got 0"),
        (("gram", "digits", "--dtype", "half"), "dtype: got 'half'"),
        (("gram", "digits", "--format", "pickle"), "format: got 'pickle'"),
        (("gram", "digits", "--network", "lstm"), "network: got 'lstm'"),
        (("gram", "digits", "--standardize", "yes"), "standardize: got 'yes'"),
        (("gram", "digits", "--activation", "rleu"), "did you mean 'relu'"),
        (("predict", "digits", "--examples", 1), "examples: got 1"),
        (("predict", "digits", "--tests", 0), "tests: got 0"),
        (("predict", "digits", "--examples", 20, "--time", -1), "time: got -1"),
        (("predict", "digits", "--examples", 20, "--ridge", -1), "ridge: got -1"),
    ],
)
def test_bad_arguments_end_in_one_line(arguments, message, tmp_path):
    result = run(*arguments, "--out", tmp_path)
    assert result.exit_code == 2
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_help_says_what_the_kernels_are():
    for command, word in (("gram", "covariance of the outputs"), ("predict", "largest stable learning rate")):
        result = CliRunner().invoke(app, ["kernel", command, "--help"], env={"COLUMNS": "200"})
        assert word in " ".join(result.output.split())
