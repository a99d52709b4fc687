"""The linear layers of a safetensors file: found by name, taken out, put back with other sizes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from widthwise._atomic import atomic_path
from widthwise._tensorfile import read_state
from widthwise.compression._check import check_tensor
from widthwise.errors import DataError, InputError, check_choice, check_finite

__all__ = ["LinearFile", "StrPath"]

StrPath = str | os.PathLike[str]
_WEIGHT, _BIAS = ".weight", ".bias"
_MASK, _KIND = "mask:", "widthwise.model"  # what a file of ours holds beside weights
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class LinearFile:
    """A ``state_dict`` on disk.

    Attributes:
        tensors: by name.
        metadata: kept as they are, but that a file of ours no longer says how to rebuild a built-in model, whose sizes
            are about to change.
    """

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]

    @classmethod
    def read(cls, path: StrPath) -> LinearFile:
        """Read a file; nothing in it is executed.

        Raises:
            DataError: if it is missing or damaged.
            InputError: if it holds a mask.
        """
        metadata, tensors = read_state(path)
        if _KIND in metadata:
            try:
                metadata[_KIND] = json.dumps({**json.loads(metadata[_KIND]), "model": None})
            except (ValueError, TypeError, RecursionError) as error:
                raise DataError(f"{os.fspath(path)}: cannot be read, its {_KIND!r} is damaged ({error})") from error
        if any(name.startswith(_MASK) for name in tensors):
            raise InputError(
                f"{os.fspath(path)}: got weights with a mask, allowed are dense ones; compress first, then prune"
            )
        return cls(tensors, metadata)

    @property
    def layers(self) -> list[str]:
        """Names of the linear layers, numbers in their names counted as numbers."""
        found = [
            name.removesuffix(_WEIGHT) for name, t in self.tensors.items() if name.endswith(_WEIGHT) and t.dim() == 2
        ]
        return sorted(found, key=_natural)

    def named(self, name: str, argument: str) -> str:
        """Return the name of a layer, given with or without ``.weight``.

        Raises:
            InputError: if there is none; the message names ``argument`` and suggests the nearest.
        """
        return check_choice(argument, name.removesuffix(_WEIGHT), self.layers)

    def following(self, first: str) -> str:
        """Return the next layer, by name, that takes what ``first`` gives.

        Raises:
            InputError: if there is none.
        """
        names, units = self.layers, len(self.tensors[first + _WEIGHT])
        for name in names[names.index(first) + 1 :]:
            if self.tensors[name + _WEIGHT].shape[1] == units:
                return name
        raise InputError(f"second: no layer after {first} has {units} inputs, allowed are {', '.join(names)}; name it")

    def linear(self, name: str) -> nn.Linear:
        """Return a layer with these weights, in single precision at least.

        Raises:
            InputError: if they are not finite floating-point numbers of fitting shapes.
        """
        weight = self._numbers(name + _WEIGHT, None, None)
        state = {"weight": weight}
        if name + _BIAS in self.tensors:
            state["bias"] = self._numbers(name + _BIAS, len(weight))
        dtype = torch.promote_types(weight.dtype, torch.float32)
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias="bias" in state, dtype=dtype)
        layer.load_state_dict(state)
        return layer

    def with_layers(self, layers: Mapping[str, nn.Linear]) -> LinearFile:
        """Return the file with other weights in these layers, in the precision of the old ones.

        Raises:
            InputError: if that precision cannot hold them.
        """
        new = dict(self.tensors)
        for name, layer in layers.items():
            dtype = self.tensors[name + _WEIGHT].dtype
            for kind, value in layer.state_dict().items():
                new[f"{name}.{kind}"] = check_finite(f"{name}.{kind} as {dtype}", value.to(dtype))
        return replace(self, tensors=new)

    def save(self, path: StrPath) -> None:
        """Write the file whole or not at all.

        Raises:
            OSError: if the folder cannot be written or the disk is full.
        """
        tensors = {name: tensor.contiguous() for name, tensor in self.tensors.items()}
        with atomic_path(path) as part:
            try:
                save_file(tensors, part, dict(self.metadata) or None)
            except SafetensorError as error:  # how the library reports a full disk
                raise OSError(f"{os.fspath(path)}: cannot be written ({error})") from error

    def _numbers(self, name: str, *shape: int | None) -> Tensor:
        tensor = self.tensors[name]
        if tensor.dtype not in _FLOATS:
            raise InputError(f"{name}: got dtype {tensor.dtype}, allowed are {', '.join(map(str, _FLOATS))}")
        check_tensor(name, tensor, *shape)
        return tensor


def _natural(name: str) -> list[str | tuple[int, str]]:
    """What to sort a name by, so that its numbers stand in their order, however long."""
    texts = re.split(r"([0-9]+)", name)
    return [(len(p.lstrip("0")), p.lstrip("0")) if i % 2 else p for i, p in enumerate(texts)]
