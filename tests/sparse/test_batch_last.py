"""BatchNorm and pooling of batch-last tensors are PyTorch's, and stay batch last."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from widthwise import errors
from widthwise.sparse._tiles import is_batch_last
from widthwise.sparse.batch_last import batch_last

LAYERS = [
    nn.BatchNorm2d(5),
    nn.BatchNorm2d(5, momentum=None, affine=False),
    nn.BatchNorm2d(5, track_running_stats=False),
    nn.MaxPool2d(2),
    nn.MaxPool2d(3, 2, 1, ceil_mode=True),
    nn.AvgPool2d((2, 3), 2, 1, count_include_pad=False),
    nn.AdaptiveAvgPool2d(1),
    nn.AdaptiveAvgPool2d((3, None)),
]


def lay(x: Tensor) -> Tensor:
    return x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)


@pytest.mark.parametrize("batch", [1, 6, 8])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_same_numbers_gradients_and_statistics(layer: nn.Module, training: bool, batch: int) -> None:
    theirs = copy.deepcopy(layer).train(training)
    ours = batch_last(copy.deepcopy(theirs))
    for lies in (lay, Tensor.contiguous):
        x = torch.randn(batch, 5, 6, 7, dtype=torch.float32)
        b, a = x.clone().requires_grad_(), lies(x).requires_grad_()
        got, wanted = ours(a), theirs(b)
        assert torch.allclose(got, wanted, atol=1e-5)
        assert is_batch_last(got) or lies is not lay
        slopes = torch.randn_like(wanted)
        got.backward(lies(slopes))
        wanted.backward(slopes)
        assert torch.allclose(a.grad, b.grad, atol=1e-5)
    for key, value in theirs.state_dict().items():
        assert torch.allclose(ours.state_dict()[key], value, atol=1e-5)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-4)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_there_and_back(layer: nn.Module) -> None:
    other = batch_last(layer)
    back = batch_last(other)
    assert type(back) is type(layer)
    assert repr(back) == repr(layer)
    assert list(other.state_dict()) == list(layer.state_dict())
    assert all(a is b for a, b in zip(layer.parameters(), other.parameters(), strict=True))


def test_an_empty_batch_and_one_example() -> None:
    pool = batch_last(nn.AdaptiveAvgPool2d(1))
    assert pool(torch.ones(0, 5, 4, 4)).shape == (0, 5, 1, 1)
    assert pool(torch.ones(5, 4, 4)).shape == (5, 1, 1)


def test_other_layers_are_refused() -> None:
    for layer in (nn.Linear(2, 2), nn.MaxPool2d(2, return_indices=True)):
        with pytest.raises(errors.InputTypeError, match="layer: got"):
            batch_last(layer)
