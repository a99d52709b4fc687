"""Image sets by name from OpenML, checked once and kept in a cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from widthwise._atomic import atomic_path
from widthwise.data import arff, npz
from widthwise.data.cifar import CIFAR10_CLASSES
from widthwise.data.dataset import Dataset
from widthwise.data.download import download, fetched
from widthwise.data.files import reason
from widthwise.errors import DataError

__all__ = ["SOURCES", "Source", "arrays_of", "cache_folder", "fetch"]

_DIGITS = tuple("0123456789")
_MNIST = (1, 28, 28)
_COLOUR = (3, 32, 32)
_ABOUT = "https://www.openml.org/api/v1/json/data/{}"
_ABOUT_BYTES, _DATA_BYTES = 2**20, 2**31


@dataclass(frozen=True)
class Source:
    """Where a set lies on OpenML and what it must hold.

    Attributes:
        data_id: OpenML's number for this very version.
        shape: of one image.
        train: training examples of each class.
        test: official test examples of each class, which stand last where the official order was kept.
        classes: names of the labels.
        sha256: of all pixels followed by all labels, one byte each, where known.
    """

    data_id: int
    shape: tuple[int, int, int]
    train: tuple[int, ...]
    test: tuple[int, ...]
    classes: tuple[str, ...]
    sha256: str | None = None


SOURCES = {
    "mnist": Source(
        554, _MNIST,
        (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
        (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
        _DIGITS, "c2069063c1105f2bf96266aef1ff68c6e13bdda7a54e37bf19c16f1db24efc83",
    ),
    "fashion-mnist": Source(
        40996, _MNIST, (6000,) * 10, (1000,) * 10,
        ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
    ),
    "cifar10": Source(40927, _COLOUR, (5000,) * 10, (1000,) * 10, CIFAR10_CLASSES),
    "cifar100": Source(41983, _COLOUR, (500,) * 100, (100,) * 100, tuple(str(label) for label in range(100))),
    "svhn": Source(
        41081, _COLOUR,
        (4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659),
        (1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595),
        _DIGITS,
    ),
}  # fmt: skip


def fetch(name: str, cache: Path | None = None) -> Dataset:
    """Return one of :data:`SOURCES`, downloaded on first use, read from the cache folder afterwards.

    The official test set is kept where the copy has the official order, which the class counts of its last
    examples tell; otherwise ``test`` is ``None``.

    Raises:
        DataError: if it cannot be downloaded or written, or is not what it should be.
    """
    source = SOURCES[name]
    try:
        path = (cache_folder() if cache is None else cache) / f"{name}.npz"
        if not path.exists():
            _store(path, name, source)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder
        raise DataError(
            f"{name}: the cache folder cannot be used ({reason(error)}); choose another with cache= or XDG_CACHE_HOME"
        ) from error
    return replace(npz.read(str(path), path), name=name, classes=source.classes)


def cache_folder() -> Path:
    """Return the user's cache folder for data, by the custom of the system; ``XDG_CACHE_HOME`` is honoured."""
    if os.environ.get("XDG_CACHE_HOME"):
        base = Path(os.environ["XDG_CACHE_HOME"])
    elif sys.platform == "darwin":
        base = Path("~/Library/Caches").expanduser()
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", "~/AppData/Local")).expanduser()
    else:
        base = Path("~/.cache").expanduser()
    return base / "widthwise"


