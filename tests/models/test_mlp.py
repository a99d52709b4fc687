"""Built-in perceptrons and their recipes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import widthwise as ww
from widthwise.errors import InputError, InputTypeError
from widthwise.models import Recipe, Standardize, build, mlp, names, recipe_of


@settings(deadline=None, max_examples=30)
@given(d=st.integers(1, 20), k=st.integers(1, 5), width=st.integers(1, 9), depth=st.integers(0, 4))
def test_the_number_of_weights_is_the_formula(d, k, width, depth):
    model = mlp(d, k, width=width, depth=depth)
    expected = width * (d + (depth - 1) * width + k) if depth else d * k
    assert sum(p.numel() for p in model.parameters() if p.dim() > 1) == expected
    assert model(torch.zeros(2, d)).shape == (2, k)


def test_a_recipe_rebuilds_the_model():
    model = mlp(4, 2, width=3, depth=2, activation="tanh", standardize=True)
    recipe = recipe_of(model)
    assert recipe == Recipe(
        "mlp",
        {
            "in_features": 4,
            "out_features": 2,
            "width": 3,
            "depth": 2,
            "activation": "tanh",
            "standardize": True,
        },
    )
    again = build(recipe)
    again.load_state_dict(model.state_dict())
    x = torch.randn(5, 2, 2)
    assert torch.equal(again(x), model(x))
    assert recipe_of(nn.Linear(2, 2)) is None
    assert "mlp" in names()


def test_standardize_maps_constant_features_to_zero():
    layer = Standardize(3)
    layer.mean.copy_(torch.tensor([1.0, 2.0, 5.0]))
    layer.scale.copy_(torch.tensor([2.0, 0.0, 1.0]))
    assert layer(torch.tensor([[3.0, 7.0, 5.0]])).tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_features": 0, "out_features": 1}, "in_features: got 0"),
        ({"in_features": 1, "out_features": 1, "width": 0}, "width: got 0"),
        ({"in_features": 1, "out_features": 1, "depth": -1}, "depth: got -1"),
        ({"in_features": 1, "out_features": 1, "depth": 10**11}, "depth: got 10{11}, allowed is .* 0 to 1000000"),
        ({"in_features": 1, "out_features": 1, "width": 10**22}, r"width: got 10{22}, allowed is .* below 2\*\*63"),
        ({"in_features": 1, "out_features": 1, "activation": "relo"}, "relu"),
    ],
)
def test_bad_sizes_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        mlp(**arguments)


def test_an_unknown_recipe_lists_the_known():
    with pytest.raises(InputError, match="allowed are .*mlp"):
        build(Recipe("mpl", {}))


@pytest.mark.parametrize("got", ["no", 0, None])
def test_a_switch_is_true_or_false(got):
    with pytest.raises(InputTypeError, match="bias: got .*, allowed is True or False"):
        mlp(2, 1, bias=got)


def test_a_switch_of_numpys_is_kept_as_one_of_pythons(tmp_path):
    ww.save(mlp(2, 1, width=3, bias=np.False_), tmp_path / "model")
    assert ww.load(tmp_path / "model")[1].bias is None
