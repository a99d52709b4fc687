"""Sparse layers on disk: a byte or so says where each weight stands.

Beside ``LAYER.values`` a file holds ``LAYER.gaps``: bytes that count the zeros before each value, row by row through
the whole matrix, and at last those before its end. A byte of 255 says "255 zeros, and more". No bytes put two values at
one place, and a matrix is never much larger than the bytes for it. To read them without this package, with the
matrix's shape from the file's header::

    ends = np.flatnonzero(gaps != 255)[:-1]
    places = np.cumsum(gaps, dtype=np.int64)[ends] + np.arange(len(ends))
    matrix = np.zeros(shape); matrix.flat[places] = values
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from widthwise.errors import DataError, InputError
from widthwise.masks import Mask
from widthwise.sparse._fallback_conv import blocks
from widthwise.sparse._types import index_dtype
from widthwise.sparse.convert import sparsify
from widthwise.sparse.linear import SparseWeight
from widthwise.weights import is_weight

__all__ = ["Shape", "checked_shapes", "compact", "decode", "encode", "expand", "matrices_of", "outline", "sparsified"]

Path = str | os.PathLike[str]
Shape = tuple[int, int]

_ESCAPE, _SMALL = 255, 4096
_GAPS, _VALUES, _WEIGHT, _PLACES = "gaps", "values", "weight", ("pointers", "columns")


def encode(pointers: Tensor, columns: Tensor, width: int) -> Tensor:
    """The gaps of compressed rows ``width`` wide: uint8, of any length.

    >>> encode(torch.tensor([0, 1, 3]), torch.tensor([2, 0, 298]), 300).tolist()
    [2, 255, 42, 255, 42, 1]
    """
    starts, across = pointers.cpu().numpy(), columns.cpu().numpy().astype(np.int64)
    rows = len(starts) - 1
    places = np.append(np.repeat(np.arange(rows) * width, np.diff(starts)) + across, rows * width)
    escapes, rest = np.divmod(np.diff(places, prepend=-1) - 1, _ESCAPE)
    gaps = np.full(len(places) + int(escapes.sum()), _ESCAPE, dtype=np.uint8)
    gaps[np.arange(len(places)) + np.cumsum(escapes)] = rest
    return torch.from_numpy(gaps)


def decode(gaps: Tensor, count: int, shape: Shape) -> tuple[Tensor, Tensor]:
    """Pointers and columns of ``count`` values, from what :func:`encode` gave; takes no memory for the matrix.

    Raises:
        ValueError: if these are not the gaps of as many values in a matrix of that shape.

    >>> gaps = torch.tensor([2, 255, 42, 255, 42, 1], dtype=torch.uint8)
    >>> [found.tolist() for found in decode(gaps, 3, (2, 300))]
    [[0, 1, 3], [2, 0, 298]]
    """
    if gaps.dtype != torch.uint8 or gaps.dim() != 1:
        raise ValueError(f"its gaps are {gaps.dtype} of shape {tuple(gaps.shape)}, not bytes in a row")
    rows, width = shape
    places = _places(gaps.numpy(), count, rows * width)
    pointers = np.searchsorted(places, np.arange(rows + 1, dtype=np.int64) * width)
    columns = torch.from_numpy(places % max(1, width)).to(index_dtype(width))
    return torch.from_numpy(pointers), columns


def _places(gaps: npt.NDArray[np.uint8], count: int, size: int) -> npt.NDArray[np.int64]:
    ends = np.flatnonzero(gaps != _ESCAPE)
    if len(ends) != count + 1 or gaps[-1] == _ESCAPE:
        raise ValueError(f"its gaps are for {len(ends) - 1} values, it has {count}")
    places = np.cumsum(gaps, dtype=np.int64)[ends] + np.arange(count + 1)
    if places[-1] != size:
        raise ValueError(f"its gaps are for {places[-1]} places, it has {size}")
    return places[:-1]


def compact(model: nn.Module, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Shape]]:
    """A state of ``model`` with gaps in place of its sparse layers' indices, and those layers' shapes by prefix."""
    layers = {prefix: layer for prefix, layer in _by_prefix(model).items() if isinstance(layer, SparseWeight)}
    gaps = {layer: encode(layer.pointers, layer.columns, layer.shape[1]) for layer in layers.values()}
    dropped = {prefix + place for prefix in layers for place in _PLACES}
    kept = {name: tensor for name, tensor in state.items() if name not in dropped}
    kept |= {prefix + _GAPS: gaps[layer] for prefix, layer in layers.items()}
    return kept, {prefix: layer.shape for prefix, layer in layers.items()}


def checked_shapes(path: Path, shapes: Any, state: Mapping[str, Tensor]) -> dict[str, Shape]:
    """The shapes that a file's header gives its sparse layers, if its tensors may be of such layers.

    Raises:
        DataError: otherwise.
    """
    if not isinstance(shapes, dict):
        raise _unusable(path, f"its header gives sparse layers as {shapes!r:.80}")
    for prefix, shape in shapes.items():
        gaps, values = state.get(prefix + _GAPS), state.get(prefix + _VALUES)
        if gaps is None or values is None or values.dim() != 1 or not values.is_floating_point():
            raise _unusable(path, f"its sparse layer {prefix!r:.80} lacks gaps, or a row of float values")
        if not _may_hold(shape, gaps.numel()):
            raise _unusable(path, f"its sparse layer {prefix!r:.80} has {gaps.numel()} gaps for shape {shape!r:.80}")
    return {prefix: (rows, width) for prefix, (rows, width) in shapes.items()}


def _may_hold(shape: Any, gaps: int) -> bool:
    """Whether ``shape`` is that of a matrix which so many bytes can describe."""
    if not isinstance(shape, list) or [type(size) for size in shape] != [int, int] or min(shape) < 0:
        return False
    fits: bool = max(1, shape[0]) * max(1, shape[1]) <= max(_SMALL, (_ESCAPE + 1) * gaps)
    return fits


def outline(state: Mapping[str, Tensor], matrices: Mapping[str, Shape]) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of ``state``, but of each of the ``matrices`` one, however it is held."""
    held = {prefix + part for prefix in matrices for part in (_GAPS, _VALUES, _WEIGHT, *_PLACES)}
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items() if name not in held}
    return shapes | {f"{prefix}{_WEIGHT} as a matrix": shape for prefix, shape in matrices.items()}


