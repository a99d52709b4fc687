"""Interleaved timing: every contender runs in turn, many times, in one process; ratios come with their spread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np

from widthwise.environment import machine


def interleaved(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    pause: float = 0.0,
    touch: int = 0,
) -> dict[str, list[float]]:
    """Seconds of each contender in each round, one warm-up round not counted.

    A ``pause`` before each lets the threads of the one before come to rest. A virtual machine may give back memory that
    lay free for a second or two, and then takes long to have it again: ``touch`` bytes are had before each, untimed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for i in range(rounds + 1):
        for name, run in contenders.items():
            time.sleep(pause)
            np.empty(touch, np.uint8)[:: 1 << 12] = 0
            began = clock()
            run()
            if i:
                seconds[name].append(clock() - began)
    return seconds


def ratio(slow: list[float], fast: list[float]) -> str:
    """Median of the ratios of the rounds, with the smallest and the largest."""
    ratios = sorted(a / b for a, b in zip(slow, fast, strict=True))
    return f"{statistics.median(ratios):.1f}x ({ratios[0]:.1f} to {ratios[-1]:.1f})"


def header(title: str) -> None:
    """Print what is measured, and on what."""
    print(title)
    for key, value in machine().items():
        print(f"  {key}: {value}")
