"""What a fuzzer needs of a loader: valid files to start from, and a function that loads bytes as the user's file."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from widthwise.errors import InputError, InputTypeError

__all__ = ["TARGETS", "Dialect", "Memory", "Target", "attempt", "in_file", "target"]

Dialect = Callable[[bytes, Path], object]
"""Loads bytes as what they are in that dialect; the folder is for files, which the next input overwrites."""
Seeds = Callable[[], Sequence[Sequence[bytes]]]


@dataclass(frozen=True)
class Target:
    """A loader.

    An input is one byte that chooses the dialect (its place, modulo their number), then what the dialect takes.

    Attributes:
        name: of the loader.
        dialects: ways in which its bytes come: plain, packed, as one part of a valid file.
        seeds: valid inputs of each dialect, made when asked for.
        allowed: errors that it may raise.
    """

    name: str
    dialects: Sequence[Dialect]
    seeds: Seeds
    allowed: tuple[type[Exception], ...]

    def inputs(self) -> list[bytes]:
        """Valid inputs of all dialects."""
        return [bytes([place]) + seed for place, seeds in enumerate(self.seeds()) for seed in seeds]


TARGETS: dict[str, Target] = {}


def target(
    name: str, *dialects: Dialect, allowed: tuple[type[Exception], ...] = (InputError, InputTypeError)
) -> Callable[[Seeds], Seeds]:
    """Registers the function that makes the seeds, and with it the loader."""

    def keep(seeds: Seeds) -> Seeds:
        TARGETS[name] = Target(name, dialects, seeds, allowed)
        return seeds

    return keep


def attempt(which: Target, data: bytes, folder: Path) -> Exception | None:
    """Load one input; the expected error that it gave, if any.

    Raises:
        BaseException: whatever else the loader raises, and any error that memory ran out is behind.
    """
    if not data:
        return None
    try:
        with _watched(str(folder)):
            which.dialects[data[0] % len(which.dialects)](data[1:], folder)
    except which.allowed as error:
        for cause in _causes(error):
            if (isinstance(cause, MemoryError) and not _of_parser(cause)) or "malloc of size" in str(cause):
                raise AssertionError(f"memory ran out behind {error!r}") from error
        return error
    return None


def _of_parser(error: MemoryError) -> bool:
    """Whether it is how Python's own parser says that text is nested too deeply, as in a header of NumPy's."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).name == "ast.py"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


_RUNS = frozenset(("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect"))
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_watching: list[str] = []
"""The folder in which alone files may be written while a loader works; empty otherwise."""


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if not _watching:
        return
    if event in _RUNS:
        raise AssertionError(f"{event}{arguments!r:.200}")
    if event == "open" and isinstance(arguments[0], str) and isinstance(arguments[2], int) and arguments[2] & _WRITES:
        if arguments[0].startswith(_watching[0]) and arguments[0].count("/") == _watching[0].count("/") + 1:
            return  # as most do, and quicker seen
        place = os.path.realpath(arguments[0])
        if not place.startswith((_watching[0], os.devnull, *_caches())):
            raise AssertionError(f"writes to {place}")


@cache
def _caches() -> tuple[str, ...]:
    """Where libraries keep what they compile."""
    return tuple(f"{prefix}/" for prefix in (os.path.realpath(sys.prefix), str(Path("~/.cache").expanduser())))


@contextmanager
def _watched(folder: str) -> Iterator[None]:
    """Unpickling, other programs, the network and files elsewhere are errors within, in whatever library."""
    if not _hooked:
        sys.addaudithook(_audit)
        _hooked.append(True)
    _watching.append(folder)
    try:
        yield
    finally:
        _watching.clear()


_hooked: list[bool] = []


class Memory(io.BytesIO):
    """Bytes that a loader takes for the path of a file, which is several times as fast as a file."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name, self._data = name, data

    def open(self, mode: str = "r", **options: str) -> io.BytesIO | io.TextIOWrapper:
        """A new stream of the same bytes."""
        stream = io.BytesIO(self._data)
        return stream if "b" in mode else io.TextIOWrapper(stream, **options)

    def stat(self) -> os.stat_result:
        """Their number as the size of a file."""
        return os.stat_result((0, 0, 0, 0, 0, 0, len(self._data), 0, 0, 0))

    def __str__(self) -> str:
        return self.name


def in_file(data: bytes, folder: Path, name: str) -> Path:
    """A file of such bytes; one that is there keeps its pages, which is several times as fast as emptying it first."""
    path = folder / name
    handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        os.ftruncate(handle, os.write(handle, data))
    finally:
        os.close(handle)
    return path
