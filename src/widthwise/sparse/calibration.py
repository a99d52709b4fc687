"""What layers cost on this machine: linear ones and convolutions, each timed once and kept on disk."""

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
from typing import Literal

import torch
from torch import Tensor, nn

from widthwise._atomic import write_text
from widthwise._jsonfile import read_json
from widthwise.environment import machine
from widthwise.errors import DataError, InputError, InputTypeError, check_number
from widthwise.sparse._uses import numbers
from widthwise.sparse.conv import SparseConv2d
from widthwise.sparse.cost import CostModel, Pair, Rates
from widthwise.sparse.linear import SparseLinear

__all__ = ["Kind", "calibrated", "measure"]

Kind = Literal["linear", "conv"]
_Row = tuple[tuple[float, float, float], tuple[float, float, float]]
_RATES = tuple(field.name for field in fields(Rates))


@dataclass(frozen=True)
class _Probes:
    """What is timed of one kind of layer.

    Attributes:
        rounds: how often each layer has its turn with the largest batch; with smaller ones more often.
        large: a layer of many weights.
        thin: one of few weights for its numbers.
        small: one of next to nothing.
        picture: what follows the features in the shape of an example, for the former two.
        many: part of the large one's weights that live in the denser of two sparse layers.
    """

    rounds: int
    large: nn.Linear | nn.Conv2d
    thin: nn.Linear | nn.Conv2d
    small: nn.Linear | nn.Conv2d
    picture: tuple[int, ...]
    many: float


_FEW, _OFTEN = 0.002, 8
_BATCHES: dict[Kind, tuple[int, ...]] = {"linear": (1, 8, 32, 128), "conv": (1, 8, 32)}
_SIZES = {"linear": (768, 16), "conv": (64, 4)}