def _store(path: Path, name: str, source: Source) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part:  # an unwritable folder shows before the download, not after
        arrays = _checked(name, source, *_download(name, source, path.with_suffix(".arff")))
        with part.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _download(name: str, source: Source, path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        return arrays_of(source.data_id, path, sum(source.train) + sum(source.test))
    except (OSError, ValueError) as error:  # no network, OpenML's own errors, a broken download
        raise DataError(
            f"{name}: cannot be downloaded from OpenML ({reason(error)}); connect to the network, or give the path "
            "of a folder with its files instead of its name"
        ) from error


def arrays_of(data_id: int, path: Path, rows: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Numbers and labels of a data set of OpenML, whose file lies at ``path`` meanwhile.

    The file must have the hash that OpenML states of it.

    Raises:
        DataError: if what OpenML sends is not what it states, or larger than any of these sets.
        OSError: if it cannot be had.
    """
    about = _description(fetched(_ABOUT.format(data_id), _ABOUT_BYTES))
    try:
        download(about["url"], path, about["md5_checksum"], _DATA_BYTES)
        return arff.read(path, about["default_target_attribute"], rows)
    finally:
        path.unlink(missing_ok=True)


def _description(answer: bytes) -> dict[str, str]:
    """What OpenML says of a data set: where it lies, its hash, its target."""
    try:
        found = json.loads(answer)["data_set_description"]
        said = {name: found[name] for name in ("url", "md5_checksum", "default_target_attribute")}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"OpenML's description of it is no such ({reason(error)})") from error
    if not all(isinstance(value, str) for value in said.values()):
        raise DataError("OpenML's description of it lacks its address, hash or target")
    return {**said, "url": re.sub("^http:", "https:", said["url"])}


def _checked(name: str, source: Source, data: NDArray[Any], target: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return the arrays to keep, or say what is wrong with what came."""
    count = sum(source.train) + sum(source.test)
    if data.shape != (count, int(np.prod(source.shape))) or target.shape != (count,):
        raise _unexpected(name, f"shape {data.shape} with {target.shape} labels")
    x, y = _bytes(name, data), _labels(name, target, len(source.classes))
    if not np.array_equal(np.bincount(y), np.add(source.train, source.test)):
        raise _unexpected(name, "other numbers of examples in its classes")
    if source.sha256 and hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest() != source.sha256:
        raise _unexpected(name, "other pixels or another order than the original")
    x = _planes(x) if source.shape[0] == 3 else x.reshape(-1, *source.shape)
    last = count - sum(source.test)
    if np.array_equal(np.bincount(y[last:], minlength=len(source.test)), source.test):
        return {"x": x[:last], "y": y[:last], "x_test": x[last:], "y_test": y[last:]}
    return {"x": x, "y": y}


def _bytes(name: str, data: NDArray[Any]) -> NDArray[np.uint8]:
    if data.dtype.kind not in "iuf" or not ((data >= 0) & (data <= 255)).all():
        raise _unexpected(name, "values that are no pixels 0 to 255")
    pixels = data.astype(np.uint8)
    if not np.array_equal(pixels, data):
        raise _unexpected(name, "pixels that are no whole numbers")
    return pixels


def _labels(name: str, target: NDArray[Any], classes: int) -> NDArray[np.uint8]:
    try:
        labels = target.astype(np.float64)
    except ValueError:
        raise _unexpected(name, f"labels such as {str(target[0])[:20]!r}") from None
    labels[labels == classes] = 0  # SVHN numbers the digit 0 as 10
    if not np.isin(labels, np.arange(classes)).all():
        raise _unexpected(name, f"labels outside 0 to {classes - 1}")
    return labels.astype(np.uint8)


def _planes(x: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return colour images ``(n, 3, 32, 32)``, whether stored plane by plane or pixel by pixel.

    OpenML does not say which. In natural images neighbours are alike, so the layout with the smaller steps
    between channels, rows and columns is the right one.
    """
    planar = x.reshape(-1, 3, 32, 32)
    interleaved = x.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2)
    best = min((planar, interleaved), key=_roughness)
    return np.ascontiguousarray(best)


def _roughness(images: NDArray[np.uint8]) -> float:
    sample = images[:256].astype(np.int16)
    return float(sum(np.abs(np.diff(sample, axis=axis)).mean() for axis in (1, 2, 3)))


def _unexpected(name: str, what: str) -> DataError:
    return DataError(
        f"{name}: OpenML sent {what}; try again later, or give the path of a folder with its files instead of its name"
    )
