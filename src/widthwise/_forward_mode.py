"""Forward-mode differentiation of any module."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from torch.nn.attention import SDPBackend, sdpa_kernel

__all__ = ["forward_mode"]


@contextmanager
def forward_mode() -> Iterator[None]:
    """Compute attention by its formula, since the fused kernels lack second derivatives and rules for forward mode.

    What PyTorch says about its own code when it first loads those rules is left out, and that it batches some of them
    one by one.
    """
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch")
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        yield
