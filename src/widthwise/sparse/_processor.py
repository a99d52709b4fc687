"""What the processor can do; apart from the kernels, so that asking doesn't load what compiles them."""

from __future__ import annotations

import platform
import warnings
from functools import cache

__all__ = ["REGISTERS", "is_supported", "vector_bytes"]

# Accumulators of one row: eight hide the latency of a fused multiply-add and leave AVX2 half its registers.
REGISTERS = 8


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


def _features() -> dict[str, bool]:
    from llvmlite.binding import get_host_cpu_features

    return dict(get_host_cpu_features())
