"""Compress one block of a network that is only a file of weights."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from widthwise._atomic import atomic_path, write_text
from widthwise.activations import get
from widthwise.compression._check import check_tensor
from widthwise.compression.baselines import BASELINES
from widthwise.compression.model import compress_model
from widthwise.compression.report import CompressionReport
from widthwise.errors import DataError, InputError, check_choice, check_finite, check_integer

__all__ = ["compress_file"]

StrPath = str | os.PathLike[str]
_MODEL = "model.safetensors"
_WEIGHT, _BIAS = ".weight", ".bias"
_MASK, _KIND = "mask:", "widthwise.model"  # what a file of ours holds beside weights
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


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
    tensors, metadata = _read(path)
    if Path(path).resolve() == (Path(out) / _MODEL).resolve():
        raise InputError(f"out: got {os.fspath(out)}, where {_MODEL} is the file itself, allowed is another folder")
    first = _named(tensors, layer, "layer")
    last = _named(tensors, second, "second") if second is not None else _following(tensors, first)
    ends = _linear(tensors, first), _linear(tensors, last)
    _check_sizes(first, last, ends, M)
    net = nn.Sequential(ends[0], get(activation).module(), ends[1])
    small, best = compress_model(net, M, data=data, iterations=iterations, seed=seed)
    found = {"optimal": best}
    found |= {method: compress_model(net, M, data=data, method=method, seed=seed).report for method in BASELINES}
    reports = {method: _named_after(report, first, last) for method, report in found.items()}
    replaced = {first: small.get_submodule("0"), last: small.get_submodule("2")}
    new = {
        f"{name}.{kind}": _rounded(f"{name}.{kind}", value, tensors[name + _WEIGHT].dtype)
        for name, one in replaced.items()
        for kind, value in one.state_dict().items()
    }
    _save(Path(out) / _MODEL, tensors | new, metadata)
    _describe(Path(out), reports, {"file": os.fspath(path), "layer": first, "second": last, "M": M})
    return reports


def _read(path: StrPath) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata."""
    try:
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        if _KIND in metadata:
            metadata[_KIND] = json.dumps({**json.loads(metadata[_KIND]), "model": None})
    except (SafetensorError, OSError, ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{os.fspath(path)}: cannot be read as a safetensors file ({error})") from error
    if any(name.startswith(_MASK) for name in tensors):
        raise InputError(f"{os.fspath(path)}: got weights with a mask, allowed are dense ones")
    return tensors, metadata


def _layers(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the linear layers, numbers in their names counted as numbers."""
    found = [name.removesuffix(_WEIGHT) for name, t in tensors.items() if name.endswith(_WEIGHT) and t.dim() == 2]
    return sorted(found, key=lambda name: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", name)])


def _named(tensors: Mapping[str, Tensor], name: str, argument: str) -> str:
    return check_choice(argument, name.removesuffix(_WEIGHT), _layers(tensors))


def _following(tensors: Mapping[str, Tensor], first: str) -> str:
    """The next layer, by name, that takes what ``first`` gives."""
    names, units = _layers(tensors), len(tensors[first + _WEIGHT])
    for name in names[names.index(first) + 1 :]:
        if tensors[name + _WEIGHT].shape[1] == units:
            return name
    raise InputError(f"second: no layer after {first} has {units} inputs, allowed are {', '.join(names)}; name it")


def _linear(tensors: Mapping[str, Tensor], name: str) -> nn.Linear:
    """A layer with these weights, in single precision at least."""
    weight = _numbers(tensors, name + _WEIGHT, None, None)
    state = {"weight": weight}
    if name + _BIAS in tensors:
        state["bias"] = _numbers(tensors, name + _BIAS, len(weight))
    dtype = torch.promote_types(weight.dtype, torch.float32)
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias="bias" in state, dtype=dtype)
    layer.load_state_dict(state)
    return layer


def _numbers(tensors: Mapping[str, Tensor], name: str, *shape: int | None) -> Tensor:
    tensor = tensors[name]
    if tensor.dtype not in _FLOATS:
        raise InputError(f"{name}: got dtype {tensor.dtype}, allowed are {', '.join(map(str, _FLOATS))}")
    check_tensor(name, tensor, *shape)
    return tensor


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


def _rounded(name: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    return check_finite(f"{name} as {dtype}", value.to(dtype))


def _save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    with atomic_path(path) as part:
        try:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part, metadata or None)
        except SafetensorError as error:  # how the library reports a full disk
            raise OSError(f"{path}: cannot be written ({error})") from error


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
