"""Checks of all that is no number."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from widthwise.errors.kinds import InputError, InputTypeError
from widthwise.errors.words import outlined, shown

__all__ = ["check_choice", "check_finite", "check_flag", "check_function", "check_path", "check_type"]

T = TypeVar("T")


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
