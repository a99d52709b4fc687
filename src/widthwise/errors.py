"""One family of errors, and the checks that raise them.

Every message says three things: which argument, what it got, what is allowed. The command line turns any
:class:`InputError` or :class:`InputTypeError` into one line and exit code 2; anything else is a bug.
"""

from __future__ import annotations

import difflib
import inspect
import math
import os
import reprlib
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "CollapseError",
    "CollapseWarning",
    "DataError",
    "InputError",
    "InputTypeError",
    "check_choice",
    "check_depth",
    "check_finite",
    "check_flag",
    "check_function",
    "check_integer",
    "check_number",
    "check_path",
    "check_threads",
    "check_type",
    "outlined",
    "place_of",
    "shown",
    "summary_of",
    "told",
]

T = TypeVar("T")
_LARGEST = 2**63 - 1  # of PyTorch's sizes and seeds
_DEEPEST = 10**6  # layers: more would fill the memory before anything is said
_MOST_THREADS = 1024  # of a process: OpenMP ends it where the system refuses one
_MOST = 120  # characters of a value in a message
_NOBODYS = tuple(str(Path(file).parent / "_")[:-1] for file in (__file__, os.__file__))  # this package, Python's own
_INSTALLED = {"site-packages", "dist-packages"}


class _Short(reprlib.Repr):
    """Values cut off; whole numbers of hundreds of digits, which Python may refuse to write out, by their size."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = _MOST
        self.maxlevel = 2

    def repr_int(self, x: int, level: int) -> str:
        bits = abs(x).bit_length()
        return repr(x) if bits <= 3 * _MOST else f"about {'-' * (x < 0)}2**{bits}"


_SHORT = _Short()


class InputError(ValueError):
    """An argument has a value that is not allowed."""


class InputTypeError(TypeError):
    """An argument has a type that is not allowed."""


class DataError(InputError):
    """A data set or a file cannot be used; the message names the file and how to mend it."""


class CollapseError(InputError):
    """A mask empties a layer or cuts every path from input to output."""


class CollapseWarning(UserWarning):
    """The same as :class:`CollapseError`, where the caller asked for a warning only."""


def check_choice(name: str, got: str, allowed: Iterable[str]) -> str:
    """Return ``got`` if it is one of ``allowed``.

    Args:
        name: the argument's name, for the message.
        got: what the caller passed.
        allowed: the values allowed.

    Raises:
        InputTypeError: if ``got`` is not a string.
        InputError: if it is not among ``allowed``; the message lists them and suggests the nearest.
    """
    options = sorted(allowed)
    check_type(name, got, str)
    if got in options:
        return got
    near = difflib.get_close_matches(got, options, n=1) or [each for each in options if each.lower() == got.lower()]
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise InputError(f"{name}: got {shown(got)}, allowed are {', '.join(options) or 'none, as there are none'}{hint}")


def check_type(name: str, got: Any, kind: type[T] | tuple[type[T], ...]) -> T:
    """Return ``got`` if it is an instance of ``kind``.

    Args:
        name: the argument's name, for the message.
        got: what the caller passed.
        kind: the type allowed, or several.

    Raises:
        InputTypeError: otherwise.
    """
    if isinstance(got, kind):
        return got
    kinds = kind if isinstance(kind, tuple) else (kind,)
    wanted = " or ".join(k.__name__ for k in kinds)
    hint = "; torch.as_tensor makes one of it" if Tensor in kinds and isinstance(got, np.ndarray) else ""
    raise InputTypeError(f"{name}: got {outlined(got)}, allowed is {wanted}{hint}")


def outlined(got: Any) -> str:
    """What a caller passed, short enough to be read aloud: arrays by shape and dtype, anything else cut off.

    >>> outlined(torch.ones(3, 2)), outlined("mlp")
    ('Tensor of shape (3, 2) and dtype torch.float32', "'mlp' of type str")
    """
    if isinstance(got, Tensor | np.ndarray):
        return f"{type(got).__name__} of shape {tuple(got.shape)} and dtype {got.dtype}"
    return f"{shown(got)} of type {type(got).__name__}"


def shown(got: Any) -> str:
    """The ``repr`` of a value, on one line and cut off where it is long: of lists within lists the first few."""
    text = " ".join(_SHORT.repr(got).split())
    return text if len(text) <= _MOST + 40 else f"{text[:_MOST]}..."


def check_integer(name: str, got: Any, low: int = 0, high: int | None = None) -> int:
    """Return ``got`` as an ``int`` if it is a whole number in ``[low, high]``.

    Args:
        name: the argument's name, for the message.
        got: what the caller passed.
        low: smallest value allowed.
        high: largest value allowed, ``None`` for what 64 bits hold.

    Raises:
        InputTypeError: if ``got`` is not a whole number (``True`` is none).
        InputError: if it lies outside the bounds.
    """
    if isinstance(got, bool) or not isinstance(got, Integral):
        raise InputTypeError(f"{name}: got {outlined(got)}, allowed is a whole number")
    value = int(got)
    if not low <= value <= (_LARGEST if high is None else high):
        bound = f"{low} to {high}" if high is not None else f"at least {low}" + " and below 2**63" * (value > low)
        raise InputError(f"{name}: got {shown(value)}, allowed is a whole number, {bound}")
    return value


def check_depth(got: Any, low: int = 1) -> int:
    """Return ``got`` as an ``int`` if it is a number of layers that can be built.

    Raises:
        InputTypeError: if ``got`` is not a whole number.
        InputError: if it is below ``low`` or above a million.
    """
    return check_integer("depth", got, low, _DEEPEST)


def check_threads(name: str, got: Any) -> int:
    """Return ``got`` as an ``int`` if it is a number of threads that a process may have.

    Raises:
        InputTypeError: if ``got`` is not a whole number.
        InputError: if it is below 1 or above 1024.
    """
    return check_integer(name, got, 1, _MOST_THREADS)


def check_number(
    name: str,
    got: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    low_open: bool = False,
    high_open: bool = False,
) -> float:
    """Return ``got`` as a ``float`` if it is a finite number between ``low`` and ``high``.

    Args:
        name: the argument's name, for the message.
        got: what the caller passed.
        low: smallest value allowed.
        high: largest value allowed.
        low_open: whether ``low`` itself is excluded.
        high_open: whether ``high`` itself is excluded.

    Raises:
        InputTypeError: if ``got`` is not a real number.
        InputError: if it is not finite or lies outside the interval.
    """
    if isinstance(got, bool) or not isinstance(got, Real):
        raise InputTypeError(f"{name}: got {outlined(got)}, allowed is a number")
    try:
        value = float(got)
    except OverflowError:  # a whole number or a fraction beyond any float
        value = math.inf
    below = value <= low if low_open else value < low
    above = value >= high if high_open else value > high
    if not math.isfinite(value) or below or above:
        left = "(" if low_open or math.isinf(low) else "["
        said = shown(got) if isinstance(got, int) else f"{got}"  # of NumPy's without the name of its type
        right = ")" if high_open or math.isinf(high) else "]"
        raise InputError(f"{name}: got {said}, allowed is a number in {left}{low:g}, {high:g}{right}")
    return value


def check_flag(name: str, got: Any) -> bool:
    """Return ``got`` as a ``bool`` if it is one; neither texts nor numbers are.

    Raises:
        InputTypeError: otherwise.
    """
    if not isinstance(got, bool | np.bool_):
        raise InputTypeError(f"{name}: got {outlined(got)}, allowed is True or False")
    return bool(got)


def check_path(name: str, got: Any) -> str:
    """Return ``got`` as a text if it is a path.

    Raises:
        InputTypeError: otherwise.
    """
    if not isinstance(got, str | os.PathLike):
        raise InputTypeError(f"{name}: got {outlined(got)}, allowed is a path, a text or a pathlib.Path")
    return os.fspath(got)


def check_function(name: str, got: Any, what: str) -> Callable[..., Any]:
    """Return ``got`` if it can be called and is no class of modules, whose instances were meant.

    Args:
        name: the argument's name, for the message.
        got: what the caller passed.
        what: what is allowed, in words.

    Raises:
        InputTypeError: otherwise.
    """
    if inspect.isclass(got) and issubclass(got, torch.nn.Module):
        raise InputTypeError(
            f"{name}: got the class {got.__name__}, allowed is an instance of it, {got.__name__}(), or {what}"
        )
    if not callable(got):
        raise InputTypeError(f"{name}: got {outlined(got)}, allowed is {what}")
    return got  # type: ignore[no-any-return]


def check_finite(name: str, tensor: Tensor) -> Tensor:
    """Return ``tensor`` if it holds neither NaN nor infinity.

    Raises:
        InputError: otherwise; the message counts the bad entries and gives the place of the first. Also on the meta
            device, where a tensor has no values.
    """
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return tensor
    if tensor.is_meta:
        raise InputError(
            f"{name}: got {outlined(tensor)} on the meta device, where it has no values; allowed is one on a device "
            "that keeps values, such as 'cpu'"
        )
    if bool(torch.isfinite(tensor.detach().sum())):  # one pass; a sum may overflow, hence the look at each below
        return tensor
    bad = ~torch.isfinite(tensor)
    count = int(bad.sum())
    if count:
        first = tuple(torch.nonzero(bad)[0].tolist())
        raise InputError(f"{name}: {count} of {tensor.numel()} values are NaN or infinite, first at {first}")
    return tensor


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
