"""When sparse wins: how long dense and sparse layers take on this machine, measured once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from widthwise._atomic import write_text
from widthwise._jsonfile import read_json
from widthwise.environment import machine
from widthwise.errors import DataError, InputError, InputTypeError, check_number
from widthwise.sparse.linear import SparseLinear

__all__ = ["CostModel", "Pair", "Rates", "calibrated", "measure"]

_BATCHES = (1, 8, 32, 128)
_SIZE, _SMALL, _FEW, _MANY, _ROUNDS = 768, 16, 0.002, 0.3, 12

_Row = tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True)
class Rates:
    """Seconds at each of a few batch sizes.

    Attributes:
        weight: per weight that is multiplied, and example.
        number: per feature that goes in or comes out, and example: few outputs make a layer slow for its weights.
        call: per call, however little there is to do.
    """

    weight: tuple[float, ...]
    number: tuple[float, ...]
    call: tuple[float, ...]

    def seconds(self, place: float, weights: int, numbers: int, batch: int) -> float:
        """Of one call, at a fractional index of the batch sizes."""
        weight, number, call = (_between(rate, place) for rate in (self.weight, self.number, self.call))
        return call + (weight * weights + number * numbers) * batch


@dataclass(frozen=True)
class Pair:
    """Rates of dense layers and of sparse ones."""

    dense: Rates
    sparse: Rates


_RATES = tuple(field.name for field in fields(Rates))


@dataclass(frozen=True)
class CostModel:
    """What layers cost here.

    Attributes:
        batches: the sizes of batches that were timed, ascending.
        forward: rates of the forward pass.
        step: rates of the forward and the backward pass together.
    """

    batches: tuple[int, ...]
    forward: Pair
    step: Pair

    def seconds(self, weights: int, kept: int, batch: int, numbers: int, *, training: bool) -> tuple[float, float]:
        """Estimated seconds of a dense layer, and of a sparse one.

        Args:
            weights: of the dense layer.
            kept: how many of them live.
            batch: how often each is used.
            numbers: features that go in and come out.
            training: whether the backward pass counts.
        """
        rates, place = self.step if training else self.forward, self._place(batch)
        return rates.dense.seconds(place, weights, numbers, batch), rates.sparse.seconds(place, kept, numbers, batch)

    def break_even(self, weights: int, batch: int, numbers: int, *, training: bool) -> float:
        """The sparsity from which on a sparse layer is the faster one; 1 if it never is."""
        dense, none = self.seconds(weights, 0, batch, numbers, training=training)
        _, full = self.seconds(weights, weights, batch, numbers, training=training)
        return min(1.0, max(0.0, 1 - (dense - none) / (full - none)))

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
    with suppress(OSError, InputError, InputTypeError):
        return _read(path)
    model = measure()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(asdict(model)))
    return model


def measure() -> CostModel:
    """Time layers of a few sizes and connectivities at a few batch sizes."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(_SIZE, _SIZE, generator=generator)
    places = torch.rand(_SIZE, _SIZE, generator=generator)
    few, many = (SparseLinear(weight, torch.zeros(_SIZE), mask=places < part) for part in (_FEW, _MANY))
    small = SparseLinear(weight[:_SMALL, :_SMALL], torch.zeros(_SMALL), mask=places[:_SMALL, :_SMALL] < 0.5)
    dense = [nn.Linear(*sizes) for sizes in ((_SIZE, _SIZE), (_SIZE, _SMALL), (_SMALL, _SMALL))]
    passes: tuple[list[_Row], list[_Row]] = ([], [])
    for batch in _BATCHES:
        for rows, seconds in zip(passes, _times([*dense, few, many, small], batch), strict=True):
            rows.append((_dense_rates(seconds[:3], batch), _sparse_rates(seconds[3:], few.nnz, many.nnz, batch)))
    return CostModel(_BATCHES, *map(_pair, passes))


def _pair(rows: list[_Row]) -> Pair:
    """The rates of all batch sizes, a row each."""
    return Pair(*(Rates(*zip(*kind, strict=True)) for kind in zip(*rows, strict=True)))


def _times(layers: Sequence[nn.Linear | SparseLinear], batch: int) -> tuple[list[float], list[float]]:
    """Least seconds of each layer, forward and for a step, taken in turn."""
    runs: list[Callable[[], object]] = []
    for layer in layers:
        x = torch.randn(batch, layer.in_features).requires_grad_()
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


def _dense_rates(seconds: Sequence[float], batch: int) -> tuple[float, float, float]:
    """What is common to the times of three dense layers: large, with few outputs, and small."""
    large, thin, small = seconds
    (weights, numbers), (fewer, half) = (_SIZE * _SIZE, 2 * _SIZE), (_SIZE * _SMALL, _SIZE + _SMALL)
    most, little = max(large - small, 1e-15), max(thin - small, 0.0)
    each = (most * half - little * numbers) / (weights * half - fewer * numbers)
    each = max(each, most / (2 * weights))  # what is left for numbers is no more than that
    return each / batch, max(0.0, (most - each * weights) / numbers) / batch, small


def _sparse_rates(seconds: Sequence[float], few: int, many: int, batch: int) -> tuple[float, float, float]:
    """What is common to the times of three sparse layers: with few weights and with many, and small."""
    little, much, small = seconds
    each = max((much - little) / (many - few), 1e-15)
    return each / batch, max(0.0, (little - each * few - small) / (2 * _SIZE)) / batch, small


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
    """What an earlier process measured.

    Raises:
        DataError: if the file holds anything else.
        OSError: if it cannot be read.
    """
    held = read_json(path)
    if held.get("batches") != list(_BATCHES):
        raise DataError(f"{path}: not the costs of batches of {_BATCHES}")
    forward, step = (_pair_in(held.get(part)) for part in ("forward", "step"))
    return CostModel(_BATCHES, forward, step)


def _pair_in(held: object) -> Pair:
    if not isinstance(held, dict):
        raise DataError(f"costs: got {held!r:.80}, allowed are those of dense and sparse layers")
    return Pair(*(_rates_in(held.get(kind)) for kind in ("dense", "sparse")))


def _rates_in(held: object) -> Rates:
    found = [held.get(name) for name in _RATES] if isinstance(held, dict) else []
    if not all(isinstance(each, list) and len(each) == len(_BATCHES) for each in found) or not found:
        raise DataError(f"costs: got {held!r:.80}, allowed are rates for each of the batches {_BATCHES}")
    return Rates(*(tuple(check_number("rate", rate, 0) for rate in each) for each in found if each is not None))
