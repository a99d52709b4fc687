"""What somebody tries in the first hour, and that the answer says what to do."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import widthwise as ww
from widthwise.errors import CollapseError, InputError, InputTypeError

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
