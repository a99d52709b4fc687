"""From arrays of any library to a :class:`~widthwise.data.Dataset`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from widthwise.data.dataset import Dataset
from widthwise.errors import DataError

__all__ = ["encode", "from_arrays"]

Array = NDArray[Any]

_TEXT = "UTO"  # NumPy's kinds of text; "O" is text here: other objects are refused


def from_arrays(
    name: str, x: Any, y: Any, *, test: tuple[Any, Any] | None = None, classes: tuple[str, ...] = ()
) -> Dataset:
    """Return a data set that holds copies of ``x`` and ``y``, which may be tensors, arrays or nested lists.

    Whole-number or text ``y`` is classification, floating-point ``y`` is regression. Bytes (``uint8``) of
    three or more dimensions are pixels: divided by 255 and laid out as ``(n, channels, height, width)``,
    from ``(n, height, width)`` or ``(n, height, width, channels)`` too. Other numbers keep scale and shape.

    Args:
        name: the data set's name.
        x: inputs ``(n, ...)``.
        y: labels ``(n,)`` or ``(n, 1)``, or regression targets ``(n,)`` or ``(n, k)``.
        test: an official test set, likewise.
        classes: names of the labels; text labels bring their own.

    Raises:
        DataError: if the arrays hold no numbers, or are not a valid data set.

    >>> from_arrays("toy", [[0.5], [1.5], [2.5]], ["no", "yes", "no"]).classes
    ('no', 'yes')
    """
    targets = _array(name, "y", y)
    if targets.dtype.kind in _TEXT:
        classes = classes or tuple(sorted(set(targets.ravel().tolist())))
    official = None if test is None else (_inputs(name, test[0]), _targets(name, test[1], classes))
    task = "regression" if targets.dtype.kind == "f" else "classification"
    return Dataset(name, _inputs(name, x), _targets(name, targets, classes), task, classes, official)


def encode(name: str, labels: Sequence[str], classes: tuple[str, ...]) -> Tensor:
    """Return the place of every label in ``classes`` as int64 ``(n,)``.

    Raises:
        DataError: if a label is not among them.
    """
    places = {label: place for place, label in enumerate(classes)}
    unknown = next((label for label in labels if label not in places), None)
    if unknown is not None:
        raise DataError(f"{name}: label {unknown[:40]!r} is no training class; correct or remove its examples")
    return torch.tensor([places[label] for label in labels], dtype=torch.int64)


def _array(name: str, role: str, values: Any) -> Array:
    try:
        if isinstance(values, Tensor):
            values = values.detach().cpu()
            values = (values.float() if values.is_floating_point() else values).numpy()
        array = np.asarray(values, dtype=object if isinstance(values, list) and _is_text(values) else None)
    except (TypeError, ValueError, RuntimeError):
        array = np.empty(0, dtype=object)  # ragged lists and tensors without memory: refused below
    if array.dtype.kind == "U" and not _is_unicode(array):
        raise DataError(f"{name}: {role} holds text with characters that do not exist; save it again")
    text = array.dtype.kind in "UT" or (array.dtype.kind == "O" and _is_text(array.flat))
    if array.dtype.kind not in "biuf" and not (role == "y" and text):
        raise DataError(
            f"{name}: {role} of type {type(values).__name__} is no array of "
            f"{'numbers' if role == 'x' else 'labels or numbers'}; give a dense tensor or array, every row "
            "equally long"
        )
    return array


def _is_unicode(array: Array) -> bool:
    """Whether all characters of an array of text exist, surrogates left out: a file may give any 32 bits for one."""
    if not array.size or not array.dtype.itemsize:
        return True
    codes = np.ascontiguousarray(array).ravel().view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
    return not ((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes < 0xE000))).any()


def _is_text(labels: Iterable[Any]) -> bool:
    kinds = set(map(type, labels))
    return bool(kinds) and all(issubclass(kind, str) for kind in kinds)


def _inputs(name: str, values: Any) -> Tensor:
    array = _array(name, "x", values)
    if array.dtype == np.uint8 and array.ndim >= 3:
        return torch.tensor(_channels_first(array)).float().div_(255)
    return _float32(array)


def _channels_first(pixels: Array) -> Array:
    if pixels.ndim == 3:
        return pixels[:, None]
    last = pixels.ndim == 4 and pixels.shape[3] in (1, 3) and pixels.shape[1] not in (1, 3)
    return np.ascontiguousarray(np.moveaxis(pixels, 3, 1)) if last else pixels


def _targets(name: str, values: Any, classes: tuple[str, ...]) -> Tensor:
    array = _array(name, "y", values)
    if array.dtype.kind == "f":
        return _float32(array[:, None] if array.ndim == 1 else array)
    labels = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if labels.ndim != 1:
        raise DataError(f"{name}: y has shape {labels.shape}; labels are one for each example, (n,)")
    if labels.dtype.kind in _TEXT:
        return encode(name, labels.tolist(), classes)
    if labels.size and int(labels.max()) > np.iinfo(np.int64).max:
        raise DataError(f"{name}: label {labels.max()} is too large; number the classes from 0")
    return torch.from_numpy(labels.astype(np.int64))


def _float32(array: Array) -> Tensor:
    with np.errstate(over="ignore"):  # what overflows becomes infinite, which Dataset refuses by place
        return torch.from_numpy(array.astype(np.float32))
