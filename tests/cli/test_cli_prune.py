"""``widthwise prune`` as a user meets it."""

from __future__ import annotations

import sys
import warnings
import xml.etree.ElementTree as ElementTree

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import widthwise as ww
from widthwise.cli import app
from widthwise.errors import InputError
from widthwise.models.named import from_name
from widthwise.report.mask import mask_figure


def run(*arguments: object):
    return CliRunner().invoke(app, ["prune", *(str(a) for a in arguments)])


def own_network(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


class Unusual(nn.Module):
    """An activation in a function, and randomness."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(64, 20), nn.Linear(20, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.outer(torch.sin(self.inner(x.flatten(1))) + torch.randn(20))


def leaves() -> nn.Module:
    sys.exit("no licence")


def raises() -> nn.Module:
    raise KeyError("a\nmessage of two lines")


def without_values() -> nn.Module:
    with torch.device("meta"):
        return own_network()


def no_network() -> str:
    return "nothing"


@pytest.mark.parametrize("method", ["snip", "magnitude", "random", "synflow", "grasp"])
def test_it_writes_a_mask_a_model_a_table_and_a_picture(tmp_path, method):
    result = run("mlp", "--set", "width=50", "--sparsity", "0.9", "--method", method, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    mask = ww.Mask.load(tmp_path / "mask.safetensors")
    assert (mask.kept, mask.total) == (370, 3700)
    model = ww.load(tmp_path / "model.safetensors")
    assert ww.Mask.of(model) == mask
    assert sum(int(p.count_nonzero()) for p in ww.prunable(model).values()) == 370
    assert "hidden1.weight" in (tmp_path / "layers.txt").read_text()
    assert ElementTree.parse(tmp_path / "mask.svg").getroot().tag.endswith("svg")


def test_ones_own_factory_a_budget_and_rescaling(tmp_path):
    name = f"{__name__}:own_network"
    result = run(name, "--set", "width=9", "--budget", 100, "--rescale", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert ww.Mask.load(tmp_path / "mask.safetensors").kept == 100
    assert "rule" in result.output
    assert torch.isfinite(ww.load(tmp_path / "model.safetensors", own_network(9))(torch.randn(2, 64))).all()


def test_an_activation_that_cannot_be_read_off_is_asked_for_and_randomness_is_said(tmp_path):
    network = f"{__name__}:Unusual"
    asked = run(network, "--rescale", "--out", tmp_path)
    assert (asked.exit_code, "known activation" in asked.stderr) == (2, True)
    told = run(network, "--edge-of-chaos", "--rescale", "--activation", "sin", "--out", tmp_path)
    assert told.exit_code == 0, told.output
    assert told.stderr.startswith("warning: model: its forward pass draws random numbers")
    assert len(told.stderr.splitlines()) == 1
    assert "sigma_w = 1\n" in told.output


def test_a_table_of_few_rows_is_enough_where_nothing_is_judged(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("a,b,c\n" + "".join(f"{i},{i * i},{i}.5\n" for i in range(5)))
    result = run("mlp", "--data", table, "--target", "c", "--sparsity", "0.5", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output


def test_a_deep_network_is_pruned_on_the_edge_of_chaos_only(tmp_path):
    deep = ("mlp", "--set", "depth=30", "--set", "activation=tanh", "--set", "width=32", "--out", tmp_path)
    refused = run(*deep)
    assert refused.exit_code == 2
    assert "more; the critical sparsity of its scores is 0." in refused.stderr
    assert run(*deep, "--edge-of-chaos").exit_code == 0
    warned = run(*deep, "--on-collapse", "warn")
    assert warned.exit_code == 0
    assert warned.stderr.startswith("warning: mask: layer 'hidden1.weight'")


@pytest.mark.parametrize("name", ["network_of_mine:tiny", "network_of_mine.py:tiny"])
def test_a_network_in_the_current_folder_is_found(tmp_path, monkeypatch, name):
    (tmp_path / "network_of_mine.py").write_text(
        "from torch import nn\ndef tiny():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [part for part in sys.path if part])
    result = run(name, "--out", "out")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mpl"], "did you mean 'mlp'"),
        (["mlp", "--set", "wide=3"], "width"),
        (["mlp", "--set", "width"], "name=value"),
        (["mlp", "--sparsity", "1"], "sparsity: got 1"),
        (["mlp", "--method", "snipp"], "snip"),
        (["mlp", "--sparsity", "0.9999"], "critical sparsity"),
        (["nowhere.module:factory"], "cannot be imported"),
        (["nowhere.py:factory"], "model: there is no file"),
        ([f"{__name__}:own_netwrok"], "did you mean 'own_network'"),
        (["own_network"], "or a function of yours, as package.module:factory or file.py:factory"),
        ([f"{__name__}:no_network"], "returned a str"),
        ([f"{__name__}:own_network", "--set", "width=zero"], "cannot be built"),
        ([f"{__name__}:Unusual", "--set", "classes=3"], "does not fit the data, examples of shape (1, 8, 8)"),
        (["gpt"], "does not fit the data"),
        ([f"{__name__}:raises"], "raises cannot be built (KeyError: 'a"),
        (
            [f"{__name__}:leaves"],
            "leaves cannot be built (SystemExit: no licence at test_cli_prune.py:41); give its arguments",
        ),
        ([f"{__name__}:without_values"], "is on the meta device and has no values"),
    ],
)
def test_errors_are_one_line_and_nothing_is_written(tmp_path, arguments, said):
    result = run(*arguments, "--out", tmp_path / "out")
    assert result.exit_code == 2, result.output
    assert len(result.stderr.strip().splitlines()) == 1
    assert said in result.stderr
    assert not (tmp_path / "out").exists()


BROKEN = """\
import torch
from torch import nn
import parts_of_mine
def built():
    return parts_of_mine.layer(0)
def inherited():
    return nn.Linear(3, -1)
class Runs(nn.Linear):
    def __init__(self):
        super().__init__(64, 10)
    def forward(self, x):
        return super().forward(torch.cat([x, x]))
def asserts(width=2):
    assert width == 3
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("broken_of_mine.py:built", "by zero at parts_of_mine.py:2)"),
        ("broken_of_mine:inherited", "at broken_of_mine.py:7)"),
        ("broken_of_mine.py:Runs", "at broken_of_mine.py:12"),
        ("broken_of_mine.py:asserts", "(AssertionError at broken_of_mine.py:14)"),
        ("unfinished_of_mine.py:net", "NameError: name 'torhc' is not defined at unfinished_of_mine.py:2)"),
        ("unfinished_of_mine:net", "NameError: name 'torhc' is not defined at unfinished_of_mine.py:2)"),
    ],
)
def test_an_error_in_code_of_the_users_names_its_own_line_there(tmp_path, monkeypatch, name, said):
    (tmp_path / "broken_of_mine.py").write_text(BROKEN)
    (tmp_path / "parts_of_mine.py").write_text("def layer(width):\n    return 1 // width\n")
    (tmp_path / "unfinished_of_mine.py").write_text("import torch\nnet = torhc.nn.Linear\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for module in ("broken_of_mine", "parts_of_mine", "unfinished_of_mine"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    result = run(name, "--out", "out")
    assert (result.exit_code, len(result.stderr.strip().splitlines())) == (2, 1)
    assert said in result.stderr


def test_built_in_networks_are_sized_to_the_data():
    assert from_name("vanilla_cnn", {"depth": 3}, shape=(1, 8, 8), outputs=7)(torch.zeros(2, 1, 8, 8)).shape == (2, 7)
    assert from_name("mlp", shape=(3, 2, 2), outputs=4)(torch.zeros(2, 3, 2, 2)).shape == (2, 4)
    with pytest.raises(InputError, match="allowed are .*activation"):
        from_name("mlp", {"activations": "relu"})


def test_a_picture_of_many_layers_some_of_them_dead():
    mask = ww.Mask({f"layer{i}": torch.rand(30 + 7 * i, 20) < 0.1 * (i != 3) for i in range(12)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = mask_figure(mask)
    bars, units = figure.axes[:2]
    assert [text.get_text() for text in bars.texts] == ["dead"]
    assert units.images[0].get_array().shape == (12, 100)
