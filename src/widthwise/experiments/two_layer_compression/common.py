"""What the experiments share: random networks, and marks for a legend."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from widthwise.compression import Target
from widthwise.experiments.common import seeded
from widthwise.report.style import LIGHT

__all__ = ["COLOURS", "random_target", "timed", "unit"]

T = TypeVar("T")
COLOURS = [LIGHT[f"series-{i}"] for i in (1, 2, 3, 4, 5, 0)]


def unit(*shape: int, source: torch.Generator) -> Tensor:
    """Rows uniform on the sphere, float64."""
    return functional.normalize(torch.randn(*shape, dtype=torch.float64, generator=source), dim=-1)


def random_target(N: int, d: int, seed: int, activation: str = "relu") -> Target:
    """N neurons uniform on the sphere in R^d with coefficients uniform on [0, 2], so that mu_a = 1."""
    source = seeded(seed)
    W = unit(N, d, source=source)
    return Target.unit(W, 2 * torch.rand(N, dtype=torch.float64, generator=source), activation)


def timed(run: Callable[[], T]) -> tuple[T, float]:
    """What ``run`` returns, and the seconds it took."""
    began = time.perf_counter()
    result = run()
    return result, time.perf_counter() - began
