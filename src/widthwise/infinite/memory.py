"""How much memory there is, and what to do instead where it does not suffice."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from widthwise.errors import InputError

__all__ = ["check_fits", "free_memory"]

_GIB = 1 << 30


def free_memory(device: torch.device) -> int:
    """Bytes that can be had on a device; on a CPU what Linux calls available."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def check_fits(n1: int, n2: int, x: Tensor, count: int) -> None:
    """Check that ``count`` matrices fit into memory.

    Raises:
        InputError: if not; the message says how much they take and which function streams them.
    """
    needed, free = count * n1 * n2 * x.element_size(), free_memory(x.device)
    if needed > free:
        raise InputError(
            f"x1: {count} kernel matrices of {n1} x {n2} take {needed / _GIB:.1f} GiB, of which {free / _GIB:.1f} are "
            "free; use blocks(), which yields a few rows at a time, or save(), which writes to a file"
        )
