"""Compress one block of a network that is only a file of weights."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from torch import Tensor, nn

from widthwise._atomic import atomic_path, write_text
from widthwise.activations import get
from widthwise.compression.baselines import BASELINES
from widthwise.compression.blocks import Block
from widthwise.compression.linearfile import LinearFile, StrPath
from widthwise.compression.model import compress_model
from widthwise.compression.report import CompressionReport
from widthwise.errors import InputError, check_integer

__all__ = ["compress_file"]

_MODEL = "model.safetensors"


def compress_file(
    path: StrPath,
    layer: str,
    M: int,
    out: StrPath,
    *,
    second: str | None = None,
    activation: str = "relu",
    data: Tensor | None = None,
    iterations: int = 50,
    seed: int = 0,
) -> dict[str, CompressionReport]:
    """Compress the block that starts with ``layer``, by the best method and by every baseline.

    Writes into ``out``: ``model.safetensors`` (the file with the block replaced by the best method's), ``report.json``
    and ``curve.svg`` (error against M, one line a method). A file of :func:`widthwise.save` stays one, but no longer
    says how to rebuild a built-in model, whose sizes have changed.

    Args:
        path: a safetensors file of a ``state_dict``.
        layer: name of the first layer, with or without ``.weight``.
        M: hidden units wanted.
        out: folder, made if it does not exist.
        second: name of the second layer; the next one that fits by default.
        activation: between them.
        data: inputs of the first layer, shape (n, d); standard normal ones by default.
        iterations: at most so many steps of descent.
        seed: of everything random.

    Returns:
        A report for each method, the best one's under ``"optimal"``.

    Raises:
        DataError: if the file is missing or damaged.
        InputError: if a layer is missing or no linear layer of finite floating-point numbers, the second does not fit,
            the file holds a mask, its precision cannot hold the result, or ``out`` would replace it; and for
            everything :func:`~widthwise.compression.compress_model` refuses.
        OSError: if the folder cannot be written.
    """
    file = LinearFile.read(path)
    if Path(path).resolve() == (Path(out) / _MODEL).resolve():
        raise InputError(f"out: got {os.fspath(out)}, where {_MODEL} is the file itself, allowed is another folder")
    first = file.named(layer, "layer")
    last = file.named(second, "second") if second is not None else file.following(first)
    ends = file.linear(first), file.linear(last)
    _check_sizes(first, last, ends, M)
    net = nn.Sequential(ends[0], get(activation).module(), ends[1])
    small, best = compress_model(net, M, data=data, iterations=iterations, seed=seed)
    found = {"optimal": best}
    found |= {method: compress_model(net, M, data=data, method=method, seed=seed).report for method in BASELINES}
    reports = {method: _named_after(report, first, last) for method, report in found.items()}
    block = Block("0", "2", get(activation))
    changed = file.with_layers(dict(zip((first, last), block.layers(small), strict=True)))
    _describe(Path(out), reports, {"file": os.fspath(path), "layer": first, "second": last, "M": M})
    changed.save(Path(out) / _MODEL)
    return reports


def _check_sizes(first: str, last: str, ends: tuple[nn.Linear, nn.Linear], M: int) -> None:
    N, inputs = ends[0].out_features, ends[1].in_features
    if first == last or inputs != N:
        raise InputError(
            f"second: got {last} with {inputs} inputs, allowed is a layer after {first} with as many as it gives, {N}"
        )
    if N == 1:
        raise InputError(f"layer: got {first} with 1 hidden unit, allowed is one with at least 2")
    check_integer("M", M, 1, N - 1)


def _named_after(report: CompressionReport, first: str, last: str) -> CompressionReport:
    """The report with the layers' names in the file."""
    return replace(report, blocks=tuple(replace(block, first=first, second=last) for block in report.blocks))


def _describe(out: Path, reports: Mapping[str, CompressionReport], about: Mapping[str, object]) -> None:
    record = {**about, "methods": {method: asdict(report) for method, report in reports.items()}}
    write_text(out / "report.json", json.dumps(record, indent=2) + "\n")
    with atomic_path(out / "curve.svg") as part, mpl.rc_context({"svg.fonttype": "none"}):
        _draw(reports).savefig(part, format="svg", metadata={"Date": None})


def _draw(reports: Mapping[str, CompressionReport]) -> Figure:
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for mark, (method, report) in zip("os^vDPX", reports.items(), strict=False):
        for block in report.blocks:
            sizes, errors = zip(*block.curve, strict=True)
            axes.plot(sizes, errors, f"{mark}-", ms=4, label=method)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("hidden units M")
    axes.set_ylabel("part of the variance lost, held-out inputs")
    axes.legend(frameon=False, fontsize=8)
    return figure
