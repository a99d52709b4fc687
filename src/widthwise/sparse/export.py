"""Models for other runtimes: dense, with zeros where no weight exists."""

from __future__ import annotations

import copy
import io
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module

import torch
from torch import Tensor, nn

from widthwise._atomic import atomic_path
from widthwise.errors import InputError, check_type, told
from widthwise.sparse.convert import densify

__all__ = ["to_onnx"]

Path = str | os.PathLike[str]


def to_onnx(model: nn.Module, path: Path, example: Tensor) -> None:
    """Write a model to an ONNX file, its sparse layers dense with zeros; for inference, with a batch of any size.

    ONNX has no layers like ours, and its runtimes gain from zeros only where they look for them.

    Args:
        model: sparse, masked or dense; left as it is.
        path: the file; an older one is replaced in one step.
        example: an input, shape (B, ...); of its sizes only the first is free in the file.

    Raises:
        ImportError: if the packages ``onnx`` and ``onnxscript`` are not installed.
        InputError: if the model does not take the example, or PyTorch can't express it in ONNX.
        OSError: if the folder cannot be written or the disk is full.
    """
    check_type("model", model, nn.Module)
    if check_type("example", example, Tensor).dim() == 0:
        raise InputError("example: got a number, allowed is a batch of examples, shape (B, ...)")
    _require("onnx", "onnxscript")
    dense = densify(copy.deepcopy(model)).eval()
    shape = f"an example of shape {tuple(example.shape)} and {example.dtype}"
    with told(lambda: f"model: no ONNX for {shape}, on which it fails"), torch.no_grad():
        dense(example)
    try:
        with _calm():
            program = torch.onnx.export(_graph(dense, _pair(example)), (), dynamo=True, verbose=False)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise InputError(f"model: no ONNX for {shape} ({reason})") from error
    assert program is not None  # as it is from PyTorch's older exporter
    with atomic_path(path) as part:
        program.save(part)


def _graph(model: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """The model for a batch of any size; left to itself PyTorch before 2.8 keeps of several ways the example's."""
    batch = ({0: torch.export.Dim("batch")},)
    try:
        return torch.export.export(model, (example,), dynamic_shapes=batch, strict=False)
    except (RuntimeError, TypeError, ValueError):  # to read the code helps where NumPy is called
        return torch.export.export(model, (example,), dynamic_shapes=batch, strict=True)


def _pair(example: Tensor) -> Tensor:
    """At least two examples: with one, PyTorch takes the batch's size for a constant."""
    return example if len(example) > 1 else torch.cat([example, example])


def _require(*packages: str) -> None:
    for package in packages:
        try:
            import_module(package)
        except ImportError as error:
            raise ImportError(
                f"to_onnx needs the package {package!r}: install widthwise with its extra, widthwise[onnx]"
            ) from error


@contextmanager
def _calm() -> Iterator[None]:
    """Keep to itself what PyTorch says of its own affairs: deprecations, what it misses, pages of graphs."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
