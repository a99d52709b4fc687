"""What somebody tries in the first hour, and that the answer says what to do."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from typer.testing import CliRunner

import widthwise as ww
from widthwise.cli import app
from widthwise.errors import CollapseError, DataError, InputError, InputTypeError

X, Y = torch.linspace(-1, 1, 128).reshape(16, 8), torch.arange(16) % 3


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))


class TwoInputs(nn.Module):
    """A network of two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, a, b):
        return self.a(a) + self.b(b)


def test_a_sparse_model_is_refused_and_left_as_it_was():
    model = network()
    ww.prune(model, 0.5, "random", seed=1)
    sparse = ww.sparsify(model, policy="always")
    before = {name: value.clone() for name, value in sparse.state_dict().items()}
    with pytest.raises(InputError, match=r"layer '0' is sparse already, SparseLinear; .*widthwise.densify"):
        ww.prune(sparse, 0.8, "magnitude")
    assert all(torch.equal(value, before[name]) for name, value in sparse.state_dict().items())
    assert ww.prune(ww.densify(sparse), 0.8, "random").sparsity == pytest.approx(0.8, abs=0.01)


def test_a_partly_sparse_model_is_refused_rather_than_pruned_elsewhere():
    inner = nn.Linear(8, 6)
    ww.prune(inner, 0.5, "magnitude")
    model = nn.Sequential(nn.Linear(8, 8), ww.sparsify(inner, policy="always"))
    with pytest.raises(InputError, match="layer '1' is sparse already"):
        ww.prune(model, 0.5, "magnitude")


@pytest.mark.parametrize("percent", [95, 95.0, 99.5])
def test_a_sparsity_in_percent(percent):
    with pytest.raises(InputError, match=rf"sparsity: got {percent}, .*pass {percent / 100:g}"):
        ww.prune(network(), percent, "magnitude")


def test_a_method_in_capitals():
    with pytest.raises(InputError, match="did you mean 'snip'"):
        ww.prune(network(), 0.5, "SNIP", data=(X, Y), loss=functional.cross_entropy)


def test_a_score_of_two_arguments_is_refused_when_registered_and_when_used():
    def score(model, data):
        return {}

    with pytest.raises(InputTypeError, match=r"got score\(model, data\), allowed is a function \(model, data, loss\)"):
        ww.register_score("of-two")(score)
    assert "of-two" not in ww.pruning.score_names()
    with pytest.raises(InputTypeError, match=r"got score\(model, data\)"):
        ww.prune(network(), 0.5, score)


@pytest.mark.parametrize("y", [Y + 5, Y[:8]])
def test_labels_that_the_loss_refuses(y):
    with pytest.raises(InputError, match=r"loss: fails on an output of shape \(16, 3\)"):
        ww.prune(network(), 0.5, "snip", data=(X, y), loss=functional.cross_entropy)


def test_two_inputs():
    with pytest.raises(InputTypeError, match="a model of several inputs: wrap it"):
        ww.prune(TwoInputs(), 0.5, "snip", data=((X, X), Y), loss=functional.cross_entropy)
    with pytest.raises(InputTypeError, match="a model of several inputs: wrap it"):
        ww.prune(TwoInputs(), 0.5, "snip", data=[((X, X), Y)], loss=functional.cross_entropy)
    with pytest.raises(InputError, match="model: fails on one example of ones.*missing 1 required"):
        ww.prune(TwoInputs(), 0.5, "synflow")


def test_a_collapse_in_one_of_many_rounds_says_so():
    model = network()
    with torch.no_grad():
        model[2].weight.mul_(1e-6)
    with pytest.raises(CollapseError, match=r"in round [0-9]+ of 50 on the way to 0\.89"):
        ww.prune(model, 0.9, "magnitude", rounds=50)
    with pytest.raises(CollapseError, match="at sparsity 0.89") as error:
        ww.prune(model, 0.9, "magnitude")
    assert "round 1" not in str(error.value)


def test_every_public_name_is_listed():
    code = "import widthwise; print(*dir(widthwise))"
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(ww.__all__) <= set(listed)
    assert not {"Any", "TYPE_CHECKING", "import_module"} & set(listed)


def test_a_built_in_model_with_a_function_of_ones_own_is_saved_as_ones_own(tmp_path):
    def bent(x):
        return torch.tanh(x) + 0.1 * x

    model = ww.models.mlp(4, 2, width=3, activation=bent)
    ww.save(model, tmp_path / "m")
    with pytest.raises(InputError, match=r"holds a network of your own; build it and pass it"):
        ww.load(tmp_path / "m")
    again = ww.load(tmp_path / "m", ww.models.mlp(4, 2, width=3, activation=bent))
    assert torch.equal(again(X[:, :4]), model(X[:, :4]))


