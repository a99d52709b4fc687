"""Where the live weights of many networks stand in one vector, for the kernels of descent to find them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from widthwise import activations
from widthwise.errors import InputError

__all__ = ["Layer", "Layout", "Net", "read"]

Array = npt.NDArray[Any]
_MOST_INPUTS = 2**16 - 1


@dataclass(frozen=True)
class Layer:
    """One linear layer.

    Attributes:
        weight: its parameter's name.
        bias: the other's, or ``None``.
        alive: which weights live, ``(outputs, inputs)``.
    """

    weight: str
    bias: str | None
    alive: Array


@dataclass(frozen=True)
class Net:
    """One network: its linear layers in order, and whether ReLUs stand between them."""

    layers: tuple[Layer, ...]
    relu: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """Inputs, outputs and number of layers."""
        return self.layers[0].alive.shape[1], self.layers[-1].alive.shape[0], len(self.layers)


def read(model: nn.Module, pruned: Mapping[str, Tensor]) -> Net:
    """Find the layers of ``nn.Sequential(Flatten?, Linear, ReLU | Identity, Linear, ...)``.

    Raises:
        InputError: if it is something else.
    """
    kinds, layers, names = [], [], model.named_children() if type(model) is nn.Sequential else ()
    for name, part in names:
        if type(part) is nn.Linear:
            alive = pruned.get(f"{name}.weight", torch.zeros_like(part.weight, dtype=torch.bool)).logical_not()
            layers.append(Layer(f"{name}.weight", None if part.bias is None else f"{name}.bias", alive.cpu().numpy()))
            kinds.append("layer")
        elif type(part) is not nn.Flatten or kinds:
            known = activations.of_module(part)
            kinds.append("other" if known is None else known.name)
    between = set(kinds[1::2])
    if set(kinds[::2]) != {"layer"} or len(kinds) % 2 == 0 or len(between) > 1 or between - {"relu", "linear"}:
        raise InputError(
            "models: allowed is nn.Sequential of Linear layers with ReLU, or Identity, between all of them"
        )
    if max(layer.alive.shape[1] for layer in layers) > _MOST_INPUTS:
        raise InputError(f"models: got a layer of more inputs than {_MOST_INPUTS}, the most allowed")
    return Net(tuple(layers), between == {"relu"})


@dataclass(frozen=True)
class Layout:
    """The places of all weights; units are the outputs of all layers, counted through layer by layer and net by net.

    A unit's weights stand together: those of inputs that are not idle, its bias, the rest.

    Attributes:
        places: for each network and layer, which entry of weight and bias, flattened and joined, comes at each place.
        bounds: where each network's weights start, and the end of all.
        columns: the input of each weight; that of a bias is the number of inputs.
        starts: where each unit's weights start, and the end of all.
        ends: where those that move end.
        down_rows: of the weights that leave the hidden units, unit by unit, the unit of the next layer.
        down_starts: where those of each unit start; outputs have none.
        down_order: where they stand.
        sizes: units of each layer, ``(nets, layers)``.
        units: the first of each network, and the number of all.
    """

    places: tuple[tuple[Array, ...], ...]
    bounds: Tensor
    columns: Tensor
    starts: Tensor
    ends: Tensor
    down_rows: Tensor
    down_starts: Tensor
    down_order: Tensor
    sizes: Tensor
    units: Tensor

    @classmethod
    def of(cls, nets: Sequence[Net], idle: Array) -> Layout:
        """Lay out networks of one depth; ``idle`` inputs have weights that do not move."""
        lines = [_lines(layer, idle if i == 0 else None) for net in nets for i, layer in enumerate(net.layers)]
        layers = [layer for net in nets for layer in net.layers]
        counts = np.concatenate([line.counts for line in lines])
        starts = _cumulated(counts)
        first = _cumulated(np.array([len(line.places) for line in lines]))
        depth = len(nets[0].layers)
        downs = [
            _down(len(layer.alive), None if (i + 1) % depth == 0 else lines[i + 1], first[i + 1])
            for i, layer in enumerate(layers)
        ]
        sizes = np.array([len(layer.alive) for layer in layers]).reshape(-1, depth)
        return cls(
            tuple(tuple(line.places for line in lines[i : i + depth]) for i in range(0, len(lines), depth)),
            torch.from_numpy(first[::depth].copy()),
            _narrow([line.columns for line in lines]),
            torch.from_numpy(starts),
            torch.from_numpy(starts[1:] - np.concatenate([line.resting for line in lines])),
            _narrow([down[0] for down in downs]),
            torch.from_numpy(_cumulated(np.concatenate([down[1] for down in downs]))),
            torch.from_numpy(np.concatenate([down[2] for down in downs]).astype(np.int32)),
            torch.from_numpy(sizes),
            torch.from_numpy(_cumulated(sizes.sum(1))),
        )


@dataclass(frozen=True)
class _Lines:
    """One layer's live weights, unit by unit: places, columns; of each unit how many, and how many at rest."""

    places: Array
    columns: Array
    rows: Array
    counts: Array
    resting: Array


def _lines(layer: Layer, idle: Array | None) -> _Lines:
    height, width = layer.alive.shape
    rows, columns = np.nonzero(layer.alive)
    places = rows * width + columns
    rests = np.zeros(len(rows), bool) if idle is None else idle[columns]
    if layer.bias is not None:
        every = np.arange(height)
        rows, columns = np.concatenate([rows, every]), np.concatenate([columns, np.full(height, width)])
        places, rests = (
            np.concatenate([places, height * width + every]),
            np.concatenate([rests, np.zeros(height, bool)]),
        )
    order = np.lexsort((columns, rests, rows))
    counts, resting = np.bincount(rows, minlength=height), np.bincount(rows[rests], minlength=height)
    return _Lines(places[order], columns[order], rows[order], counts, resting)


def _down(height: int, above: _Lines | None, first: int) -> tuple[Array, Array, Array]:
    """Of the weights that leave a layer's units: the next layer's unit, how many a unit has, where they stand."""
    if above is None:
        return np.zeros(0, np.int64), np.zeros(height, np.int64), np.zeros(0, np.int64)
    is_weight = above.columns < height
    order = np.flatnonzero(is_weight)[np.argsort(above.columns[is_weight], kind="stable")]
    return above.rows[order], np.bincount(above.columns[order], minlength=height), first + order


def _narrow(parts: Sequence[Array]) -> Tensor:
    """As 16 bits without a sign, in a tensor of 16 bits with one, since others cannot be pickled."""
    return torch.from_numpy(np.concatenate(parts).astype(np.uint16).view(np.int16))


def _cumulated(counts: Array) -> Array:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
