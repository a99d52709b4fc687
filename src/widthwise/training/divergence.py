"""Networks that leave the finite numbers in training: which, at which step, and the layer where it began.

Training many networks goes on when one of them diverges. Loops look at the weights once an epoch, and keep those from
before it: an epoch in which a network is lost is run again from there, step by step, to see where.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from widthwise._finite import first_not_finite

__all__ = ["DivergenceWarning", "Step", "reported_elsewhere", "tell", "where_lost"]

Step = tuple[Tensor, Callable[[], None]]
"""The examples of a step, and what does it."""


class DivergenceWarning(UserWarning):
    """A network left the finite numbers in training; the message names it, the step, and the layer where it began."""


@contextmanager
def reported_elsewhere() -> Iterator[None]:
    """Within it nothing is warned of: for callers whose own results say which networks diverged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        yield


def where_lost(steps: Iterable[Step], network: Callable[[], nn.Module]) -> tuple[int, str]:
    """Do the steps of an epoch until one makes a network's weights NaN or infinite.

    Args:
        steps: of the epoch, from its start.
        network: the network as it is by then.

    Returns:
        The step, counted from 1, and what was first in it: a layer, or the weight that its update carried too far.
    """
    number = 0
    for x, do in steps:
        number += 1
        before = network()
        do()
        after = network()
        lost = [name for name, weight in after.named_parameters() if not weight.isfinite().all()]
        if lost:
            return number, first_not_finite(before, x) or f"the update of {lost[0]!r} leaves the finite numbers"
    return number, "an update leaves the finite numbers"


def tell(lost: list[int], count: int, epoch: int, steps: Iterable[Step], network: Callable[[], nn.Module]) -> None:
    """Warn that some networks were lost in an epoch, and say of the first how."""
    step, said = where_lost(steps, network)
    others = f" (and {len(lost) - 1} more in this epoch)" if len(lost) > 1 else ""
    warnings.warn(
        f"network {lost[0] + 1} of {count} diverged in epoch {epoch + 1}, step {step}{others}: {said}; its metric is"
        " NaN from here on; a lower learning rate may keep it finite",
        DivergenceWarning,
        stacklevel=4,
    )
