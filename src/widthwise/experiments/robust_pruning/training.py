"""Networks pruned at initialization, then trained and tested: the engine of the tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from widthwise import models
from widthwise.data import Splits, examples_per_class
from widthwise.experiments import images
from widthwise.experiments.common import thin
from widthwise.experiments.images import accuracy, descend
from widthwise.experiments.outcome import Row
from widthwise.experiments.robust_pruning.imagenet import bottleneck_resnet50
from widthwise.masks import Mask
from widthwise.pruning import dead_layers, prune, train_prune_repeat
from widthwise.pruning.rescale import rescale

__all__ = ["BATCH", "METHODS", "NETWORKS", "Case", "Method", "shrunk", "trained"]

BATCH = 128
_OBD_CYCLES = 2
_OBD_PER_CLASS = 2  # at most: its second derivatives cost several passes an example

Builder = Callable[..., nn.Module]
NETWORKS: dict[str, Builder] = {
    "ResNet32": models.resnet32,
    "ResNet50": models.resnet50,
    "ResNet104": models.resnet104,
    "VGG16": models.vgg16,
    "3xVGG16": partial(models.vgg16, repeat=3),
    "ImageNet-ResNet50": bottleneck_resnet50,
}
"""By the name that the tables give them. Only the residual ones have a stable variant."""


@dataclass(frozen=True)
class Method:
    """A way to prune: the score, whether the network is a stable one, whether it is rescaled afterwards."""

    score: str | None
    stable: bool = False
    rescaled: bool = False


METHODS = {
    "unpruned": Method(None),
    "OBD": Method("obd"),
    "random": Method("random"),
    "magnitude": Method("magnitude"),
    "SNIP": Method("snip"),
    "GraSP": Method("grasp"),
    "GraSP-SR": Method("grasp", stable=True),
    "SynFlow": Method("synflow"),
    "SBP-SR": Method("snip", stable=True),
    "EOC+rescaling": Method("snip", rescaled=True),
}
"""By name. SBP-SR is SNIP on a stable network; OBD trains, prunes and repeats; all others prune before training."""


@dataclass(frozen=True)
class Case:
    """One run; everything its accuracy depends on."""

    network: str
    activation: str
    method: str
    sparsity: float
    seed: int
    width: float
    epochs: int
    lr: float
    drops: tuple[float, ...]
    examples: int
    tested: int
    per_class: int
    rounds: int
    shift: int
    image: tuple[int, ...]
    data: str


def trained(case: Case, splits: Splits) -> Row:
    """Prune one network, train it, test it."""
    method = METHODS[case.method]
    train = thin(splits.train, case.examples, case.seed)
    torch.manual_seed(case.seed)
    stable = {"stable": True} if method.stable else {}
    model = NETWORKS[case.network](splits.n_outputs, case.image[0], case.width, activation=case.activation, **stable)
    mask = _pruned_and_trained(model, case, train)
    return {
        "dead_layers": 0 if mask is None else len(dead_layers(mask)),
        "test_accuracy": accuracy(model, thin(splits.test, case.tested, 0)),
    }


def _pruned_and_trained(model: nn.Module, case: Case, train: tuple[Tensor, Tensor]) -> Mask | None:
    """The mask in force at the end."""
    method, loss, fit = METHODS[case.method], functional.cross_entropy, partial(_train, case=case, data=train)
    chosen: dict[str, Any] = {"seed": case.seed, "on_collapse": "allow"}
    mask = None
    per_class = min(case.per_class, _OBD_PER_CLASS) if method.score == "obd" else case.per_class
    batch = examples_per_class(*train, per_class, case.seed)
    if method.score == "obd":
        return train_prune_repeat(model, fit, case.sparsity, "obd", batch, loss, cycles=_OBD_CYCLES, **chosen)
    if method.score is not None:
        rounds = case.rounds if method.score == "synflow" else 1
        mask = prune(model, case.sparsity, method.score, batch, loss, rounds=rounds, **chosen)
        if method.rescaled:
            rescale(model, mask, data=batch)
    fit(model)
    return mask


def _train(model: nn.Module, case: Case, data: tuple[Tensor, Tensor]) -> None:
    descend(
        model,
        data,
        lr=case.lr,
        epochs=case.epochs,
        batch=BATCH,
        milestones=[int(case.epochs * drop) for drop in case.drops],
        weight_decay=5e-4,
        shift=case.shift,
        seed=case.seed,
    )


def shrunk(splits: Splits, factor: int) -> Splits:
    """Images averaged over squares of ``factor`` pixels."""
    train, test = (images.shrunk(part, factor) for part in (splits.train, splits.test))
    return Splits(**{**vars(splits), "train": train, "test": test})
