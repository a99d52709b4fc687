"""From a number of weights to a network at initialization, and to what trains it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from widthwise.errors import InputError, check_choice, check_integer
from widthwise.estimators.fitting import Engine
from widthwise.estimators.masked import MaskedNet
from widthwise.models import mlp
from widthwise.pruning.allocation import balanced
from widthwise.training.sparse_family import SparseFamily
from widthwise.widening import sparsify_randomly
from widthwise.width import best_width

__all__ = ["Budget", "engine_of"]

_WIDENING = 4  # times the dense network's width


@dataclass(frozen=True)
class Budget:
    """How many weights there are, and how they may be spent; the names are the estimators'."""

    weights: int
    width: int | None
    depth: int
    activation: str
    last_layer: str

    def width_for(self, inputs: int, outputs: int) -> int:
        """The width asked for, or for one hidden layer the one predicted to be best, for more a usual one.

        Raises:
            InputError: if the budget is too small for any width, or too large for the one asked for.
        """
        check_choice("last_layer", self.last_layer, ("dense", "balanced"))
        check_integer("depth", self.depth, 1)
        check_integer(
            "weights", self.weights, self.depth + 1 if self.last_layer == "balanced" else outputs + self.depth
        )
        if self.width is not None:
            most = _capacity(inputs, outputs, check_integer("width", self.width, 1), self.depth)
            if self.weights > most:
                raise InputError(
                    f"width: got {self.width}, which holds {most} weights, fewer than weights={self.weights}"
                )
            return self.width
        if self.depth == 1:
            return best_width(inputs, self.weights, outputs, last_layer=self.last_layer).width
        narrowest = 1
        while _capacity(inputs, outputs, narrowest, self.depth) < self.weights:
            narrowest += 1
        return _WIDENING * narrowest

    def network(self, inputs: int, outputs: int, seed: int) -> tuple[nn.Module, dict[str, Tensor]]:
        """A network with exactly these weights, and what of it is pruned, ``True`` where it is."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            width = self.width_for(inputs, outputs)
            model = mlp(inputs, outputs, width=width, depth=self.depth, activation=self.activation)
        mask = sparsify_randomly(model, self.weights, distribution=self._distribution, seed=seed)
        return model, {name: ~alive for name, alive in mask.items()}

    def _distribution(self, shapes: Mapping[str, tuple[int, ...]], budget: int) -> Mapping[str, int]:
        """How many weights each layer keeps."""
        sizes = {name: math.prod(shape) for name, shape in shapes.items()}
        if self.last_layer == "balanced":
            return balanced(sizes, budget)
        last = list(sizes)[-1]
        whole = sizes.pop(last)
        if budget - whole < len(sizes):
            raise InputError(f"weights: got {budget}, a dense last layer of this width alone has {whole}")
        return {**balanced(sizes, budget - whole), last: whole}


def engine_of(model: nn.Module, pruned: Mapping[str, Tensor]) -> Engine:
    """The native family where there are kernels for it, or else PyTorch."""
    try:
        return SparseFamily([model], [pruned])
    except InputError:
        return MaskedNet(model, pruned)


def _capacity(inputs: int, outputs: int, width: int, depth: int) -> int:
    """Weights of the dense network."""
    return width * (inputs + (depth - 1) * width + outputs)
