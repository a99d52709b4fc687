"""Files that are either the old one or the new one, never half of each."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["atomic_path", "made_folder", "write_text"]


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path in the same folder; on success move it onto ``path`` in one step.

    A crash, a full disk or an exception leaves ``path`` as it was, and no temporary file behind unless the
    process was killed.

    Raises:
        OSError: if the folder cannot be written or the disk is full, ``path`` is a folder, or a file stands where its
            folder should be.
    """
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(f"path: got {os.fspath(path)!r}, a folder; allowed is the name of a file")
    made_folder(target.parent)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.chmod(0o666 & ~_umask())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def made_folder(path: str | os.PathLike[str]) -> Path:
    """The folder ``path``, made if it is not there.

    Raises:
        OSError: if it cannot be made, because a file stands in its place, say.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise NotADirectoryError(f"out: got {os.fspath(path)!r}, but there is a file; allowed is a folder") from None
    return folder


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, atomically."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
