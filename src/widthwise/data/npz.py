"""NumPy's ``.npz``: ``x`` and ``y``, perhaps ``x_test`` and ``y_test``. Nothing is ever unpickled."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

from numpy.lib import format as npy
from numpy.typing import NDArray

from widthwise._arrayfile import check_header
from widthwise.data.arrays import from_arrays
from widthwise.data.dataset import Dataset
from widthwise.data.files import capacity, listed, reason
from widthwise.errors import DataError

__all__ = ["PATTERN", "read"]

PATTERN = re.compile(r".+\.npz", re.IGNORECASE)

_TRAIN = (("x", "y"), ("x_train", "y_train"))  # the second is Keras's naming
_TEST = ("x_test", "y_test")
_PACKING = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read(name: str, path: Path) -> Dataset:
    """Return the arrays ``x``, ``y`` (or ``x_train``, ``y_train``) and, where there, ``x_test``, ``y_test``.

    What they may be, :func:`~widthwise.data.arrays.from_arrays` says.

    Raises:
        DataError: if the archive is damaged, lacks an array, or holds Python objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            keys = {item.removesuffix(".npy") for item in archive.namelist() if item.endswith(".npy")}
            pair = next((pair for pair in _TRAIN if keys.issuperset(pair)), None)
            if pair is None or len(keys.intersection(_TEST)) == 1:
                raise DataError(
                    f"{path}: holds {listed(sorted(keys))}; it needs the arrays x and y, and "
                    "x_test and y_test both or neither"
                )
            x, y = (_array(archive, path, key) for key in pair)
            test = [_array(archive, path, key) for key in _TEST if key in keys]
    except DataError:
        raise
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise DataError(f"{path}: no readable .npz archive ({reason(error)}); save it again") from error
    return from_arrays(name, x, y, test=(test[0], test[1]) if test else None)


def _array(archive: zipfile.ZipFile, path: Path, key: str) -> NDArray[Any]:
    entry = archive.getinfo(f"{key}.npy")
    if entry.compress_type not in _PACKING or entry.flag_bits & 1:
        raise DataError(f"{path}: {key} is packed in a way NumPy does not use; save it with numpy.savez")
    if entry.compress_size > path.stat().st_size or entry.file_size > capacity(entry.compress_size):
        raise DataError(f"{path}: {key} declares more bytes than the file can hold: damaged; save it again")
    try:
        with archive.open(entry) as stream:
            check_header(stream, entry.file_size)
        with archive.open(entry) as stream:
            array: NDArray[Any] = npy.read_array(stream, allow_pickle=False)
            return array
    except Exception as error:  # NumPy parses the header as Python text and lets any of its errors through
        raise DataError(f"{path}: {key} cannot be read ({reason(error)}); save plain numbers again") from error
