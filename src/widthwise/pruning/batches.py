"""The data that a score is taken on: one batch, or an iterable of batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from widthwise.errors import InputError, InputTypeError

__all__ = ["Batch", "Batches", "Data", "repeatable"]

Batch = tuple[Tensor, Any]
Data = Batch | Iterable[Batch]


class Batches:
    """Batches ``(x, y)`` that can be gone through again and again, checked on the way.

    Args:
        data: ``(x, y)`` with a tensor ``x`` whose first dimension counts examples, or an iterable of such pairs.
            An iterable is read anew on every pass.
        device: where the batches must lie.

    Raises:
        InputTypeError: if ``data`` is neither; while iterating, if an element is not such a pair.
        InputError: while iterating, if there is no batch, an empty one, or one on another device.
    """

    def __init__(self, data: Data, device: torch.device) -> None:
        if _is_batch(data):
            self._source: Iterable[Any] = [data]
        elif (
            isinstance(data, Tensor | Mapping)
            or not isinstance(data, Iterable)
            or _of_arrays(data)
            or _of_several_inputs(data)
        ):
            raise InputTypeError(
                f"data: got {type(data).__name__}, allowed is (x, y) or an iterable of such pairs{_hint(data)}"
            )
        else:
            self._source = data
        self._device = device

    def __iter__(self) -> Iterator[Batch]:
        empty = True
        for batch in self._source:
            yield self._checked(batch)
            empty = False
        if empty:
            raise InputError("data: got no batches, allowed is at least one")

    @property
    def single(self) -> bool:
        """Whether there is exactly one batch, as far as that is known without reading."""
        return isinstance(self._source, Sequence) and len(self._source) == 1

    def first(self) -> Batch:
        """The first batch."""
        return next(iter(self))

    def _checked(self, batch: Any) -> Batch:
        if not _is_batch(batch):
            raise InputTypeError(
                f"data: got a batch of type {type(batch).__name__}, allowed is a pair (x, y), x a tensor{_hint(batch)}"
            )
        x, y = batch
        if x.dim() == 0 or not len(x):
            raise InputError(f"data: got a batch x of shape {tuple(x.shape)}, allowed is at least one example")
        for name, part in (("x", x), ("y", y)):
            if isinstance(part, Tensor) and part.device != self._device:
                raise InputError(f"data: got {name} on {part.device}, allowed is {self._device}, where the model is")
        return x, y


def repeatable(data: Data | None) -> Data | None:
    """``data``, with the batches of a one-shot iterator held in memory so that they can be read in every round."""
    return list(data) if isinstance(data, Iterator) else data


def _of_arrays(got: Any) -> bool:
    return isinstance(got, tuple | list) and bool(got) and isinstance(got[0], np.ndarray)


def _of_several_inputs(got: Any) -> bool:
    """Whether it is ``((a, b), y)``; with ``y`` in a pair, or longer, it would be batches."""
    return (
        isinstance(got, tuple | list)
        and len(got) == 2
        and isinstance(got[0], tuple | list)
        and bool(got[0])
        and all(isinstance(part, Tensor) for part in got[0])
        and isinstance(got[1], Tensor)
    )


def _hint(got: Any) -> str:
    """How to make a batch, or batches, of what was passed; empty where nobody could know."""
    if _of_arrays(got):
        return "; torch.as_tensor makes a tensor of an array"
    if isinstance(got, Dataset):
        return "; DataLoader(dataset, batch_size=...) gives such pairs"
    if isinstance(got, Mapping):
        return "; a generator makes pairs of a loader's dictionaries: ((b['x'], b['y']) for b in loader)"
    if _of_several_inputs(got):
        return "; a model of several inputs: wrap it in a module that takes one tensor and cuts it up"
    if isinstance(got, tuple | list) and len(got) > 2 and isinstance(got[0], Tensor):
        return "; put what belongs to y into one tuple: (x, (y, z))"
    if hasattr(got, "x") and hasattr(got, "y"):
        return "; its parts are tensors: (data.x, data.y)"
    return ""


def _is_batch(data: Any) -> bool:
    return isinstance(data, tuple | list) and len(data) == 2 and isinstance(data[0], Tensor)
