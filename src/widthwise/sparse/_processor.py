"""What the processor can do; apart from the kernels, so that asking doesn't load what compiles them."""

from __future__ import annotations

import platform
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path

__all__ = ["REGISTERS", "cache_bytes", "is_supported", "near_features", "tile_registers", "vector_bytes"]

# Accumulators of one row: eight hide the latency of a fused multiply-add and leave AVX2 half its registers.
REGISTERS = 8
_NEAREST = 32 * 1024  # bytes of the cache nearest to a core, on nearly all of them


@cache
def is_supported() -> bool:
    """Whether this processor multiplies and adds vectors in one instruction; if not, says so once.

    Every 64-bit ARM does, and every x86 of the last ten years.
    """
    if "86" not in platform.machine() and "AMD64" not in platform.machine():
        return True
    found = _features()
    if found.get("avx2") and found.get("fma"):
        return True
    warnings.warn("this processor has no AVX2: sparse layers run as dense ones, no faster", stacklevel=2)
    return False


@cache
def vector_bytes() -> int:
    """Width of the machine's vector registers: 64 with AVX-512, else 32, which NEON does in two halves."""
    return 64 if _features().get("avx512f") else 32


def tile_registers(width: int) -> int:
    """Registers of ``width`` bytes to a packed tile at most.

    Backward a tile of each gradient, one of the input and what is multiplied share the registers: the accumulators of
    one row are too many where there are sixteen.
    """
    return REGISTERS if width == 64 else REGISTERS // 2


def near_features() -> int:
    """Features of which the widest tile fills the cache nearest to a core."""
    return _NEAREST // (tile_registers(vector_bytes()) * vector_bytes())


@cache
def cache_bytes() -> int:
    """Size of the cache that one core has for itself, beyond the first: half a megabyte if the system doesn't tell."""
    with suppress(OSError, ValueError):
        text = Path("/sys/devices/system/cpu/cpu0/cache/index2/size").read_text(encoding="ascii").strip()
        return int(text.removesuffix("K")) * 1024
    return 512 * 1024


def _features() -> dict[str, bool]:
    from llvmlite.binding import get_host_cpu_features

    return dict(get_host_cpu_features())
