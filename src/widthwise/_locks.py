"""Locks on files that end with their process, however it ends. Where the system has none, nothing is held."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # of POSIX
    fcntl = None  # type: ignore[assignment]

__all__ = ["alone", "elsewhere", "hold_alone", "shared"]

_POLL = 0.1  # seconds between looks at who holds a file


def hold_alone(handle: int) -> bool:
    """Lock an open file for this process alone, until it is closed; whether that was possible."""
    return _locked(handle, "LOCK_EX", "LOCK_NB")


@contextmanager
def shared(path: Path) -> Iterator[Callable[[], bool]]:
    """Hold a file, made if it is not there, together with others; the last one removes it.

    Yields:
        A function that tells whether nobody else holds it any more; if so, nobody can before the file is removed or
        let go. If not, it is let go at once: the others may still find themselves alone.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        while _locked(handle, "LOCK_SH") and not _is(handle, path):  # removed while we waited
            os.close(handle)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        yield lambda: hold_alone(handle)
    finally:
        if hold_alone(handle):
            path.unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def alone(path: Path, wait: Callable[[], object]) -> Iterator[None]:
    """Hold a file, made if it is not there and removed in the end, while no other process holds it.

    Args:
        path: the file; its folder must be there.
        wait: called once if another process holds it, until whose end or death this one then waits.

    Raises:
        OSError: if its folder cannot be written.
    """
    if fcntl is None:
        yield
        return
    handle = _opened(path)
    try:
        waits = False
        while (taken := _taken(handle)) or not _is(handle, path):
            if not taken:  # it was removed by the one that held it
                removed, handle = handle, _opened(path)
                os.close(removed)
                continue
            if not waits:
                wait()
                waits = True
            time.sleep(_POLL)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(handle)


def elsewhere(folder: Path, what: str = "this") -> str:
    """What is said while another process is waited for."""
    return f"another process works on {what} in {folder}: waiting for its end"


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        error.filename = os.fspath(path.parent)  # which the user knows
        raise


def _taken(handle: int) -> bool:
    """Whether another process holds an open file; if not, this one does now, where the file system has locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _locked(handle: int, *how: str) -> bool:
    if fcntl is None:
        return False
    flags = 0
    for name in how:
        flags |= getattr(fcntl, name)
    try:
        fcntl.flock(handle, flags)
    except OSError:  # another holds it, or the file system has no locks
        return False
    return True


def _is(handle: int, path: Path) -> bool:
    """Whether an open file is still the one of its name."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False
