"""When sparse wins: how long dense and sparse layers take on this machine, measured once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from widthwise._atomic import write_text
from widthwise.environment import machine
from widthwise.sparse.linear import SparseLinear

__all__ = ["CostModel", "Rates", "calibrated", "measure"]

_BATCHES = (1, 8, 32, 128)
_SIZE, _FEW, _MANY, _ROUNDS = 768, 0.002, 0.3, 12


@dataclass(frozen=True)
class Rates:
    """Seconds at each of a few batch sizes.

    Attributes:
        dense: of a dense layer, per weight and example.
        sparse: of a sparse layer, per weight that exists and example.
        fixed: of a sparse layer, per call, however little there is to do.
    """

    dense: tuple[float, ...]
    sparse: tuple[float, ...]
    fixed: tuple[float, ...]


@dataclass(frozen=True)
class CostModel:
    """What layers cost here.

    Attributes:
        batches: the sizes of batches that were timed, ascending.
        forward: rates of the forward pass.
        step: rates of the forward and the backward pass together.
    """

    batches: tuple[int, ...]
    forward: Rates
    step: Rates

    def seconds(self, weights: int, kept: int, batch: int, *, training: bool) -> tuple[float, float]:
        """Estimated seconds for one batch: of a dense layer of ``weights``, and a sparse one with ``kept`` of them."""
        rates, place = self.step if training else self.forward, self._place(batch)
        dense, sparse, fixed = (_between(rate, place) for rate in (rates.dense, rates.sparse, rates.fixed))
        return dense * weights * batch, fixed + sparse * kept * batch

    def break_even(self, weights: int, batch: int, *, training: bool) -> float:
        """The sparsity from which on a sparse layer is the faster one; 1 if it never is."""
        dense, fixed = self.seconds(weights, 0, batch, training=training)
        _, full = self.seconds(weights, weights, batch, training=training)
        return min(1.0, max(0.0, 1 - (dense - fixed) / (full - fixed)))

    def _place(self, batch: int) -> float:
        """Where ``batch`` stands among those timed, as a fractional index; beyond the ends rates stay as they are."""
        logs = [math.log(size) for size in self.batches]
        at = min(max(math.log(max(batch, 1)), logs[0]), logs[-1])
        low = max(i for i, log in enumerate(logs[:-1]) if log <= at)
        return low + (at - logs[low]) / (logs[low + 1] - logs[low])


def calibrated() -> CostModel:
    """The cost model of this machine at PyTorch's number of threads: from disk, or measured in about a second.

    It lies in the user's cache folder (``WIDTHWISE_CACHE`` names another), a file for each processor, number of threads
    and version of the libraries. Where that can't be written, it is measured once a process.
    """
    return _calibrated(torch.get_num_threads())


@cache
def _calibrated(threads: int) -> CostModel:
    path = _file()
    with suppress(OSError, ValueError, TypeError, KeyError):
        return _read(path)
    model = measure()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(asdict(model)))
    return model


def measure() -> CostModel:
    """Time dense layers, and sparse ones at two connectivities, of one size at a few batch sizes."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(_SIZE, _SIZE, generator=generator)
    places = torch.rand(_SIZE, _SIZE, generator=generator)
    dense = nn.Linear(_SIZE, _SIZE)
    few, many = (SparseLinear(weight, torch.zeros(_SIZE), mask=places < part) for part in (_FEW, _MANY))
    rows = [_times((dense, few, many), batch) for batch in _BATCHES]
    forward, step = (
        [_rates(row[i], few.nnz, many.nnz, size) for row, size in zip(rows, _BATCHES, strict=True)] for i in (0, 1)
    )
    return CostModel(_BATCHES, Rates(*zip(*forward, strict=True)), Rates(*zip(*step, strict=True)))


def _times(layers: Sequence[nn.Module], batch: int) -> tuple[list[float], list[float]]:
    """Least seconds of each layer, forward and for a step, taken in turn."""
    x = torch.randn(batch, _SIZE).requires_grad_()
    runs: list[Callable[[], object]] = []
    for layer in layers:
        runs += [partial(_forward, layer, x), partial(_step, layer, x)]
    best = [math.inf] * len(runs)
    for _ in range(_ROUNDS + 1):  # the first compiles, and never is the fastest
        for i, run in enumerate(runs):
            began = time.perf_counter()
            run()
            best[i] = min(best[i], time.perf_counter() - began)
    return best[::2], best[1::2]


def _forward(layer: nn.Module, x: Tensor) -> object:
    with torch.no_grad():
        return layer(x)


def _step(layer: nn.Module, x: Tensor) -> None:
    layer(x).sum().backward()


def _rates(seconds: Sequence[float], few: int, many: int, batch: int) -> tuple[float, float, float]:
    """The dense rate, and the straight line through the two sparse times."""
    dense, little, much = seconds
    each = max((much - little) / ((many - few) * batch), 1e-15)
    return dense / (_SIZE * _SIZE * batch), each, max(little - each * few * batch, 0.0)


def _between(rates: Sequence[float], place: float) -> float:
    low = min(int(place), len(rates) - 2)
    return rates[low] + (rates[low + 1] - rates[low]) * (place - low)


def _file() -> Path:
    folder = (
        os.environ.get("WIDTHWISE_CACHE")
        or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "widthwise"
    )
    key = hashlib.sha256(json.dumps(machine(), sort_keys=True).encode()).hexdigest()[:16]
    return Path(folder) / f"costs-{key}.json"


def _read(path: Path) -> CostModel:
    held = json.loads(path.read_text(encoding="utf-8"))
    forward, step = (
        Rates(**{name: tuple(map(float, rates)) for name, rates in held[part].items()}) for part in ("forward", "step")
    )
    return CostModel(tuple(map(int, held["batches"])), forward, step)
