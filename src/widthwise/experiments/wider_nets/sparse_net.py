"""The networks of Figure 8, any number of them trained side by side, only the weights that live.

``f(x) = V relu(U x) / sqrt(n d)`` is trained as ``A relu(B x)`` with ``B = (d / n)**(1/4) U / sqrt(d)`` and
``A = (n / d)**(1/4) V / sqrt(n)``: the same function, which descent at rate ``lr / sqrt(n d)`` changes in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from widthwise.experiments.common import seeded
from widthwise.training import TrainConfig
from widthwise.training.divergence import reported_elsewhere
from widthwise.training.sparse_family import SparseFamily
from widthwise.training.sparse_loop import evaluate_sparse, train_sparse

__all__ = ["BATCH", "Task", "accuracies", "sparse_net"]

BATCH = 256
Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Task:
    """Standardised inputs ``(n, d)`` and labels, to train on, to choose learning rates by, and to test on."""

    train: Pair
    tuning: Pair
    test: Pair

    @property
    def outputs(self) -> int:
        """Number of classes."""
        return int(self.train[1].max()) + 1

    @property
    def inputs(self) -> int:
        """Number of features."""
        return self.train[0].shape[1]


def sparse_net(d: int, n: int, outputs: int, live: int, seed: int) -> tuple[nn.Module, dict[str, Tensor]]:
    """A network at initialization, and which weights of its first layer are pruned.

    Args:
        d: inputs.
        n: hidden units.
        outputs: outputs.
        live: weights of U, each N(0, 1/p) with p = live / (n d); V has all of its own, N(0, 1).
        seed: of masks and weights.
    """
    source, balance = seeded(seed), (d / n) ** 0.25
    place = torch.randperm(n * d, generator=source)[:live].sort()[0]
    values = torch.randn(live, generator=source) * (n * d / live) ** 0.5
    first = torch.zeros(n * d).index_put((place,), values).view(n, d)
    model = nn.Sequential(nn.Linear(d, n, bias=False), nn.ReLU(), nn.Linear(n, outputs, bias=False))
    last = torch.randn(outputs, n, generator=source)
    model.load_state_dict({"0.weight": first * balance / d**0.5, "2.weight": last / balance / n**0.5})
    return model, {"0.weight": torch.ones(n * d, dtype=torch.bool).index_fill(0, place, False).view(n, d)}


def accuracies(task: Task, on: Pair, nets: Sequence[tuple[int, int, float]], *, epochs: int, seed: int) -> list[float]:
    """The fraction of ``on`` classified correctly after plain descent in batches of 256; 0 where it diverged.

    Args:
        task: what to train on.
        on: what to be judged by.
        nets: width, live weights of the first layer and learning rate of each network.
        epochs: passes over the training set.
        seed: of the networks and of the order of examples, the same for all.
    """
    d = task.inputs
    models, pruned = zip(*(sparse_net(d, n, task.outputs, live, seed) for n, live, _ in nets), strict=True)
    family = SparseFamily(models, pruned, idle=(task.train[0] == 0).all(0))
    rates = torch.tensor([rate / (n * d) ** 0.5 for n, _, rate in nets])
    with reported_elsewhere():
        train_sparse(family, task.train, TrainConfig(epochs, BATCH, 1.0), seed=seed, rates=rates)
    return [float(found) for found in evaluate_sparse(family, on).nan_to_num(0.0)]
