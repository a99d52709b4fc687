"""A folded network computes what it did before."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import widthwise as ww
from widthwise import errors, models
from widthwise.sparse.batch_last import batch_last
from widthwise.sparse.conv import SparseConv2d
from widthwise.sparse.fold import fold_batch_norms
from widthwise.sparse.linear import SparseLinear


def settle(model: nn.Module) -> nn.Module:
    """Evaluation mode, with statistics and scales of no special value."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias)
    return model.eval()


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def check(model: nn.Module, x: Tensor, left: int = 0) -> nn.Module:
    with torch.no_grad():
        wanted = model(x)
        folded = fold_batch_norms(model)
        got = folded(x)
    assert norms(folded) == left
    assert float((got - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max())
    return folded


def thin(layer: nn.Conv2d | nn.Linear) -> None:
    layer.weight.data *= torch.rand(layer.weight.shape) < 0.4


def make_sparse(model: nn.Module) -> nn.Module:
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Conv2d):
            thin(module)
            model.set_submodule(name, SparseConv2d.from_conv2d(module))
        elif isinstance(module, nn.Linear):
            thin(module)
            model.set_submodule(name, SparseLinear.from_linear(module))
    return model


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("build", [lambda: models.resnet18(width=8), lambda: models.vgg16(width=1 / 16)])
def test_whole_networks(build, sparse: bool) -> None:
    model = settle(build())
    check(make_sparse(model) if sparse else model, torch.randn(3, 3, 32, 32))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_every_kind_of_layer(affine: bool, bias: bool) -> None:
    cases = [
        (nn.Linear(3, 4, bias=bias), nn.BatchNorm1d(4, affine=affine), (5, 3)),
        (nn.Conv1d(3, 4, 2, bias=bias), nn.BatchNorm1d(4, affine=affine), (5, 3, 6)),
        (nn.Conv2d(3, 6, 2, groups=3, bias=bias), nn.BatchNorm2d(6, affine=affine), (5, 3, 6, 6)),
        (nn.Conv3d(3, 4, 2, bias=bias), nn.BatchNorm3d(4, affine=affine), (5, 3, 4, 4, 4)),
        (nn.Conv2d(3, 4, 2, bias=bias), batch_last(nn.BatchNorm2d(4, affine=affine)), (5, 3, 6, 6)),
    ]
    for layer, norm, size in cases:
        model = settle(nn.Sequential(layer, norm, nn.ReLU()))
        twin = copy.deepcopy(model)
        check(model, torch.randn(size))
        if isinstance(layer, nn.Linear | nn.Conv2d):
            folded = check(make_sparse(twin), torch.randn(size))
            assert folded[0].bias.requires_grad


def test_zeros_stay_zero() -> None:
    layer = nn.Conv2d(3, 4, 3)
    thin(layer)
    mask = layer.weight != 0
    folded = check(settle(nn.Sequential(layer, nn.BatchNorm2d(4))), torch.randn(2, 3, 5, 5))
    assert torch.equal(folded[0].weight != 0, mask)


class Opaque(nn.Module):
    """Can't be followed, but its parts can."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(1 if x.sum() > 0 else 2):
            x = self.body(x)
        return self.head(x)


def test_a_model_that_cannot_be_followed() -> None:
    check(settle(Opaque()), torch.rand(2, 3, 6, 6) + 1)


class Reused(nn.Module):
    """The convolution's result is used a second time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y + self.norm(y)


def test_what_cannot_be_folded_stays() -> None:
    x = torch.randn(2, 3, 6, 6)
    check(settle(Reused()), x, left=1)
    check(settle(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))), x, left=1)
    check(settle(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4))), x, left=1)
    conv = nn.Conv2d(3, 3, 3)
    check(settle(nn.Sequential(conv, nn.BatchNorm2d(3), conv, nn.BatchNorm2d(3))), x, left=2)
    tied, other = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)
    other.weight = tied.weight
    check(settle(nn.Sequential(tied, nn.BatchNorm2d(3), other)), x, left=1)
    clipped = SparseConv2d(torch.ones(4, 3, 3, 3))
    clipped.clip = True
    check(settle(nn.Sequential(clipped, nn.BatchNorm2d(4))), x, left=1)


def test_training_mode_is_refused() -> None:
    with pytest.raises(errors.InputError, match="training mode"):
        fold_batch_norms(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    with pytest.raises(errors.InputTypeError, match="model: got"):
        fold_batch_norms(torch.ones(2))


def test_a_folded_network_is_read_back_into_one_of_its_kind(tmp_path):
    network = ww.models.resnet18(width=4)
    folded = fold_batch_norms(network.eval())
    ww.save(folded, tmp_path / "folded.safetensors")
    with pytest.raises(ww.InputError, match="model="):
        ww.load(tmp_path / "folded.safetensors")
    again = ww.load(tmp_path / "folded.safetensors", model=fold_batch_norms(ww.models.resnet18(width=4).eval()))
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(again(x), folded(x))
