"""Runs a kernel on the threads that PyTorch already has.

PyTorch's own operators run in teams of OpenMP threads, which wait, spinning for a moment, for the next operator. A
second pool beside them would fight them for the cores; here the kernel is handed to the same OpenMP runtime, found
through the library that PyTorch links. Where there is none (macOS, Windows), Python threads do it: the kernels hold no
lock.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from widthwise.sparse._guard import Pointers, guarded

__all__ = ["CHECKS", "Pointers", "announce", "run", "threads"]

_log = logging.getLogger(__name__)
Table = ctypes.Array[ctypes.c_int64]
_Kernel = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
CHECKS = os.environ.get("WIDTHWISE_CHECK_BOUNDS", "0") not in ("", "0")


def threads(work: float) -> int:
    """How many threads ``work`` multiply-adds are worth: PyTorch's number, one below a few microseconds each."""
    worth = int(work / 50_000)
    return min(torch.get_num_threads(), worth) if worth > 1 else 1  # asking takes as long as a small layer


def announce(name: str) -> None:
    """Say which kernel is about to be loaded, which takes a while, or compiled, which takes seconds."""
    _log.info("kernel %s: loading it, after compiling it if this is the first time on this machine", name)


def run(name: str, threads: int, *arguments: Tensor | Pointers | int | None) -> None:
    """Run the kernel ``name`` on ``threads`` threads until its work is done.

    Args:
        name: a kernel of :mod:`widthwise.sparse._kernels`.
        threads: size of the team.
        arguments: what stands in the kernel's table after the counter; a tensor gives its address, ``None`` a zero.
    """
    if CHECKS:
        guarded(name, arguments, lambda cells: _start(name, threads, cells))
        return
    cells = [a if type(a) is int else 0 if a is None else a.data_ptr() for a in arguments]  # type: ignore[union-attr]
    _start(name, threads, cells)


def _start(name: str, threads: int, cells: list[int]) -> None:
    table = _table(len(cells) + 1)(0, *cells)
    if threads == 1:
        _function(name)(table)
    else:
        _team()(name, threads, table)


@cache
def _table(size: int) -> type[Table]:
    return ctypes.c_int64 * size


@cache
def _address(name: str) -> int:
    announce(name)
    from widthwise.sparse._kernels.build import compiled  # it takes a while to load

    return compiled(name)


@cache
def _function(name: str) -> Callable[[Table], None]:
    return _Kernel(_address(name))


@cache
def _team() -> Callable[[str, int, Table], None]:
    """The way to run one kernel on several threads here."""
    start = _openmp()
    if start is None:
        return _python_threads
    return lambda name, size, table: start(_address(name), table, size, 0)


def _openmp() -> Callable[[int, Table, int, int], None] | None:
    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    if not sys.platform.startswith("linux"):
        return None
    try:
        start = ctypes.CDLL(str(library)).GOMP_parallel
    except (OSError, AttributeError):
        return None
    start.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    start.restype = None
    return start


def _python_threads(name: str, size: int, table: Table) -> None:
    kernel = _function(name)
    for done in [_pool(size).submit(kernel, table) for _ in range(size)]:
        done.result()


@cache
def _pool(size: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(size, thread_name_prefix="widthwise")
