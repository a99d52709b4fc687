"""Training a network on small images, as the experiments with residual networks do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR

from widthwise.experiments.common import seeded

__all__ = ["accuracy", "augmented", "descend", "shrunk"]

Pair = tuple[Tensor, Tensor]
_TESTED_AT_ONCE = 500


def descend(
    model: nn.Module,
    data: Pair,
    *,
    epochs: int,
    batch: int,
    milestones: Sequence[int] | None,
    weight_decay: float,
    shift: int,
    seed: int,
    lr: float = 0.1,
    after_epoch: Callable[[], object] | None = None,
) -> None:
    """SGD of momentum 0.9, its rate falling to a tenth at each milestone, or to zero as a cosine.

    Args:
        model: trained in place.
        data: images and labels.
        epochs: passes over them.
        batch: images a step.
        milestones: epochs; ``None`` for the cosine.
        weight_decay: of every parameter.
        shift: pixels by which images are moved at random; they are mirrored at random too, unless it is 0.
        seed: of the order of images, their moves and mirrors.
        lr: rate of the first epoch.
        after_epoch: called at the end of each.
    """
    x, y = data
    generator = seeded(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=weight_decay)
    schedule: LRScheduler = (
        CosineAnnealingLR(optimizer, epochs) if milestones is None else MultiStepLR(optimizer, list(milestones))
    )
    for _ in range(epochs):
        model.train()
        for chosen in torch.split(torch.randperm(len(x), generator=generator), batch):
            images = augmented(x[chosen], shift, generator) if shift else x[chosen]
            optimizer.zero_grad()
            torch.autograd.backward(functional.cross_entropy(model(images), y[chosen]))
            optimizer.step()
        schedule.step()
        if after_epoch is not None:
            after_epoch()


def augmented(x: Tensor, shift: int, generator: torch.Generator) -> Tensor:
    """Each image mirrored or not, and moved by up to ``shift`` pixels, zeros coming in."""
    mirrored = torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5
    padded = functional.pad(torch.where(mirrored, x.flip(-1), x), [shift] * 4)
    moves = torch.randint(0, 2 * shift + 1, (len(x), 2), generator=generator).tolist()
    height, width = x.shape[-2:]
    return torch.stack([image[:, a : a + height, b : b + width] for image, (a, b) in zip(padded, moves, strict=True)])


@torch.no_grad()
def accuracy(model: nn.Module, data: Pair) -> float:
    """The fraction of images whose label the model gives, in evaluation mode."""
    model.eval()
    right = [
        (model(x).argmax(1) == y).sum()
        for x, y in zip(*(torch.split(part, _TESTED_AT_ONCE) for part in data), strict=True)
    ]
    return float(torch.stack(right).sum()) / len(data[1])


def shrunk(data: Pair, factor: int) -> Pair:
    """Images averaged over squares of ``factor`` pixels."""
    return (functional.avg_pool2d(data[0], factor) if factor > 1 else data[0]), data[1]
