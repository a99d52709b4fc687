"""From a number of weights to a network at initialization, and to what trains it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from widthwise._memory import check_room
from widthwise.errors import InputError, check_choice, check_depth, check_integer, shown
from widthwise.estimators.fitting import Engine
from widthwise.estimators.masked import MaskedNet
from widthwise.models import mlp
from widthwise.training.sparse_family import SparseFamily
from widthwise.widening import sparsify_randomly
from widthwise.width import MOST_DRAWN, best_width, capacity, divided, narrowest

__all__ = ["Budget", "engine_of"]

_DRAWS = 3  # networks a width
_COPIES = 16  # of its places, alive or not, that a large network takes in training at least: masks, moments, gradients


@dataclass(frozen=True)
class Budget:
    """How many weights there are, and how they may be spent; the names are the estimators'."""

    weights: int
    width: int | None
    depth: int
    activation: str
    last_layer: str

    def width_for(self, x: Tensor, outputs: int) -> int:
        """The width asked for, or the one predicted to be best for standardised examples.

        Raises:
            InputError: if the budget is too small for any width, or too large for the one asked for or for memory.
        """
        check_choice("last_layer", self.last_layer, ("dense", "balanced"))
        check_depth(self.depth)
        check_integer("weights", self.weights, self.depth + (1 if self.last_layer == "balanced" else outputs))
        inputs = x.shape[1]
        self._check_room("weights", self.weights, self.weights, x)
        if self.width is not None:
            most = capacity(inputs, outputs, check_integer("width", self.width, 1), self.depth)
            if self.weights > most:
                raise InputError(
                    f"width: got {self.width}, which holds {most} weights, fewer than weights={self.weights}"
                )
            self._check_room("width", self.width, most, x)
            return self.width
        least = narrowest(inputs, outputs, self.depth, self.weights)
        if capacity(inputs, outputs, least, self.depth) > MOST_DRAWN:
            return least
        sample = x if len(x) > 1 else torch.cat([x, torch.zeros_like(x)])
        choice = best_width(
            inputs, self.weights, outputs, sample, "condition", self.last_layer, depth=self.depth, draws=_DRAWS
        )
        return choice.width

    def _check_room(self, name: str, got: int, places: int, x: Tensor) -> None:
        """Refuse a network whose places, alive or not, are too many to train."""
        needed = _COPIES * places * x.element_size()
        check_room(f"{name}: got {shown(got)}, whose training", needed, "are smaller networks", x.device)

    def network(self, inputs: int, outputs: int, width: int, seed: int) -> tuple[nn.Module, dict[str, Tensor]]:
        """A network with exactly these weights, and what of it is pruned, ``True`` where it is."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = mlp(inputs, outputs, width=width, depth=self.depth, activation=self.activation)
        mask = sparsify_randomly(model, self.weights, distribution=self._distribution, seed=seed)
        return model, {name: ~alive for name, alive in mask.items()}

    def _distribution(self, shapes: Mapping[str, tuple[int, ...]], budget: int) -> Mapping[str, int]:
        """How many weights each layer keeps."""
        return divided({name: math.prod(shape) for name, shape in shapes.items()}, budget, self.last_layer, "weights")


def engine_of(model: nn.Module, pruned: Mapping[str, Tensor]) -> Engine:
    """The native family where there are kernels for it, or else PyTorch."""
    try:
        return SparseFamily([model], [pruned])
    except InputError:
        return MaskedNet(model, pruned)
