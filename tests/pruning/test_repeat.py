"""Train, prune, repeat."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from widthwise.errors import InputError, InputTypeError
from widthwise.masks import Mask
from widthwise.pruning import prune, train_prune_repeat


def task():
    """Eight inputs of which two matter, linearly separable."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(200, 8, generator=generator)
    return x, (x[:, 0] + x[:, 1] > 0).long()


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(8, 12), nn.Tanh(), nn.Linear(12, 2))


class Training:
    def __init__(self):
        self.kept: list[int] = []

    def __call__(self, model):
        mask = Mask.of(model)
        self.kept.append(120 if mask is None else mask.kept)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
        x, y = task()
        for _ in range(60):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()


def accuracy(model):
    x, y = task()
    return (model(x).argmax(1) == y).double().mean().item()


@pytest.mark.parametrize("method", ["obd", "magnitude"])
def test_numbers_fall_by_the_same_factor_and_training_follows_each(method):
    model, train = network(), Training()
    mask = train_prune_repeat(
        model, train, method=method, data=task(), loss=functional.cross_entropy, budget=15, cycles=3
    )
    assert train.kept == [120, 60, 30, 15]
    assert mask.kept == 15
    assert Mask.of(model) == mask
    assert accuracy(model) > 0.95


def test_obd_finds_the_weights_that_matter_better_than_chance():
    model = network()
    Training()(model)
    twin = copy.deepcopy(model)
    x, y = task()
    mask = prune(model, 0.6, "obd", (x, y), functional.cross_entropy)
    prune(twin, 0.6, "random", seed=1)
    assert functional.cross_entropy(model(x), y) < 0.5 * functional.cross_entropy(twin(x), y)
    by_input = mask["0.weight"].sum(0)
    assert by_input[:2].min() > by_input[2:].max()


def test_bad_arguments_are_refused_before_training():
    model, train = network(), Training()
    arguments = {"data": task(), "loss": functional.cross_entropy}
    with pytest.raises(InputTypeError, match="train: got NoneType"):
        train_prune_repeat(model, None, 0.5, **arguments)
    with pytest.raises(InputError, match="cycles"):
        train_prune_repeat(model, train, 0.5, cycles=0, **arguments)
    with pytest.raises(InputError, match="sparsity, budget"):
        train_prune_repeat(model, train, **arguments)
    with pytest.raises(InputError, match="method: got 'obx'"):
        train_prune_repeat(model, train, 0.5, "obx", **arguments)
    assert train.kept == []
