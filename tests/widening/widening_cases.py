"""Factories of all kinds, from a width to a module."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from widthwise.models import by_width, mlp

__all__ = ["FACTORIES", "IMAGES", "Block", "OwnResNet", "convnet", "weights"]


class Block(nn.Module):
    """A residual block as users write it: functions between modules, a shortcut where the shape changes."""

    def __init__(self, fan_in: int, fan_out: int):
        super().__init__()
        self.conv1 = nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(fan_out)
        self.conv2 = nn.Conv2d(fan_out, fan_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(fan_out)
        self.short = nn.Identity() if fan_in == fan_out else nn.Conv2d(fan_in, fan_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.short(x) + self.bn2(self.conv2(inner)))


class OwnResNet(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.Sequential(Block(width, width), Block(width, 2 * width))
        self.head = nn.Linear(2 * width, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(self.blocks(functional.relu(self.stem(x))), 2)
        return self.head(functional.adaptive_avg_pool2d(x, 1).view(x.size(0), -1))


def convnet(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3), nn.PReLU(2 * width), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(2 * width * 36, 2 * width), nn.LayerNorm(2 * width), nn.Tanh(), nn.Linear(2 * width, 5),
    )  # fmt: skip


FACTORIES = {
    "mlp": lambda w: nn.Sequential(nn.AvgPool2d(8), mlp(12, 4, width=w, depth=4)),
    "resnet18": by_width("resnet18"),
    "vgg16": by_width("vgg16"),
    "vit": by_width("vit", image_size=16, depth=2, heads=2),
    "convnet": convnet,
    "own": OwnResNet,
}
"""All take images of shape ``IMAGES``."""

IMAGES = (3, 16, 16)


def weights(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.dim() > 1)
