"""Debug mode of the kernels: what they may touch ends at pages that nobody may.

Kernels get bare addresses and read and write whole registers, so no compiler checks their bounds. With
``WIDTHWISE_CHECK_BOUNDS=1`` in the environment (Linux) each runs on copies of its arguments that fill up the room
before an inaccessible page, and again on copies that start right behind one. The first access beyond an argument ends
the process with one line on standard error that names the kernel, the argument and the place.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

__all__ = ["Pointers", "guarded"]

_PAGE = mmap.PAGESIZE
_ADDRESS_AT, _SA_SIGINFO, _MASK_BYTES = 16, 4, 128  # of the C library's siginfo and sigaction on Linux
_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


class Pointers:
    """Tensors whose addresses an argument of a kernel lists."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = list(tensors)
        self.table = torch.tensor([part.data_ptr() for part in tensors])

    def data_ptr(self) -> int:
        """Where the list lies."""
        return self.table.data_ptr()


@dataclass
class _Region:
    """Memory of some arguments that overlap, and the copy a kernel works on."""

    first: int
    last: int
    arguments: list[tuple[int, Tensor]]
    base: int = 0
    whole: tuple[int, int] = (0, 0)

    def moved(self, address: int) -> int:
        return self.base + address - self.first


_SIGHT: dict[str, Any] = {"kernel": "", "regions": []}


def guarded(name: str, arguments: Sequence[Any], start: Callable[[list[int]], None]) -> None:
    """Let ``start`` run a kernel on guarded copies, and take its results over.

    Args:
        name: of the kernel.
        arguments: as :func:`widthwise.sparse._team.run` takes them.
        start: runs the kernel on the numbers its table holds.
    """
    _watch()
    for at_end in (True, False):
        tensors = [(i, t) for i, a in enumerate(arguments) for t in (a.tensors if type(a) is Pointers else [a])]
        regions = _regions([(i, t) for i, t in tensors if isinstance(t, Tensor)])
        with _mapped(regions, at_end):
            _SIGHT.update(kernel=name, regions=regions)
            moved = [_moved(a, regions) for a in arguments]
            start([a.data_ptr() if isinstance(a, Tensor) else a for a in moved])
            _SIGHT.update(regions=[])
            for region in regions if not at_end else ():
                ctypes.memmove(region.first, region.base, region.last - region.first)


def _moved(argument: Any, regions: list[_Region]) -> Any:
    """A number for the kernel's table; a tensor of them where the argument lists tensors, for the caller to keep."""
    if argument is None or type(argument) is int:
        return argument or 0
    if type(argument) is Pointers:
        return torch.tensor([_moved(part, regions) for part in argument.tensors])
    address = argument.data_ptr()
    found = [r for r in regions if r.first <= address < r.last]
    return found[0].moved(address) if found else address


def _regions(tensors: list[tuple[int, Tensor]]) -> list[_Region]:
    """What the arguments may touch; those that overlap stay together."""
    spans = sorted(((*_span(t), i, t) for i, t in tensors if t.numel()), key=lambda span: span[:3])
    merged: list[_Region] = []
    for first, last, index, tensor in spans:
        if merged and first < merged[-1].last:
            merged[-1].last = max(merged[-1].last, last)
            merged[-1].arguments.append((index, tensor))
        else:
            merged.append(_Region(first, last, [(index, tensor)]))
    return merged


def _span(tensor: Tensor) -> tuple[int, int]:
    """First byte and the one after the last: of the numbers, and of what fills up their last line."""
    size, storage = tensor.element_size(), tensor.untyped_storage()
    reach = max(1, *(n * step for n, step in zip(tensor.shape, tensor.stride(), strict=True)), 1)
    exact = 1 + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    first = tensor.data_ptr()
    return first, min(storage.data_ptr() + storage.nbytes(), first + max(reach, exact) * size)


@contextmanager
def _mapped(regions: list[_Region], at_end: bool) -> Iterator[None]:
    """Copies between two pages without access."""
    libc, none, both = _libc(), 0, mmap.PROT_READ | mmap.PROT_WRITE
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    try:
        for region in regions:
            size = region.last - region.first
            room = -(-size // _PAGE) * _PAGE
            start = libc.mmap(None, room + 2 * _PAGE, none, private, -1, 0)
            if start in (None, ctypes.c_void_p(-1).value) or libc.mprotect(start + _PAGE, room, both):
                raise MemoryError(f"no room for the guarded copy of {size} bytes")
            region.whole = start, room + 2 * _PAGE
            region.base = start + _PAGE + (room - size if at_end else 0)
            ctypes.memmove(region.base, region.first, size)
        yield
    finally:
        for region in regions:
            if region.whole[0]:
                libc.munmap(*region.whole)


@cache
def _libc() -> Any:
    if not sys.platform.startswith("linux"):
        raise OSError("WIDTHWISE_CHECK_BOUNDS: allowed on Linux only")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype, libc.mmap.argtypes = (
        ctypes.c_void_p,
        [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long],
    )
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return libc


@cache
def _watch() -> Any:
    """Have the system report accesses without right to :func:`_report`; what is returned must be kept."""
    handler = _Handler(_report)
    action = (ctypes.c_char * (8 + _MASK_BYTES + 16))()  # handler, mask, flags, restorer
    ctypes.memmove(action, ctypes.byref(ctypes.cast(handler, ctypes.c_void_p)), 8)
    ctypes.memmove(ctypes.addressof(action) + 8 + _MASK_BYTES, ctypes.byref(ctypes.c_int(_SA_SIGINFO)), 4)
    _libc().sigaction(signal.SIGSEGV, action, None)
    return handler


def _report(number: int, info: int, context: int) -> None:
    """Say what was touched and end the process; a kernel holds no lock, so Python may run here."""
    address = ctypes.c_uint64.from_address(info + _ADDRESS_AT).value
    where = f"address {address:#x}"
    for region in _SIGHT["regions"]:
        if region.whole[0] <= address < sum(region.whole):
            index, tensor = region.arguments[0]
            place = (address - region.moved(tensor.data_ptr())) // tensor.element_size()
            where = f"argument {index + 1}, {tuple(tensor.shape)} of {tensor.dtype}, at number {place}"
    os.write(2, f"widthwise: kernel {_SIGHT['kernel']} reads or writes out of bounds: {where}\n".encode())
    os._exit(128 + signal.SIGABRT)
