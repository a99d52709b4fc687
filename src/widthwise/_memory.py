"""How much memory there is."""

from __future__ import annotations

import functools
import os
import re
from contextlib import suppress
from pathlib import Path

import torch

from widthwise.errors import InputError

__all__ = ["available_memory", "check_room", "gib", "keep_freed", "refused_memory"]

_MEMINFO = Path("/proc/meminfo")
_KEPT = 31 << 20


def available_memory(device: torch.device | None = None) -> int | None:
    """Bytes that can be had on a device, the CPU by default; ``None`` where that is not known.

    On a CPU what Linux calls available; elsewhere all that there is.
    """
    if device is not None and device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    with suppress(OSError, StopIteration):  # no Linux
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    with suppress(AttributeError, OSError, ValueError):  # no POSIX
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def check_room(what: str, needed: float, allowed: str, device: torch.device | None = None, share: float = 1.0) -> None:
    """Refuse what does not fit into memory, before it is begun.

    Args:
        what: the argument's name and what takes the memory, for the message.
        needed: bytes.
        allowed: instead.
        device: where; the CPU by default.
        share: of what is free that may be taken.

    Raises:
        InputError: if it needs more; the message says how much there is.
    """
    free = available_memory(device)
    if free is not None and needed > share * free:
        raise InputError(f"{what} takes {gib(needed)} and {gib(free)} are free; allowed {allowed}")


def refused_memory(error: BaseException) -> str | None:
    """If an error says that there was no memory for something, how much was asked for, in words; else ``None``.

    >>> refused_memory(RuntimeError("can't allocate memory: you tried to allocate 2147483648 bytes"))
    '2 GiB'
    """
    said = str(error)
    if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "allocate memory" not in said:
        return None
    asked = re.search(r"allocate (\d+) bytes", said)
    return "some" if asked is None else gib(int(asked[1]))


def gib(size: float) -> str:
    """Bytes as a text in GiB.

    >>> gib(3 * 2**29)
    '1.5 GiB'
    """
    return f"{min(size, 2**999) / 2**30:.3g} GiB"


@functools.cache
def keep_freed() -> None:
    """Have the C library keep freed matrices for the next ones, instead of giving them back and asking again.

    By default glibc maps blocks of 128 KiB and more, and gives back what is free at the end of its heap from twice that
    on; each page, had again, takes the system microseconds. Both limits rise to the size of a mapped block that is
    freed, up to 32 MiB. This one is never touched and takes no memory; with other libraries nothing changes.
    """
    torch.empty(_KEPT, dtype=torch.uint8)
