"""NaN and infinity in weights, data or gradients end in an error that names the first layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from widthwise import prune, scores
from widthwise.errors import InputError

METHODS = ["random", "magnitude", "snip", "grasp", "synflow", "obd"]


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))


def batch():
    return torch.randn(8, 4), torch.randint(3, (8,))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("method", METHODS)
def test_weights(method, value):
    model = net()
    model[2].weight.data[1, 4] = value
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with pytest.raises(InputError, match=r"model: '2\.weight': 1 of 36 values are NaN or infinite, first at \(1, 4\)"):
        prune(model, 0.5, method, batch(), functional.cross_entropy)
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("method", ["snip", "grasp", "obd"])
def test_biases_and_data(method):
    model, (x, y) = net(), batch()
    model[2].bias.data[0] = torch.nan
    with pytest.raises(InputError, match=r"loss: got nan.*'2\.bias' holds"):
        prune(model, 0.5, method, (x, y), functional.cross_entropy)
    x[3, 1] = torch.inf
    with pytest.raises(InputError, match="loss: got nan.*the input holds"):
        prune(net(), 0.5, method, (x, y), lambda out, target: out.relu().log().sum() * 0)


@pytest.mark.parametrize("method", ["snip", "grasp", "obd"])
def test_a_gradient_alone(method):
    """The root of zero is finite and its slope is not: the loss says nothing, and the last layer gets it first."""

    def loss(output, y):
        return output.sub(output.detach()).abs().sqrt().sum()

    with pytest.raises(InputError, match=r"model: '4\.weight' is the first to get a gradient that is NaN or infinite"):
        prune(net(), 0.5, method, batch(), loss)


def test_synflow_alone_names_the_weight():
    model = net()
    model[0].weight.data[0, 0] = torch.nan
    with pytest.raises(InputError, match=r"model: '0\.weight': 1 of 24 values are NaN"):
        scores.synflow(model)
