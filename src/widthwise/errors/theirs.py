"""What a caller's own code raised, told in a line."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from widthwise.errors.kinds import InputError, InputTypeError

__all__ = ["place_of", "summary_of", "told"]

_NOBODYS = (f"{Path(__file__).parents[1]}{os.sep}", f"{Path(os.__file__).parent}{os.sep}")  # this package, Python's own
_INSTALLED = {"site-packages", "dist-packages"}


@contextmanager
def told(what: Callable[[], str]) -> Iterator[None]:
    """Say what a caller's own function was given when it refuses it.

    Raises:
        InputError: in place of what the function raised, what ``what`` says followed by the first line of its message
            and the place in the caller's code.
    """
    try:
        yield
    except (torch.OutOfMemoryError, NotImplementedError, InputError, InputTypeError):
        raise
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
        raise InputError(f"{what()}: {_first_line(error)}{place_of(error)}") from error


def summary_of(error: BaseException) -> str:
    """What to say in a line of an error of somebody else's code: its kind, its first line and its place.

    >>> summary_of(KeyError("width"))
    "KeyError: 'width'"
    """
    kind = "" if isinstance(error, InputError | InputTypeError) else type(error).__name__
    return ": ".join(filter(None, (kind, _first_line(error)))) + place_of(error)


def place_of(error: BaseException) -> str:
    """The innermost place in the user's own code that led to a caught error, as in `` at nets.py:7``; else nothing.

    Own is what is neither this package, nor Python's library, nor installed beside them.
    """
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        path = frame.f_code.co_filename
        if not path.startswith(("<", *_NOBODYS)) and _INSTALLED.isdisjoint(Path(path).parts):
            return f" at {Path(path).name}:{line}"
    return ""


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
