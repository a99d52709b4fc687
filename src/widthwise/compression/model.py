"""Compress the Linear-activation-Linear blocks of a trained model."""

from __future__ import annotations

import bisect
import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from widthwise.compression.bench import Workbench
from widthwise.compression.blocks import Block, find_blocks, replace_layer
from widthwise.compression.report import BlockReport, CompressionReport
from widthwise.errors import (
    InputError,
    InputTypeError,
    check_choice,
    check_finite,
    check_integer,
    check_number,
    check_type,
)
from widthwise.weights import check_has_values

__all__ = ["CompressedModel", "compress_model"]

Data = Tensor | Sequence[Tensor] | Iterable[Tensor | Sequence[Tensor]]
_CHUNK = 512  # examples in one forward pass
_LEAST = 10  # inputs of a block
_GAUSSIAN = 4096  # examples, where there is no data
_PER_OCTAVE = 4  # sizes tried for max_loss


class CompressedModel(NamedTuple):
    """The smaller model and what was done to it."""

    model: nn.Module
    report: CompressionReport


def compress_model(
    model: nn.Module,
    sizes: int | Mapping[str, int] | None = None,
    *,
    max_loss: float | None = None,
    data: Data | None = None,
    method: str = "optimal",
    curve: Sequence[int] | None = None,
    restarts: int = 0,
    iterations: int = 50,
    rows: int = 8192,
    seed: int = 0,
) -> CompressedModel:
    """Replace every Linear-activation-Linear block of a trained model by a smaller one of the same kind.

    Blocks are found by running the model, so it does not matter how it is written: MLP heads, transformer MLP blocks,
    functional activations. Each block, in the order of the forward pass, gets the directions that are best for
    Gaussian inputs of the mean and covariance it sees on the data, and coefficients refitted on the data.

    Args:
        model: any module; it is not changed.
        sizes: hidden units wanted: one number for every block, or one for each first layer by name (other blocks stay).
        max_loss: instead of ``sizes``, the largest part of a block's output variance to lose; each block gets the
            least size that keeps to it (among four an octave, loss taken to fall with size).
        data: inputs as a tensor, ``(x, y)`` or a loader of such. Without it, standard normal inputs of the first Linear
            layer's width.
        method: how directions are chosen, see :data:`~widthwise.compression.METHODS` (not ``"etf"``).
        curve: sizes at which the error is also reported; a quarter and a half of the size by default.
        restarts: random starts beside the greedy one.
        iterations: at most so many steps of descent.
        rows: at most so many inputs of each block are used.
        seed: of everything random.

    Returns:
        ``(model, report)``.

    Raises:
        InputTypeError: if the model is no module, or the data holds no floating tensors.
        InputError: if neither or both of ``sizes`` and ``max_loss`` are given, a size exceeds a block's, the model has
            no block or fails on the data, or there are too few inputs.

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 3))
        >>> small, report = compress_model(net, 16)
        >>> small[0], report.blocks[0].weights_after
        (Linear(in_features=8, out_features=16, bias=True), 176)
    """
    check_has_values(check_type("model", model, nn.Module))
    if (sizes is None) == (max_loss is None):
        raise InputError(f"sizes: got {sizes!r} with max_loss={max_loss!r}, allowed is exactly one of the two")
    batches = _batches(model, data, check_integer("rows", rows, _LEAST))
    small = copy.deepcopy(model)
    blocks = _blocks(small, batches[0])
    wanted = None if sizes is None else _wanted(sizes, blocks)
    options: dict[str, Any] = {"method": method, "restarts": restarts, "iterations": iterations, "seed": seed}
    found, most = [], 0
    for block in blocks:
        if wanted is not None and block.first not in wanted:
            continue
        bench = Workbench(small, block, batches, rows, **options)
        most = max(most, _check_rows(bench))
        M = _least_size(bench, max_loss) if wanted is None else _checked_size(wanted[block.first], bench)
        if bench.hidden > M:
            found.append(_replace(small, bench, M, _curve(curve, M, bench.hidden, searched=wanted is None)))
    return CompressedModel(small, CompressionReport(tuple(found), most, _ORIGIN[data is None]))