def matrices_of(model: nn.Module, prefixes: Iterable[str]) -> dict[str, Shape]:
    """The shapes of the weights of those layers of ``model`` that have one, dense or sparse, as matrices."""
    layers, found = _by_prefix(model), {}
    for prefix in prefixes:
        layer = layers.get(prefix)
        if isinstance(layer, SparseWeight):
            found[prefix] = layer.shape
        elif isinstance(weight := getattr(layer, _WEIGHT, None), Tensor) and weight.dim() >= 2:
            found[prefix] = (weight.shape[0], weight.shape[1:].numel() * _groups(layer))
    return found


def expand(path: Path, state: Mapping[str, Tensor], matrices: Mapping[str, Shape]) -> dict[str, Tensor]:
    """Undo :func:`compact`.

    Raises:
        DataError: if the gaps are not those of as many values in such matrices.
    """
    expanded = dict(state)
    for prefix, shape in matrices.items():
        gaps, values = expanded.pop(prefix + _GAPS), expanded[prefix + _VALUES]
        try:
            places = decode(gaps, values.numel(), shape)
        except ValueError as error:
            raise _unusable(path, f"in its sparse layer {prefix!r:.80} {error}") from error
        expanded |= {prefix + name: tensor for name, tensor in zip(_PLACES, places, strict=True)}
    return expanded


def sparsified(model: nn.Module, state: Mapping[str, Tensor], matrices: Mapping[str, Shape]) -> nn.Module:
    """``model`` with those of its layers sparse that are so in ``state``, at the same places.

    Raises:
        InputError: if a layer can't be sparse.
    """
    weights, layers = dict(model.named_parameters()), _by_prefix(model)
    sparse = {prefix + _WEIGHT: prefix for prefix in matrices if prefix + _WEIGHT in weights}
    if not sparse:
        return model
    masks = {
        name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items() if is_weight(name, weight)
    }
    for name, prefix in sparse.items():
        pointers, columns = (state[prefix + place] for place in _PLACES)
        places = torch.zeros(matrices[prefix], dtype=torch.bool)
        places[torch.arange(len(pointers) - 1).repeat_interleave(pointers.diff()), columns.long()] = True
        masks[name] = blocks(places, _groups(layers[prefix])).reshape(weights[name].shape)
    model = sparsify(model, Mask(masks), policy="always")
    left = [name for name in sparse if name in dict(model.named_parameters())]
    if left:
        raise InputError(f"model: {left[0]!r} can't be sparse here, as it is in the file; allowed is a plain layer")
    return model


def _by_prefix(model: nn.Module) -> dict[str, nn.Module]:
    """Modules by what the names of their tensors begin with."""
    return {f"{name}." if name else "": layer for name, layer in model.named_modules(remove_duplicate=False)}


def _groups(layer: nn.Module | None) -> int:
    """Blocks on the diagonal of a layer's matrix, outside of which there are no weights."""
    return int(getattr(layer, "groups", 1))


def _unusable(path: Path, reason: str) -> DataError:
    return DataError(f"{os.fspath(path)}: not a usable model file, {reason}")