def _probes(kind: Kind) -> _Probes:
    wide, narrow = _SIZES[kind]
    if kind == "linear":
        return _Probes(12, nn.Linear(wide, wide), nn.Linear(wide, narrow), nn.Linear(narrow, narrow), (), 0.3)
    large, point, small = (nn.Conv2d(a, a, size, padding=size // 2) for a, size in ((wide, 3), (wide, 1), (narrow, 3)))
    return _Probes(6, large, point, small, (16, 16), 0.2)


def calibrated(kind: Kind) -> CostModel:
    """The cost model of one kind of layer on this machine, with as many threads as PyTorch has.

    Measured in some seconds or read from disk: it lies in the user's cache folder
    (``WIDTHWISE_CACHE`` names another), a file for each kind, processor, number of threads and version of the
    libraries. Where that can't be written, it is measured once a process.
    """
    return _calibrated(kind, torch.get_num_threads())


@cache
def _calibrated(kind: Kind, threads: int) -> CostModel:
    path = _file(kind)
    with suppress(OSError, InputError, InputTypeError):
        return _read(path, _BATCHES[kind])
    with torch.random.fork_rng(devices=[]):  # the draws of who calls stay as they were
        model = measure(kind)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(asdict(model)))
    return model


def measure(kind: Kind) -> CostModel:
    """Time layers of a few sizes and connectivities at a few batch sizes."""
    generator = torch.Generator().manual_seed(0)
    probes = _probes(kind)
    dense = [probes.large, probes.thin, probes.small]
    parts = ((probes.large, _FEW), (probes.large, probes.many), (probes.small, 0.5))
    sparse = [_sparse(layer, torch.rand(layer.weight.shape, generator=generator) < part) for layer, part in parts]
    passes: tuple[list[_Row], list[_Row]] = ([], [])
    for batch in _BATCHES[kind]:
        inputs = [_example(layer, batch, () if layer is probes.small else probes.picture) for layer in dense]
        runs = zip([*dense, *sparse], [*inputs, inputs[0], inputs[0], inputs[2]], strict=True)
        for rows, seconds in zip(
            passes, _times(list(runs), probes.rounds * min(_OFTEN, _BATCHES[kind][-1] // batch)), strict=True
        ):
            uses = batch * math.prod(probes.picture)
            few, many = (layer.nnz for layer in sparse[:2])
            rows.append((_dense_rates(seconds[:3], probes, uses), _sparse_rates(seconds[3:], probes, few, many, uses)))
    return CostModel(_BATCHES[kind], *map(_pair, passes))


def _sparse(layer: nn.Linear | nn.Conv2d, mask: Tensor) -> SparseLinear | SparseConv2d:
    kind = SparseLinear.from_linear if isinstance(layer, nn.Linear) else SparseConv2d.from_conv2d
    result: SparseLinear | SparseConv2d = kind(layer, mask)  # type: ignore[arg-type]
    return result


def _example(layer: nn.Linear | nn.Conv2d, batch: int, picture: tuple[int, ...]) -> Tensor:
    features = layer.weight.shape[1]
    shape = (features,) if isinstance(layer, nn.Linear) else (features, *(picture or (1, 1)))
    return torch.randn(batch, *shape).requires_grad_()


def _pair(rows: list[_Row]) -> Pair:
    """The rates of all batch sizes, a row each."""
    return Pair(*(Rates(*zip(*kind, strict=True)) for kind in zip(*rows, strict=True)))


def _times(layers: Sequence[tuple[nn.Module, Tensor]], rounds: int) -> tuple[list[float], list[float]]:
    """Least seconds of each layer on what it gets, forward and for a step, taken in turn."""
    runs: list[Callable[[], object]] = []
    for layer, x in layers:
        runs += [partial(_forward, layer, x), partial(_step, layer, x)]
    best = [math.inf] * len(runs)
    for _ in range(rounds + 1):  # the first compiles, and never is the fastest
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


def _dense_rates(seconds: Sequence[float], probes: _Probes, uses: int) -> tuple[float, float, float]:
    """What is common to the times of three dense layers: large, thin, and small."""
    large, thin, small = seconds
    (weights, many), (fewer, some) = ((part.weight.numel(), numbers(part)) for part in (probes.large, probes.thin))
    most, little = max(large - small, 1e-15), max(thin - small, 0.0)
    each = (most * some - little * many) / (weights * some - fewer * many)
    each = max(each, most / (2 * weights))  # what is left for numbers is no more than that
    return each / uses, max(0.0, (most - each * weights) / many) / uses, small


def _sparse_rates(
    seconds: Sequence[float], probes: _Probes, few: int, many: int, uses: int
) -> tuple[float, float, float]:
    """What is common to the times of three sparse layers: with few weights and with many, and small."""
    little, much, small = seconds
    each = max((much - little) / (many - few), 1e-15)
    return each / uses, max(0.0, (little - each * few - small) / numbers(probes.large)) / uses, small


def _file(kind: Kind) -> Path:
    folder = (
        os.environ.get("WIDTHWISE_CACHE")
        or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "widthwise"
    )
    key = hashlib.sha256(json.dumps(machine(), sort_keys=True).encode()).hexdigest()[:16]
    return Path(folder) / f"costs-{kind}-{key}.json"


def _read(path: Path, batches: tuple[int, ...]) -> CostModel:
    """What an earlier process measured.

    Raises:
        DataError: if the file holds anything else.
        OSError: if it cannot be read.
    """
    held = read_json(path)
    if held.get("batches") != list(batches):
        raise DataError(f"{path}: not the costs of batches of {batches}")
    forward, step = (_pair_in(held.get(part), len(batches)) for part in ("forward", "step"))
    return CostModel(batches, forward, step)


def _pair_in(held: object, count: int) -> Pair:
    if not isinstance(held, dict):
        raise DataError(f"costs: got {held!r:.80}, allowed are those of dense and sparse layers")
    return Pair(*(_rates_in(held.get(kind), count) for kind in ("dense", "sparse")))


def _rates_in(held: object, count: int) -> Rates:
    found = [held.get(name) for name in _RATES] if isinstance(held, dict) else []
    if not all(isinstance(each, list) and len(each) == count for each in found) or not found:
        raise DataError(f"costs: got {held!r:.80}, allowed are rates for each of {count} batches")
    return Rates(*(tuple(check_number("rate", rate, 0) for rate in each) for each in found if each is not None))
