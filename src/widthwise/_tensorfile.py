"""Named tensors and a JSON header in a safetensors file: written whole or not at all; reading executes nothing."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from widthwise._atomic import atomic_path
from widthwise.errors import DataError, check_path

__all__ = ["read_sizes", "read_state", "read_tensors", "steady", "write_tensors"]

Path = str | os.PathLike[str]
T = TypeVar("T")
_PATIENCE = 100  # times a file may be replaced by others just while it is opened


def write_tensors(
    path: Path, kind: str, version: int, header: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write tensors and a header to ``path``; an older file is replaced in one step. Equal contents give equal bytes.

    Args:
        path: the file.
        kind: what sort of file it is; the one key of its metadata, since safetensors writes several in any order.
        version: of that sort.
        header: JSON values; their order is kept.
        tensors: by name; copied to the CPU.

    Raises:
        OSError: if the folder cannot be written or the disk is full.
        InputTypeError: if ``path`` is no path.
    """
    copies = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()}
    metadata = {kind: json.dumps({"version": version, **header})}
    with atomic_path(path) as part:
        try:
            save_file(copies, part, metadata)
        except SafetensorError as error:  # how the library reports a full disk
            raise OSError(f"{os.fspath(path)}: cannot be written ({error})") from error


def read_tensors(
    path: Path, kind: str, version: int, fields: Mapping[str, type | tuple[type, ...]]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a file, the tensors on the CPU.

    Args:
        path: the file.
        kind: what sort of file it must be.
        version: of that sort.
        fields: the header's keys and the types of their values.

    Raises:
        DataError: if the file is missing, damaged, of another kind or version, or a field is missing or of another
            type.
    """
    with _opened(path, kind) as file:
        header = _header(path, kind, version, file.metadata() or {})
        tensors = _tensors(file)
    for name, types in fields.items():
        if name not in header or not isinstance(header[name], types):
            raise _unusable(path, kind, f"its header gives {name} as {header.get(name)!r}")
    return header, tensors


def _trouble(path: Path, kind: str) -> str:
    """Why a file cannot be opened, by what it begins with."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # any path that safetensors takes
            start = file.read(3)
    except IsADirectoryError:
        return "is a folder, allowed is a file"
    except OSError as error:
        return f"cannot be opened ({error.strerror})"
    if start[:2] == b"PK" or re.match(rb"\x80[\x02-\x05][^\0]", start):  # ours may begin with 80 02 00
        return (
            "was written by torch.save or another pickle, which is never read here; fill a model with "
            "torch.load(path, weights_only=True), then widthwise.save"
        )
    return f"is no safetensors file, as those of kind {kind} are, or is damaged"


def read_sizes(
    path: Path, kind: str, version: int, fields: Mapping[str, type]
) -> tuple[dict[str, Any], dict[str, tuple[str, list[int]]]]:
    """Header of a file, and the type and shape of each tensor in the format's words; no tensor is read.

    Raises:
        DataError: as :func:`read_tensors`.
    """
    with _opened(path, kind) as file:
        header = _header(path, kind, version, file.metadata() or {})
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        sizes = {name: (part.get_dtype(), list(part.get_shape())) for name, part in slices.items()}
    for name, types in fields.items():
        if not isinstance(header.get(name), types):
            raise _unusable(path, kind, f"its header gives {name} as {header.get(name)!r}")
    return header, sizes


def read_state(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of any safetensors file, the tensors on the CPU.

    Raises:
        DataError: if the file is missing or damaged.
    """
    with _opened(path, "weights") as file:
        return dict(file.metadata() or {}), _tensors(file)


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[Any]:
    place = check_path("path", path)
    try:
        # the library opens it twice by name: for the header, and for the tensors
        with steady(place, lambda: safe_open(place, "pt", device="cpu")) as file:
            yield file
    except DataError:
        raise
    # A size beyond 63 bits, for one, is a TypeError.
    except (SafetensorError, OSError, TypeError, ValueError, RuntimeError) as error:
        said = "" if isinstance(error, OSError) else f" ({' '.join(str(error).split()):.200})"
        raise DataError(f"{place}: {_trouble(path, kind)}{said}") from error


def steady(path: Path, opening: Callable[[], T]) -> T:
    """What ``opening`` gives of one and the same file, however often it opens it by name.

    In between another process may put a new file there; the header of the one with the contents of the other would
    pass for a whole file. Then it is opened anew.

    Raises:
        DataError: if that happens again and again.
    """
    for _ in range(_PATIENCE):
        before = _identity(path)
        found = opening()
        if _identity(path) == before:
            return found
    raise DataError(f"{os.fspath(path)}: is replaced again and again while it is read")


def _identity(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)  # noqa: PTH116  # any path that safetensors takes
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _tensors(file: Any) -> dict[str, Tensor]:
    return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping


def _header(path: Path, kind: str, version: int, metadata: Mapping[str, str]) -> dict[str, Any]:
    if kind not in metadata:
        ours = [other for other in metadata if other.startswith("widthwise.")]
        said = f"it is a {ours[0]:.50} file" if ours else "it holds plain tensors, for safetensors.torch.load_file"
        raise _unusable(path, kind, f"its metadata have no {kind!r}; {said}")
    try:
        header = json.loads(metadata[kind])
    except (ValueError, RecursionError) as error:
        raise _unusable(path, kind, f"its header is no JSON ({error})") from error
    if not isinstance(header, dict) or header.get("version") != version:
        raise _unusable(path, kind, f"its header does not give version {version}, the one known")
    return header


def _unusable(path: Path, kind: str, reason: str) -> DataError:
    return DataError(f"{os.fspath(path)}: not a usable {kind} file, {reason}")
