from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from typer.testing import CliRunner

import widthwise as ww
from widthwise.cli.compress import compress_command
from widthwise.compression.files import compress_file
from widthwise.errors import DataError, InputError

app = typer.Typer()
app.command()(compress_command)
DIGITS = 64


@pytest.fixture
def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(DIGITS, 40), nn.ReLU(), nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 3))


@pytest.fixture
def file(net: nn.Sequential, tmp_path: Path) -> Path:
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def inputs() -> Tensor:
    return torch.randn(200, DIGITS, generator=torch.Generator().manual_seed(1))


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_block_is_replaced_and_the_rest_kept(net, file, tmp_path):
    reports = compress_file(file, "0", 12, tmp_path / "out", data=inputs(), iterations=10)
    new = load_file(tmp_path / "out" / "model.safetensors")
    small = nn.Sequential(nn.Linear(DIGITS, 12), nn.ReLU(), nn.Linear(12, 30), nn.ReLU(), nn.Linear(30, 3))
    small.load_state_dict(new)
    assert torch.equal(new["4.weight"], net[4].weight)
    with torch.no_grad():
        wanted, got = (model[2](model[1](model[0](inputs()))) for model in (net, small))
    missed = ((wanted - got).square().sum() / (wanted - wanted.mean(0)).square().sum()).item()
    assert missed == pytest.approx(reports["optimal"].blocks[0].error, rel=0.5)
    assert all(reports["optimal"].blocks[0].error <= other.blocks[0].error for other in reports.values())


def test_what_is_written_beside_it(file, tmp_path):
    compress_file(file, "2.weight", 6, tmp_path / "a" / "b", iterations=3)
    record = json.loads((tmp_path / "a" / "b" / "report.json").read_text())
    assert (record["layer"], record["second"], record["M"]) == ("2", "4", 6)
    assert set(record["methods"]) == {"optimal", "greedy", "kmeans", "magnitude", "merge", "random"}
    (block,) = record["methods"]["optimal"]["blocks"]
    assert (block["first"], block["second"]) == ("2", "4")
    assert [M for M, _ in block["curve"]] == [1, 3, 6]
    assert "<svg" in (tmp_path / "a" / "b" / "curve.svg").read_text()


def test_half_precision_and_layers_without_bias(tmp_path):
    tensors = {"up.weight": torch.randn(20, 5).half(), "down.weight": torch.randn(2, 20).half()}
    save_file(tensors, tmp_path / "half.safetensors")
    compress_file(tmp_path / "half.safetensors", "up", 6, tmp_path, second="down", activation="gelu", iterations=3)
    new = load_file(tmp_path / "model.safetensors")
    assert {name: (tuple(t.shape), t.dtype) for name, t in new.items()} == {
        "up.weight": ((6, 5), torch.float16),
        "up.bias": ((6,), torch.float16),
        "down.weight": ((2, 6), torch.float16),
        "down.bias": ((2,), torch.float16),
    }


def test_metadata_are_kept(net, file, tmp_path):
    save_file(load_file(file), file, {"format": "pt"})
    compress_file(file, "0", 12, tmp_path / "out", iterations=2)
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as new:
        assert new.metadata() == {"format": "pt"}


def test_a_file_of_ours_stays_one(tmp_path):
    ww.save(ww.models.mlp(6, 3, width=20, depth=1), tmp_path / "ours.safetensors", about={"classes": ["a", "b", "c"]})
    with safe_open(tmp_path / "ours.safetensors", "pt") as ours:
        first = sorted(name for name in ours.keys() if name.endswith(".weight"))[0]  # noqa: SIM118  # not a mapping
    compress_file(tmp_path / "ours.safetensors", first, 5, tmp_path / "out", iterations=2)
    with pytest.raises(InputError, match="build it and pass it"):
        ww.load(tmp_path / "out" / "model.safetensors")
    small = ww.load(tmp_path / "out" / "model.safetensors", ww.models.mlp(6, 3, width=5, depth=1))
    assert small(torch.zeros(2, 6)).shape == (2, 3)


def test_the_file_itself_is_not_replaced(file, tmp_path):
    before = file.rename(tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match=r"out: .* model\.safetensors is the file itself"):
        compress_file(tmp_path / "model.safetensors", "0", 12, tmp_path / "." / "")
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_layers_are_counted_as_numbers(tmp_path):
    tensors = {f"{i}.weight": torch.randn(4, 4) for i in (0, 2, 10)}
    save_file(tensors, tmp_path / "deep.safetensors")
    compress_file(tmp_path / "deep.safetensors", "2", 2, tmp_path, iterations=2)
    assert json.loads((tmp_path / "report.json").read_text())["second"] == "10"


