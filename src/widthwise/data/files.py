"""Reading files that may be damaged or hostile: nothing is allocated that the file cannot fill."""

from __future__ import annotations

import gzip
import lzma
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol

from widthwise.errors import DataError

__all__ = ["MAX_BYTES", "Source", "capacity", "listed", "opened", "parts", "reason"]

MAX_BYTES = 2**31
"""Largest content read from one file: as float32, 8 GiB of pixels."""

_RATIO = 1032  # DEFLATE packs no tighter; images packed by LZMA stay far below
_SLACK = 2**16
_CHUNK = 2**20
_XZ_MEMORY = 2**27  # the largest preset needs 65 MiB


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass
class Source:
    """The unpacked content of one file, read from front to end."""

    path: Path
    stream: _Readable
    capacity: int

    def take(self, count: int, what: str) -> bytearray:
        """Return exactly ``count`` bytes.

        Raises:
            DataError: if the file cannot hold or does not hold that many; ``what`` says what they are.
        """
        if count > self.capacity:
            raise DataError(
                f"{self.path}: declares {count} bytes of {what}, more than a file of its size can hold: "
                "damaged or mislabelled; copy it again"
            )
        data = self._up_to(count)
        if len(data) < count:
            raise DataError(
                f"{self.path}: {what} end after {len(data)} of {count} bytes: truncated; copy the file again"
            )
        return data

    def rest(self) -> bytearray:
        """Return everything up to the end.

        Raises:
            DataError: if it unpacks to more than :data:`MAX_BYTES` or a plausible multiple of the file's size.
        """
        data = self._up_to(self.capacity + 1)
        if len(data) > self.capacity:
            raise DataError(f"{self.path}: holds more than {self.capacity} bytes: too large, or no images")
        return data

    def end(self) -> None:
        """Check that nothing is left.

        Raises:
            DataError: otherwise.
        """
        if self.stream.read(1):
            raise DataError(f"{self.path}: longer than its header declares: damaged; copy the file again")

    def _up_to(self, count: int) -> bytearray:
        data = bytearray()
        while len(data) < count and (chunk := self.stream.read(min(_CHUNK, count - len(data)))):
            data += chunk
        return data


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """Open a plain, gzip or xz file; which of them it is, its first bytes tell.

    Raises:
        DataError: if it cannot be read, is damaged, or ends early.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(6)
            file.seek(0)
            size = path.stat().st_size
            if magic.startswith(b"\x1f\x8b"):
                yield Source(path, gzip.GzipFile(fileobj=file), capacity(size))
            elif magic == b"\xfd7zXZ\0":
                yield Source(path, _Xz(file), capacity(size))
            else:
                yield Source(path, file, min(size, MAX_BYTES))
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno:
            raise DataError(f"{path}: {error.strerror}; check the path and its permissions") from error
        raise DataError(f"{path}: {reason(error)}: damaged or truncated; copy the file again") from error


def capacity(packed: int) -> int:
    """Return the most bytes that a compressed file of ``packed`` bytes is trusted to hold."""
    return min(MAX_BYTES, _RATIO * packed + _SLACK)


def parts(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Divide files into training and test files: those with the word ``test`` in their name are test files.

    Raises:
        DataError: if all are test files.

    >>> parts([Path("a/test-0.parquet"), Path("a/train-0.parquet"), Path("a/latest.parquet")])[1]
    [PosixPath('a/test-0.parquet')]
    """
    test = [file for file in files if len(files) > 1 and re.search(r"(^|[-_.])test([-_.]|$)", file.name)]
    train = [file for file in files if file not in test]
    if not train:
        raise DataError(f"{files[0].parent}: holds test files only; add the training files")
    return train, test


def listed(names: Iterable[str]) -> str:
    r"""Return names out of a file for a message: on one line, the first fifty of them.

    >>> listed(["a", "b\nc"]), listed([])
    ('a, b c', 'none')
    """
    return ", ".join(" ".join(name.split()) for name in islice(names, 50)) or "none"


def reason(error: BaseException) -> str:
    r"""Return the first line of an error's message, or its type where it has none.

    >>> reason(ValueError("one\ntwo")), reason(ValueError())
    ('one', 'ValueError')
    """
    return next(iter(str(error).splitlines()), "") or type(error).__name__


class _Xz:
    """An xz stream whose dictionary may not claim more than a set memory, unlike ``lzma.LZMAFile``'s."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._unpack = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

    def read(self, size: int, /) -> bytes:
        while not self._unpack.eof:
            packed = self._file.read(_SLACK) if self._unpack.needs_input else b""
            if self._unpack.needs_input and not packed:
                raise EOFError("the xz stream ends before its end mark")
            if data := self._unpack.decompress(packed, size):
                return data
        if self._unpack.unused_data or self._file.read(1):
            raise lzma.LZMAError("something follows the xz stream")
        return b""
