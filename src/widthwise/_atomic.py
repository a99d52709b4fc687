"""Files that are either the old one or the new one, never half of each."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from widthwise._locks import hold_alone
from widthwise.errors import check_path

__all__ = ["atomic_path", "check_folder", "made_folder", "write_text"]

_SUFFIX = ".widthwise-part"


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a path to write to; on success move what is there onto ``path`` in one step.

    The path lies in a folder of its own beside ``path``, since libraries have temporary files too. A crash, a full disk
    or an exception leaves ``path`` as it was, and nothing beside it unless the process was killed; what killed ones
    have left goes when a process first writes there.

    Raises:
        OSError: if the folder cannot be written or the disk is full, ``path`` is a folder, or a file stands where its
            folder should be.
        InputTypeError: if ``path`` is no path.
    """
    target = Path(check_path("path", path))
    if target.is_dir():
        raise IsADirectoryError(f"path: got {os.fspath(path)!r}, a folder; allowed is the name of a file")
    made_folder(target.parent, "path")
    _clear(target.parent.absolute())
    folder, lock = _workplace(target)
    try:
        part = folder / target.name
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.chmod(0o666 & ~_umask())
        part.replace(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def made_folder(path: str | os.PathLike[str], name: str = "out") -> Path:
    """The folder ``path``, made if it is not there; ``name`` is that of the argument, for messages.

    Raises:
        OSError: if it cannot be made, because a file stands in its place, say.
    """
    folder = Path(check_path(name, path))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise _no_folder(name, path) from None
    except OSError as error:
        raise _not_writable(name, path, error) from error
    return folder


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, atomically."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def check_folder(folder: Path) -> None:
    """See that a folder can be written, or made, before the work whose results go there. Nothing is left behind.

    Raises:
        OSError: if it cannot.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise _no_folder("out", folder)
    try:
        Path(tempfile.mkdtemp(suffix=_SUFFIX, prefix=".", dir=there)).rmdir()
    except OSError as error:
        raise _not_writable("out", folder, error) from error


def _not_writable(name: str, path: str | os.PathLike[str], error: OSError) -> OSError:
    """The same error, of the same kind, in words."""
    said = (
        f"{name}: got {os.fspath(path)!r}, where nothing can be written ({error.strerror}); allowed is another folder"
    )
    return type(error)(error.errno, said)


def _no_folder(name: str, path: str | os.PathLike[str]) -> NotADirectoryError:
    return NotADirectoryError(f"{name}: got {os.fspath(path)!r}, but there is a file; allowed is a folder")


def _workplace(target: Path) -> tuple[Path, int | None]:
    """An empty folder beside the target, and the lock that tells others that its process lives, where there are any."""
    while True:
        try:
            folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=_SUFFIX, dir=target.parent))
        except OSError as error:
            error.filename = os.fspath(target)  # which the user knows
            raise
        try:
            lock = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # taken for abandoned before it was locked
            continue
        except PermissionError:  # Windows opens no folders
            return folder, None
        hold_alone(lock)
        if folder.exists():
            return folder, lock
        os.close(lock)


@cache
def _clear(folder: Path) -> None:
    """Remove what processes that are gone were writing."""
    for left in folder.glob(f".*{_SUFFIX}"):
        try:
            lock = os.open(left, os.O_RDONLY)
        except OSError:  # gone, or not ours
            continue
        if hold_alone(lock):
            shutil.rmtree(left, ignore_errors=True)
        os.close(lock)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
