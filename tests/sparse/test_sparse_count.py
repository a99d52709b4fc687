"""Counts agree with PyTorch's own counter, with tensors that exist, and with sums done by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from widthwise.errors import InputError, InputTypeError
from widthwise.masks import Mask
from widthwise.models import mlp, resnet20
from widthwise.pruning import prune
from widthwise.sparse import sparsify
from widthwise.sparse.count import count


def tensors_bytes(model, optimizer):
    """Of all that a training step leaves behind, each storage once."""
    held = [*model.parameters(), *model.buffers(), *(p.grad for p in model.parameters())]
    held += [t for state in optimizer.state.values() for t in state.values() if isinstance(t, torch.Tensor) and t.dim()]
    return sum({t.untyped_storage().data_ptr(): t.nbytes for t in held}.values())


def train_step(model, x, optimizer):
    model(x).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (mlp(in_features=20, out_features=5, width=16, depth=3), (7, 20)),
        (resnet20(width=4), (2, 3, 16, 16)),
        (nn.Sequential(nn.Conv2d(4, 6, 3, stride=2), nn.ConvTranspose2d(6, 2, 3, stride=2)), (3, 4, 9, 9)),
    ],
)
def test_multiply_adds_of_dense_models_are_half_of_pytorchs_flops(model, shape):
    for weight in model.parameters():  # some are drawn as exactly zero
        weight.data[weight == 0] = 1
    x = torch.randn(shape)
    found = count(model, x).total
    with FlopCounterMode(display=False) as flops:
        y = model.eval()(x)
    assert 2 * found.forward == flops.get_total_flops()
    with FlopCounterMode(display=False) as flops:
        y.sum().backward()
    assert 2 * found.backward == flops.get_total_flops()
    assert found.step == found.forward + found.backward


def test_a_sparse_model_counts_as_the_masked_one_but_holds_less():
    model = mlp(in_features=64, out_features=10, width=128, depth=2)
    mask = prune(model, 0.95, "random")
    x = torch.randn(8, 64)
    masked = count(model, x)
    sparse = count(sparsify(model, policy="always"), x)
    for a, b in zip(masked.layers, sparse.layers, strict=True):
        assert (a.name, a.weights, a.kept, a.parameters) == (b.name, b.weights, b.kept, b.parameters)
        assert (a.forward, a.backward) == (b.forward, b.backward)
        assert b.memory < a.memory
    assert masked.total.kept == mask.kept
    assert masked.total.parameters == sum(p.numel() for p in model.parameters())
    first = sparse.layers[0]
    assert (first.forward, first.step) == (8 * first.kept, 16 * first.kept)  # the input wants no gradient
    assert sparse.layers[1].step == 24 * sparse.layers[1].kept


def test_sparse_convolutions_count_as_the_masked_ones():
    model = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, groups=2), nn.ReLU(), nn.Conv2d(6, 3, 1), nn.Flatten())
    prune(model, 0.5, "random")
    x = torch.randn(2, 4, 9, 9)
    masked, sparse = count(model, x), count(sparsify(model, policy="always"), x)
    for a, b in zip(masked.layers, sparse.layers, strict=True):
        assert (a.name, a.weights, a.kept, a.step) == (b.name, b.weights, b.kept, b.step)
    assert masked.layers[0].forward == 2 * 4 * 4 * masked.layers[0].kept


@pytest.mark.parametrize(
    ("make", "states"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1), 0),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), 1),
        (lambda p: torch.optim.Adam(p, lr=0.1), 2),
    ],
)
@pytest.mark.parametrize("sparse", [False, True])
def test_memory_is_that_of_the_tensors_that_exist(make, states, sparse):
    model = nn.Sequential(nn.Linear(30, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Linear(40, 5))
    if sparse:
        model[0].weight.data[torch.rand(40, 30) < 0.8] = 0
        sparsify(model, policy="always")
    optimizer = make(model.parameters())
    train_step(model, torch.randn(6, 30), optimizer)
    assert count(model, states=states).total.memory == tensors_bytes(model, optimizer)


@pytest.mark.parametrize("size", [1024, 2048])
def test_at_95_percent_a_layer_holds_at_most_an_eighth_of_the_dense_one(size):
    layer = nn.Linear(size, size)
    dense = count(layer).total.memory
    layer.weight.data[torch.rand(size, size) < 0.95] = 0
    sparse = count(sparsify(layer, policy="always")).total.memory
    assert sparse <= 0.12 * dense


def test_a_mask_is_memory_too_and_tied_weights_are_held_once():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    assert count(model).total.memory == 2 * 4 * 16
    lone = nn.Linear(4, 4, bias=False)
    Mask({"weight": torch.eye(4, dtype=torch.bool)}).apply(lone)
    assert count(lone).total.memory == 2 * 4 * 16 + 16


def test_frozen_layers_have_no_gradients_and_layers_not_reached_no_work():
    model = nn.ModuleDict({"a": nn.Linear(3, 2), "b": nn.Linear(3, 2)})
    model.forward = lambda x: model["a"](x)
    model["a"].weight.requires_grad_(False)
    a, b = count(model, torch.ones(5, 3)).layers
    assert (a.forward, a.backward, a.gradients) == (30, 0, 8)
    assert (b.forward, b.step) == (None, None)
    assert "-" in count(model).report()


def test_a_layer_used_twice_works_twice():
    layer = nn.Linear(3, 3)
    found = count(nn.Sequential(layer, layer), torch.ones(2, 3)).total
    assert (found.forward, found.backward) == (36, 18 + 36)
    assert found.weights == 9


def test_the_model_is_left_as_it_is():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Dropout()).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    count(model, torch.randn(1, 3))
    assert model.training
    assert model[1].training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not model[0]._forward_hooks


def test_groups_and_layers_without_weights():
    grouped = count(nn.Conv2d(4, 6, 3, groups=2), torch.ones(1, 4, 5, 5)).total
    assert grouped.forward == 6 * 2 * 9 * 9
    empty = sparsify(
        nn.Sequential(nn.Linear(3, 4)), Mask({"0.weight": torch.zeros(4, 3, dtype=torch.bool)}), policy="always"
    )
    assert count(empty, torch.ones(2, 3)).total.forward == 0
    assert count(nn.ReLU()).layers == ()


def test_bad_arguments_are_refused():
    model = nn.Linear(3, 2)
    with pytest.raises(InputError, match=r"does not take shape \(2, 4\)"):
        count(model, torch.ones(2, 4))
    with pytest.raises(InputTypeError, match="example"):
        count(model, [1.0])
    with pytest.raises(InputTypeError, match="model"):
        count(3)
    with pytest.raises(InputError, match="states"):
        count(model, states=-1)
    with pytest.raises(InputError, match="'weight' has no shape yet"):
        count(nn.LazyLinear(3))
