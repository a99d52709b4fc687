"""Warnings that are not the user's to act on."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet_forward_mode"]


@contextmanager
def quiet_forward_mode() -> Iterator[None]:
    """Leave out what torch says about its own code when it first loads its rules for forward-mode differentiation."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch")
        yield
