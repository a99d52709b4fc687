"""Which weights live: the one type for it, beside the model and not inside.

Sparsity is the fraction of the prunable weights that a mask removes, connectivity the fraction that it keeps.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from widthwise._enforce import Keeper
from widthwise._lazymask import Unread
from widthwise._maskfile import read_masks, write_masks
from widthwise._maskpicture import kept_by_unit, strips
from widthwise.errors import InputError, InputTypeError, check_type
from widthwise.weights import prunable, unwrapped

__all__ = ["LayerCount", "Mask"]


@dataclass(frozen=True)
class LayerCount:
    """How many weights of one parameter live.

    Attributes:
        name: the parameter's name in the model.
        shape: its shape.
        kept: number of weights that live.
        total: number of weights.
    """

    name: str
    shape: tuple[int, ...]
    kept: int
    total: int

    @property
    def connectivity(self) -> float:
        """Fraction of weights that live; 1 for a layer without weights."""
        return self.kept / self.total if self.total else 1.0


class Mask(Mapping[str, Tensor]):
    """An immutable mapping from parameter names to boolean tensors, ``True`` where the weight lives.

    The tensors are copied on the way in and on the way out, so a mask never changes.

    Args:
        tensors: boolean tensors by parameter name.

    Raises:
        InputTypeError: if ``tensors`` is not a mapping of strings to boolean tensors.
        InputError: if it is empty.

    >>> model = nn.Linear(2, 2, bias=False)
    >>> mask = Mask({"weight": torch.tensor([[True, False], [False, False]])}).apply(model)
    >>> mask.kept, mask.sparsity, int(model.weight.count_nonzero())
    (1, 0.75, 1)
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        check_type("tensors", tensors, Mapping)
        for name, tensor in tensors.items():
            check_type("tensors: a parameter's name", name, str)
            if not isinstance(tensor, Tensor) or tensor.dtype != torch.bool:
                got = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
                raise InputTypeError(f"tensors: {name!r} is {got}, allowed is a boolean tensor")
        if not any(tensor.numel() for tensor in tensors.values()):
            raise InputError("tensors: got no entries, allowed is a mask over at least one weight")
        self._tensors: Mapping[str, Tensor] = {name: tensor.detach().clone() for name, tensor in tensors.items()}

    @classmethod
    def dense(cls, model: nn.Module) -> Mask:
        """The mask that keeps every prunable weight of ``model``."""
        return cls({name: torch.ones_like(p, dtype=torch.bool) for name, p in prunable(model).items()})

    @classmethod
    def of(cls, model: nn.Module) -> Mask | None:
        """The mask in force on ``model``, or ``None``.

        A parameter that no mask covers, such as that of a layer put in after pruning, counts as dense.
        """
        found: dict[int, Tensor] = {}
        for module in unwrapped(check_type("model", model, nn.Module)).modules():
            keeper = Keeper.of(module)
            for name, mask in {} if keeper is None else keeper.masks().items():
                found[id(module._parameters.get(name))] = mask
        if not found:
            return None
        return cls({n: found.get(id(p), torch.ones_like(p, dtype=torch.bool)) for n, p in prunable(model).items()})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Mask:
        """Read a mask from a file that :meth:`save` wrote; nothing in it is executed.

        A file of more than 16 MiB stays on the disk, held open: each layer is read when it is asked for, and counts and
        reports pass through it without expanding it.

        Raises:
            DataError: if the file is missing, damaged, of another kind or of an unknown version.
        """
        masks = read_masks(path)
        if not isinstance(masks, Unread):
            return cls(masks)
        found = cls.__new__(cls)
        found._tensors = masks
        return found

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the mask to a safetensors file, eight weights a byte; an older file is replaced in one step.

        Raises:
            OSError: if the folder cannot be written or the disk is full.
        """
        write_masks(path, self._tensors)

    def apply(self, model: nn.Module) -> Mask:
        """Zero the weights that do not live, in place, and keep them zero from now on.

        They stay zero under every optimizer, made before or after, under ``load_state_dict`` and in copies of
        the model. Neither the parameters nor the keys of ``state_dict`` change. Code that moves weights
        without a ``torch.optim`` optimizer calls ``apply`` again. Gradients are not masked, so a norm taken
        over them counts the removed weights too. The new mask takes the place of an older one.

        Returns:
            The mask itself.

        Raises:
            InputError: if its names or shapes are not those of the model's prunable parameters; the model is
                then left untouched.
        """
        parameters = prunable(model)
        self._check_fits({name: tuple(parameter.shape) for name, parameter in parameters.items()}, "model")
        masks = {id(parameter): self._tensors[name] for name, parameter in parameters.items()}
        for module in unwrapped(model).modules():
            own = {name: masks[id(p)] for name, p in module._parameters.items() if id(p) in masks}
            if own:
                Keeper(module, own).attach()
        return self

    @staticmethod
    def remove(model: nn.Module) -> None:
        """Let all weights of ``model`` move again; those that were zero start from zero."""
        for module in unwrapped(check_type("model", model, nn.Module)).modules():
            Keeper.detach(module)

    def to(self, device: torch.device | str) -> Mask:
        """The same mask with its tensors on ``device``."""
        return Mask({name: tensor.to(device) for name, tensor in self._tensors.items()})

    @cached_property
    def _layers(self) -> tuple[LayerCount, ...]:
        if isinstance(self._tensors, Unread):
            far = self._tensors
            return tuple(LayerCount(n, shape, far.kept(n), far.total(n)) for n, shape in far.shapes.items())
        return tuple(
            LayerCount(name, tuple(tensor.shape), int(tensor.count_nonzero()), tensor.numel())
            for name, tensor in self._tensors.items()
        )

    def layers(self) -> tuple[LayerCount, ...]:
        """The counts of every layer, in the model's order."""
        return self._layers

    @property
    def kept(self) -> int:
        """Number of weights that live."""
        return sum(layer.kept for layer in self._layers)

    @property
    def total(self) -> int:
        """Number of weights, dead or alive."""
        return sum(layer.total for layer in self._layers)

    @property
    def sparsity(self) -> float:
        """Fraction of weights removed."""
        return (self.total - self.kept) / self.total

    @property
    def connectivity(self) -> float:
        """Fraction of weights kept."""
        return self.kept / self.total

    def report(self) -> str:
        """A table of text, one line a layer, the sum last, with a picture of what each unit keeps.

        A character of the picture is a group of neighbouring output units, blank if they keep nothing.
        """
        far = self._tensors
        units = [far.kept_by_unit(n) if isinstance(far, Unread) else kept_by_unit(far[n]) for n in far]
        pictures, full = strips([(kept, layer.total) for kept, layer in zip(units, self._layers, strict=True)])
        whole = LayerCount("total", (), self.kept, self.total)
        rows = [_row(layer) for layer in (*self._layers, whole)]
        head = ("layer", "shape", "kept", "of", "connectivity")
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines = [_aligned(row, widths) for row in (head, *rows)]
        pairs = zip(lines, [f"kept by units, @ = {full:.1%}", *pictures, ""], strict=True)
        return "\n".join(f"{line}  {picture}".rstrip() for line, picture in pairs)

    def __getitem__(self, name: str) -> Tensor:
        found = self._tensors[name]
        return found if isinstance(self._tensors, Unread) else found.clone()

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask):
            return NotImplemented
        return self._shapes == other._shapes and all(
            torch.equal(tensor, other._tensors[name].to(tensor.device)) for name, tensor in self._tensors.items()
        )

    __hash__ = None  # type: ignore[assignment]

    def __and__(self, other: Mask) -> Mask:
        """The weights that live in both masks."""
        return Mask({name: a & b for name, a, b in self._paired(other)})

    def __or__(self, other: Mask) -> Mask:
        """The weights that live in either mask."""
        return Mask({name: a | b for name, a, b in self._paired(other)})

    def __repr__(self) -> str:
        return f"Mask({len(self)} layers, {self.kept} of {self.total} weights, sparsity {self.sparsity:.4g})"

    @property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        if isinstance(self._tensors, Unread):
            return dict(self._tensors.shapes)
        return {name: tuple(tensor.shape) for name, tensor in self._tensors.items()}

    def _paired(self, other: Mask) -> Iterator[tuple[str, Tensor, Tensor]]:
        self._check_fits(check_type("other", other, Mask)._shapes, "the other mask")
        for name, tensor in self._tensors.items():
            yield name, tensor, other._tensors[name].to(tensor.device)

    def _check_fits(self, shapes: Mapping[str, tuple[int, ...]], whose: str) -> None:
        mine = self._shapes
        for name in [*shapes, *mine]:
            if mine.get(name) != shapes.get(name):
                raise InputError(
                    f"mask: {name!r} has shape {mine.get(name, 'none')} in the mask and"
                    f" {shapes.get(name, 'none')} in {whose}, allowed are the same names and shapes"
                )


def _row(layer: LayerCount) -> tuple[str, str, str, str, str]:
    shape = "x".join(map(str, layer.shape))
    state = f"{layer.connectivity:.2%}" if layer.kept or not layer.total else "dead"
    return layer.name, shape, str(layer.kept), str(layer.total), state


def _aligned(row: tuple[str, ...], widths: list[int]) -> str:
    first, *rest = row
    return "  ".join(
        [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
    )
