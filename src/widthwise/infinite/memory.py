"""Whether kernel matrices fit into memory, and what to do instead where they do not."""

from __future__ import annotations

from torch import Tensor

from widthwise._memory import check_room

__all__ = ["check_fits"]


def check_fits(n1: int, n2: int, x: Tensor, count: int) -> None:
    """Check that ``count`` matrices fit into memory.

    Raises:
        InputError: if not; the message says how much they take and which function streams them.
    """
    what = f"x1: holding {count} kernel matrices of {n1} x {n2}"
    instead = "is blocks(), which yields a few rows at a time, or save(), which writes to a file"
    check_room(what, count * n1 * n2 * x.element_size(), instead, x.device)
