"""The kernels of sparse execution, compiled for this machine on first use and kept on disk after.

Each is a C function of one argument, the address of a table of 64-bit integers (pointers, sizes and flags), so that any
pool of threads can run it. The threads of one call claim pieces of the work in turn from the counter that stands first
in the table. No two pieces write to the same place, and sums are cut without regard to threads, so the results don't
depend on the number of threads.

The weights lie in compressed rows (forward) or columns (backward), those of linear layers in blocks of columns (rows)
where what a row reads of a tile is too much for the cache: ``starts[block * stride + row]`` is where the weights of a
row in a block begin, and ``starts[(block + 1) * stride + row]`` where they end.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import cfunc, njit, types

from widthwise.sparse._kernels import conv, descent, few, few_now, linear, packing

__all__ = ["MODULES", "compiled", "direct"]

MODULES = (conv, descent, few, few_now, linear, packing)


def compiled(name: str) -> int:
    """The address of the kernel ``name``, compiled (or read from the cache on disk) on first use."""
    kernel = _built(name, lambda function, keep: cfunc(types.void(types.CPointer(types.int64)), cache=keep)(function))
    return int(kernel.address)


def direct(name: str) -> Callable[..., None]:
    """The kernel ``name`` of whole numbers as a function for Python to call, compiled likewise."""

    def build(function: Callable[..., None], keep: bool) -> Any:
        signature = types.void(*[types.int64] * len(inspect.signature(function).parameters))
        return njit(signature, nogil=True, cache=keep)(function)

    kernel: Callable[..., None] = _built(name, build)
    return kernel


def _built(name: str, build: Callable[[Any, bool], Any]) -> Any:
    if name not in _KEPT:
        function: Any = next(vars(module)[name] for module in MODULES if name in vars(module))
        function.__qualname__ = f"{name}_{_SOURCES}"
        try:
            _KEPT[name] = build(function, True)
        except RuntimeError:  # no folder to write to: compile for this process alone
            _KEPT[name] = build(function, False)
    return _KEPT[name]


_KEPT: dict[str, Any] = {}
# Numba's cache sees a change of one file alone; the loops it compiles stand in several.
_FILES = sorted(Path(__file__).parent.glob("*.py"))
_SOURCES = hashlib.sha256(b"".join(file.read_bytes() for file in _FILES)).hexdigest()[:12]
