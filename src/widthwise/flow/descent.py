"""Plain gradient descent on all data at once, watched so that it stops before it diverges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from widthwise.errors import InputError
from widthwise.flow.ode import Effort
from widthwise.flow.system import System, largest_eigenvalue

__all__ = ["check_stable", "descend"]

_CHECKS = 50  # of stability in a run, evenly spaced


def descend(system: System, steps: Sequence[int], lr: float, effort: Effort) -> Iterator[tuple[int, Tensor]]:
    """Give the displacement after each of ``steps``, increasing; the tensor is overwritten afterwards.

    Raises:
        InputError: as soon as ``lr`` is not below 2 / lambda_max of the NTG, at the start or at a later check.
    """
    state = system.start()
    velocity = torch.empty_like(state)
    vector = check_stable(system, state, lr, 0, None, effort)
    every = max(50, steps[-1] // _CHECKS)
    done = 0
    for wanted in steps:
        while done < wanted:
            system.velocity(state, velocity)
            state.add_(velocity, alpha=lr)
            done += 1
            if done % every == 0:
                vector = check_stable(system, state, lr, done, vector, effort)
        yield wanted, state
    effort.gradients += done
    effort.steps += done


def check_stable(system: System, state: Tensor, lr: float, step: int, vector: Tensor | None, effort: Effort) -> Tensor:
    """Compare ``lr`` with 2 / lambda_max; return the vector from which the next power method starts.

    Raises:
        InputError: if it is not smaller; the message gives the largest stable step.
    """
    value, vector, products = largest_eigenvalue(system, state, vector)
    effort.products += products
    largest = float(value.max()) if value.isfinite().all() else float("inf")
    if not lr * largest < 2:
        raise InputError(
            f"lr: got {lr:g}, but at step {step} the largest eigenvalue of the NTG is {largest:.4g}; allowed is a step "
            f"below 2/lambda_max = {2 / largest:.4g} (for the loss 1/2 sum of squares)"
        )
    return vector