def test_the_command_prints_what_it_found(file, tmp_path):
    result = run(file, "--layer", "0", "--to", 8, "--data", "digits", "--iterations", 5, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "optimal: error" in result.output
    assert "random: error" in result.output
    assert "from the data" in result.output
    assert (tmp_path / "out" / "curve.svg").exists()


def test_a_test_part_of_one_row_is_enough_where_nothing_is_judged_by_it(file, tmp_path):
    x, y = inputs().numpy(), np.arange(200.0)
    np.savez(tmp_path / "own.npz", x=x[1:], y=y[1:], x_test=x[:1], y_test=y[:1])
    own = ("--data", tmp_path / "own.npz", "--iterations", 2)
    result = run(file, "--layer", "0", "--to", 8, *own, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--layer", "1", "--to", 4), "layer: got '1', allowed are 0, 2, 4"),
        (("--layer", "0", "--to", 41), "--to: got 41, allowed is a whole number, 1 to 39"),
        (("--layer", "0", "--to", 40), "--to: got 40"),
        (("--layer", "0", "--to", 0), "--to: got 0"),
        (("--layer", "0", "--to", 4, "--second", "4"), "second: got 4 with 30 inputs"),
        (("--layer", "0", "--to", 4, "--second", "0"), "second: got 0 with 64 inputs"),
        (("--layer", "4", "--to", 2), "second: no layer after 4 has 3 inputs"),
        (("--layer", "0", "--to", 4, "--activation", "rellu"), "did you mean 'relu'"),
        (("--layer", "2", "--to", 4, "--data", "digits"), "data: the model fails on it"),
        (("--layer", "0", "--to", 4, "--data", "no-such-set"), "no-such-set"),
    ],
)
def test_mistakes_take_one_line(file, tmp_path, arguments, message):
    result = run(file, *arguments, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert result.output.startswith("error:")
    assert message in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"0.weight": torch.full((4, 4), float("nan"))}, r"0\.weight: 16 of 16"),
        ({"0.weight": torch.ones(4, 4, dtype=torch.int8)}, r"0\.weight: got dtype torch.int8"),
        ({"0.weight": torch.ones(4, 4, dtype=torch.complex64)}, r"0\.weight: got dtype torch.complex64"),
        ({"2.weight": torch.ones(2, 4).to(torch.float8_e4m3fn)}, r"2\.weight: got dtype torch.float8"),
        ({"0.weight": torch.ones(4, 0)}, r"0\.weight: got shape \(4, 0\)"),
        ({"0.bias": torch.ones(3)}, r"0\.bias: got shape \(3,\), allowed is \(4\)"),
        ({"0.bias": torch.full((4,), float("inf"))}, r"0\.bias: 4 of 4"),
        ({"2.bias": torch.ones(2, 1)}, r"2\.bias: got shape \(2, 1\)"),
        ({"0.weight": torch.ones(1, 4), "2.weight": torch.ones(2, 1)}, "layer: got 0 with 1 hidden unit"),
        ({"0.weight": 60000 * torch.eye(4).half(), "2.weight": torch.full((2, 4), 60000.0).half()}, "as torch.float16"),
        ({"mask:0.weight": torch.ones(4, 4, dtype=torch.uint8)}, "with a mask"),
    ],
)
def test_bad_weights(tmp_path, change, message):
    tensors = {"0.weight": torch.randn(4, 4), "2.weight": torch.ones(2, 4)}
    save_file(tensors | change, tmp_path / "bad.safetensors")
    with pytest.raises(InputError, match=message):
        compress_file(tmp_path / "bad.safetensors", "0", 2, tmp_path / "out", iterations=2)
    assert not (tmp_path / "out").exists()


def test_files_that_are_none(tmp_path):
    path = tmp_path / "net.safetensors"
    with pytest.raises(DataError, match=r"net\.safetensors"):
        compress_file(path, "0", 2, tmp_path)
    save_file({"0.weight": torch.randn(4, 4), "2.weight": torch.ones(2, 4)}, path)
    whole = path.read_bytes()
    save_file({"0.weight": torch.ones(4, 4)}, tmp_path / "odd.safetensors", {"widthwise.model": "[1"})
    with pytest.raises(DataError, match=r"odd\.safetensors: cannot be read"):
        compress_file(tmp_path / "odd.safetensors", "0", 2, tmp_path)
    for damaged in (b"", b"not at all", whole[:-1], whole[:20], b"\xff" * 8 + whole[8:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"net\.safetensors: is no safetensors file"):
            compress_file(path, "0", 2, tmp_path)