def test_save_and_load_say_which_argument_is_wrong(tmp_path):
    with pytest.raises(InputTypeError, match=r"about: got .*Linear.* for 'net', allowed are JSON values"):
        ww.save(network(), tmp_path / "m", about={"net": nn.Linear})
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputTypeError, match=r"(?s)path: got .*Sequential, allowed is the path of a file"):
        ww.load(network(), "m")


def test_files_of_another_kind(tmp_path):
    save_file(network().state_dict(), tmp_path / "plain")
    with pytest.raises(DataError, match=r"it holds plain tensors, for safetensors\.torch\.load_file"):
        ww.load(tmp_path / "plain", network())
    ww.prune(network(), 0.5, "random").save(tmp_path / "mask")
    with pytest.raises(DataError, match=r"it is a widthwise\.mask file"):
        ww.load(tmp_path / "mask", network())


def test_a_factory_that_forgets_to_return():
    with pytest.raises(
        InputTypeError, match=r"build: .*lambda.* returned None of type NoneType, allowed is an nn.Module"
    ):
        ww.compare((X, Y), lambda width: None, base_width=2, factors=(2,), seeds=1)


@pytest.mark.parametrize("x", [X[:, :5], X[:, None, :3]])
def test_a_kernel_of_examples_that_the_model_does_not_take(x):
    with pytest.raises(InputError, match=rf"model: fails on examples of shape \({x.shape[1]},"):
        ww.kernels.empirical_ntk(network(), x)


def test_a_model_whose_activation_is_a_module_of_ones_own():
    class Bent(nn.Module):
        def forward(self, x):
            return torch.tanh(x) + 0.1 * x

    model = nn.Sequential(nn.Linear(8, 6), Bent(), nn.Linear(6, 3))
    with pytest.raises(InputError, match="activation: .*or pass its function"):
        ww.init.edge_of_chaos_(model)
    ww.init.edge_of_chaos_(model, activation=Bent())


def test_bench_of_one_sparsity_says_what_is_wrong_with_it_and_draws_without_a_warning(tmp_path):
    wrong = CliRunner().invoke(app, ["bench", "mlp", "--input", "8", "--sparsity", "90"])
    assert (wrong.exit_code, "--sparsity: got 90.0" in wrong.output) == (2, True)
    from widthwise.report.speed import speed_figure
    from widthwise.sparse.measure import measure_speeds

    speeds = list(measure_speeds(network(), X, [0.5], rounds=3, seconds=0.01))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        speed_figure(speeds).savefig(tmp_path / "speed.svg")
    assert (tmp_path / "speed.svg").stat().st_size > 1000


def test_the_bayesian_recipe_of_the_page_conditions_a_joint_normal_distribution():
    page = (Path(__file__).parents[2] / "docs" / "infinite-width.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL)[:3]:
        exec(block, names)
    x, y, new, network = (names[name] for name in ("x", "y", "new", "network"))
    joint = network.nngp(torch.cat([x, new]))
    joint[: len(x), : len(x)] += names["noise"] * torch.eye(len(x), dtype=joint.dtype)
    precision = torch.linalg.inv(joint)[len(x) :]
    covariance = torch.linalg.inv(precision[:, len(x) :])  # by the block inverse, not by solving with the training part
    torch.testing.assert_close(names["variance"], covariance.diag(), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(names["mean"].flatten(), -covariance @ precision[:, : len(x)] @ y, rtol=1e-6, atol=1e-9)


def test_a_file_whose_activation_is_not_registered_names_it(tmp_path, monkeypatch):
    registered: dict[str, Any] = {}
    monkeypatch.setattr("widthwise.activations.registry._REGISTERED", registered)
    ww.activations.register(ww.activations.Activation("bent_by_me", lambda x: torch.tanh(x) + 0.1 * x))
    model = ww.models.mlp(8, 3, width=4, activation="bent_by_me").eval()
    ww.save(model, tmp_path / "m")
    mine = registered.pop("bent_by_me")
    with pytest.raises(InputError, match=r"of 'bent_by_me', a name that is not registered; before loading, call"):
        ww.load(tmp_path / "m")
    ww.activations.register(mine)
    assert torch.equal(ww.load(tmp_path / "m")(X), model(X))
