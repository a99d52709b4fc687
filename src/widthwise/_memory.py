"""How much memory there is."""

from __future__ import annotations

from pathlib import Path

import torch

__all__ = ["available_memory", "gib"]


def available_memory(device: torch.device | None = None) -> int | None:
    """Bytes that can still be had on a device, the CPU by default; ``None`` where that is not known."""
    if device is not None and device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def gib(size: float) -> str:
    """Bytes as a text in GiB.

    >>> gib(3 * 2**29)
    '1.5 GiB'
    """
    return f"{size / 2**30:.3g} GiB"
