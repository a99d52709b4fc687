"""Features of images: of a residual network trained here, or of an ImageNet ResNet-18 from a file of the user's."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from widthwise._tensorfile import read_state
from widthwise.errors import DataError
from widthwise.models import resnet18

__all__ = ["imagenet_features", "trained_features"]

Features = Callable[[Tensor], Tensor]
"""From images ``(n, 3, h, w)`` with values in [0, 1] to ``(n, d)``."""

_BATCH = 100
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def trained_features(x: Tensor, y: Tensor, *, width: int, epochs: int, seed: int = 0) -> Features:
    """Train a ResNet-18 of a width on images and classes; what enters its last layer, ``8 * width`` numbers an image.

    SGD with momentum 0.9, weight decay 5e-4 and a rate that falls from 0.1 to zero; images mirrored at random.
    """
    generator, mean, deviation = torch.Generator().manual_seed(seed), float(x.mean()), float(x.std())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = resnet18(int(y.max()) + 1, x.shape[1], width)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * -(-len(x) // _BATCH))
    for _ in range(epochs):
        for chosen in torch.split(torch.randperm(len(x), generator=generator), _BATCH):
            mirrored = torch.rand(len(chosen), 1, 1, 1, generator=generator) < 0.5
            images = torch.where(mirrored, x[chosen].flip(-1), x[chosen])
            optimizer.zero_grad()
            torch.autograd.backward(functional.cross_entropy(net((images - mean) / deviation), y[chosen]))
            optimizer.step()
            schedule.step()
    body = nn.Sequential(*list(net.children())[:-1]).eval()
    return lambda images: _in_batches(lambda part: body((part - mean) / deviation), images)


def imagenet_features(path: str | os.PathLike[str], size: int = 224) -> Features:
    """The 512 features of a ResNet-18 trained on ImageNet, from a safetensors file of its usual ``state_dict``.

    Args:
        path: the file, with the names that the common libraries give (``conv1.weight``, ``layer1.0.bn1.weight``, ...).
        size: to which images are enlarged.

    Raises:
        DataError: if the file is missing, damaged, or holds another network.
    """
    name = os.fspath(path)
    _, tensors = read_state(path)
    net = _ResNet18()
    for key, wanted in net.state_dict().items():
        if key.endswith("num_batches_tracked"):
            tensors.setdefault(key, wanted)
        got = tuple(tensors[key].shape) if key in tensors else "nothing"
        if got != tuple(wanted.shape):
            raise DataError(f"{name}: {key} is {got}, allowed is {tuple(wanted.shape)}, as in a ResNet-18 for ImageNet")
    try:
        net.load_state_dict({key: tensors[key] for key in net.state_dict()})
    except RuntimeError as error:
        raise DataError(f"{name}: its numbers are of a kind that cannot be used, allowed are floating-point") from error
    net.float().eval()
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (_MEAN, _DEVIATION))

    def enlarged(part: Tensor) -> Tensor:
        larger = functional.interpolate(part, (size, size), mode="bilinear", antialias=True)
        out: Tensor = net((larger - mean) / deviation)
        return out

    return lambda images: _in_batches(enlarged, images)


@torch.no_grad()
def _in_batches(run: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    return torch.cat([run(part) for part in torch.split(images, _BATCH)])


class _ResNet18(nn.Module):
    """The network for ImageNet up to its last layer, under its usual names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        widths = (64, 64, 128, 256, 512)
        for i in range(1, 5):
            blocks = _Block(widths[i - 1], widths[i], 1 if i == 1 else 2), _Block(widths[i], widths[i], 1)
            setattr(self, f"layer{i}", nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for i in range(1, 5):
            x = self.get_submodule(f"layer{i}")(x)
        return x.mean((2, 3))


class _Block(nn.Module):
    def __init__(self, fan_in: int, fan_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(fan_in, fan_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(fan_out)
        self.conv2 = nn.Conv2d(fan_out, fan_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(fan_out)
        around: OrderedDict[str, nn.Module] = OrderedDict()
        if stride > 1 or fan_in != fan_out:
            around["0"] = nn.Conv2d(fan_in, fan_out, 1, stride, bias=False)
            around["1"] = nn.BatchNorm2d(fan_out)
            self.downsample = nn.Sequential(around)
        else:
            self.downsample = nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(self.downsample(x) + inner)
