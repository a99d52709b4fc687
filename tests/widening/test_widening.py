"""Wider networks of the same number of weights: exactly that many, and initialised for the fan-in they have."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from widthwise.errors import InputError
from widthwise.masks import Mask
from widthwise.models import mlp
from widthwise.weights import prunable
from widthwise.widening import sparsify_randomly, weights_at, widen, width_for


def convnet(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 2 * width, 3), nn.Flatten(),
        nn.Linear(2 * width * 16, 5),
    )  # fmt: skip


class Attention(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.attention = nn.MultiheadAttention(4 * width, 4)
        self.norm = nn.LayerNorm(4 * width)
        self.head = nn.Linear(4 * width, 3)


FACTORIES = {
    "one hidden layer": lambda w: mlp(17, 4, width=w),
    "deep": lambda w: mlp(9, 3, width=w, depth=4),
    "no bias": lambda w: mlp(9, 3, width=w, depth=2, bias=False),
    "conv": convnet,
    "attention": Attention,
    "lstm": lambda w: nn.LSTM(5, w, num_layers=2),
}


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(sorted(FACTORIES)), st.integers(1, 6), st.floats(1, 12), st.integers(0, 3))
def test_the_wide_network_has_exactly_the_narrow_ones_weights(name, base, factor, seed):
    build = FACTORIES[name]
    try:
        model, mask = widen(build, base, factor, seed=seed)
    except InputError as error:  # a layer would keep less than a weight for each unit: see the test below
        assume("factor: got" not in str(error))
        raise
    budget = sum(p.numel() for p in build(base).parameters() if p.dim() > 1)
    assert mask.kept == budget
    live = sum(int(p.count_nonzero()) for p in prunable(model).values())
    assert live <= budget  # equal, but for weights that the module itself starts at zero
    if name not in ("attention",):
        assert live == budget
    assert all(layer.kept for layer in mask.layers())


def test_what_stays_is_scaled_to_its_fan_in():
    dense = mlp(64, 10, width=96)
    torch.manual_seed(0)
    dense = mlp(64, 10, width=96)
    wide, mask = widen(lambda w: mlp(64, 10, width=w), 3, 32, seed=0)
    for layer in mask.layers():
        before, after = dense.get_parameter(layer.name), wide.get_parameter(layer.name)
        alive = mask[layer.name]
        torch.testing.assert_close(after[alive], before[alive] / math.sqrt(layer.connectivity))
    assert torch.equal(wide.hidden1.bias, dense.hidden1.bias)


def test_the_scale_of_signals_is_that_of_the_dense_network():
    """Monte Carlo: the variance of pre-activations, over many draws, does not know the mask."""
    x = torch.randn(200, 64)

    def variance(sparse: bool) -> float:
        values = []
        for seed in range(40):
            torch.manual_seed(seed)
            model = mlp(64, 10, width=96, bias=False)
            if sparse:
                sparsify_randomly(model, 600, seed=seed)
            values.append(model.hidden1(x).detach().var(unbiased=False))
        return float(torch.stack(values).mean())

    assert variance(sparse=True) == pytest.approx(variance(sparse=False), rel=0.1)


def test_the_mask_is_the_same_for_a_seed_and_in_force():
    build = FACTORIES["deep"]
    _, first = widen(build, 3, 3, seed=7)
    model, second = widen(build, 3, 3, seed=7)
    assert first == second == Mask.of(model)
    assert first != widen(build, 3, 3, seed=8)[1]


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    widen(FACTORIES["deep"], 3, 3, seed=7)
    assert torch.equal(torch.rand(3), expected)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(["one hidden layer", "deep", "conv"]), st.integers(1, 40))
def test_the_width_is_found_from_the_budget(name, width):
    build = FACTORIES[name]
    assert width_for(build, weights_at(build, width)) == width


def test_a_budget_between_two_widths_names_both():
    with pytest.raises(InputError, match=r"222 \(width 3\) and 296 \(width 4\)"):
        width_for(lambda w: mlp(64, 10, width=w), 223)
    with pytest.raises(InputError, match="budget: got 73, allowed is at least 74"):
        width_for(lambda w: mlp(64, 10, width=w), 73)


def test_a_factory_that_does_not_grow_is_refused():
    with pytest.raises(InputError, match="must grow with width"):
        width_for(lambda w: nn.Linear(4, 4), 20)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"base_width": 0, "factor": 2}, "base_width: got 0"),
        ({"base_width": 3, "factor": 0.5}, "factor: got 0.5"),
        ({"base_width": 3, "factor": float("nan")}, "factor: got nan"),
        ({"base_width": 3, "factor": 2, "method": "sparce"}, "did you mean 'sparse'"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        widen(FACTORIES["deep"], **arguments)


def test_a_budget_out_of_range_leaves_the_model_alone():
    model = mlp(6, 2, width=3)
    before = {n: p.clone() for n, p in model.state_dict().items()}
    for budget in (0, 1, 25):
        with pytest.raises(InputError, match="budget: got"):
            sparsify_randomly(model, budget)
    assert all(torch.equal(before[n], p) for n, p in model.state_dict().items())
    assert Mask.of(model) is None
