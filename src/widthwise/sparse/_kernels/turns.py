"""Counters that threads share."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic

from widthwise.sparse._kernels.emit import i64

__all__ = ["claim", "finish", "finished"]


@intrinsic
def claim(typing, counter):
    """Adds one to ``counter[0]`` and returns what it was, as one step that no other thread can divide."""
    signature = types.int64(counter)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", arguments[0], i64(1), "monotonic")

    return signature, generate


@intrinsic
def finish(typing, counter):
    """Adds one to ``counter[0]``, so that who then sees it there sees all that was written before."""
    signature = types.int64(counter)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", arguments[0], i64(1), "release")

    return signature, generate


@intrinsic
def finished(typing, counter):
    """``counter[0]``, and with it all that was written before it was counted."""
    signature = types.int64(counter)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(arguments[0], "acquire", 8)

    return signature, generate