_ORIGIN = {True: "standard normal, since no data was given", False: "from the data"}


def _batches(model: nn.Module, data: Data | None, rows: int) -> list[Tensor]:
    """The model's inputs in chunks, evenly chosen from a whole batch, until there are ``rows`` examples."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    chunks, have = list[Tensor](), 0
    for x in _inputs(model, data):
        if not isinstance(x, Tensor) or x.dim() == 0:
            raise InputTypeError(f"data: got {type(x).__name__}, allowed are tensors, (x, y) or a loader of such")
        check_finite("data", x)
        some = x[torch.linspace(0, len(x) - 1, min(len(x), rows)).long()] if len(x) else x
        chunks += [chunk.to(device) for chunk in torch.split(some, _CHUNK) if len(chunk)]
        have += len(some)
        if have >= rows:
            break
    if not chunks:
        raise InputError("data: got no examples, allowed is at least one batch")
    return chunks


def _inputs(model: nn.Module, data: Data | None) -> Iterator[Any]:
    if data is None:
        layer = next((m for m in model.modules() if isinstance(m, nn.Linear)), None)
        if layer is None:
            raise InputError("model: it has no Linear layer, allowed is one with a Linear-activation-Linear block")
        generator = torch.Generator().manual_seed(0)
        yield torch.randn(_GAUSSIAN, layer.in_features, generator=generator).to(layer.weight.dtype)
    elif isinstance(data, Tensor):
        yield data
    elif isinstance(data, tuple):
        yield data[0] if data else None
    elif isinstance(data, Iterable):
        for batch in data:
            yield batch[0] if isinstance(batch, tuple | list) and batch else batch
    else:
        yield data


def _blocks(model: nn.Module, batch: Tensor) -> list[Block]:
    blocks = find_blocks(model, batch)
    if not blocks:
        raise InputError(
            "model: no Linear-activation-Linear block was found, allowed is a model with one whose hidden units only "
            "the second layer reads, whose weights are neither tied nor masked, and whose activation is known"
        )
    return blocks


def _wanted(sizes: int | Mapping[str, int], blocks: list[Block]) -> dict[str, int]:
    """The size asked for each first layer."""
    names = [block.first for block in blocks]
    if not isinstance(sizes, Mapping):
        return dict.fromkeys(names, check_integer("sizes", sizes, 1))
    for name in sizes:
        check_choice("sizes", name, names)
    return {name: check_integer(f"sizes[{name!r}]", size, 1) for name, size in sizes.items()}


def _checked_size(M: int, bench: Workbench) -> int:
    if bench.hidden < M:
        raise InputError(f"sizes: got {M} for {bench.block.first}, allowed is at most its {bench.hidden} hidden units")
    return M


def _check_rows(bench: Workbench) -> int:
    rows = len(bench.inputs)
    if rows < _LEAST:
        raise InputError(f"data: got {rows} inputs for {bench.block.first}, allowed are at least {_LEAST}")
    return rows


def _curve(curve: Sequence[int] | None, M: int, N: int, *, searched: bool) -> list[int]:
    """Sizes beside M at which to report the error."""
    if curve is None:
        return [] if searched else [size for size in (M // 4, M // 2) if size]
    return [check_integer("curve", size, 1, N) for size in curve]


def _least_size(bench: Workbench, max_loss: float | None) -> int:
    """Bisect a geometric ladder for the least size whose error keeps to ``max_loss``; N if none does."""
    limit = check_number("max_loss", max_loss, 0, 1, low_open=True)
    steps = range(1, _PER_OCTAVE * bench.hidden.bit_length() + 1)
    ladder = sorted({max(1, round(bench.hidden * 2 ** (-step / _PER_OCTAVE))) for step in steps} - {bench.hidden})
    at = bisect.bisect_left(ladder, True, key=lambda M: bench.at(M).error <= limit)
    return ladder[at] if at < len(ladder) else bench.hidden


def _replace(model: nn.Module, bench: Workbench, M: int, curve: list[int]) -> BlockReport:
    for size in curve:
        bench.at(size)
    report = bench.report(M)
    replace_layer(model, bench.block.first, bench.at(M).first)
    replace_layer(model, bench.block.second, bench.at(M).second)
    return report
