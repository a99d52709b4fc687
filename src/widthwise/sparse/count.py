"""What a model holds and does: weights, multiply-adds and bytes, counted by the weights that live."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from widthwise._enforce import Keeper
from widthwise.errors import InputError, check_integer, check_type
from widthwise.sparse._uses import both_uses
from widthwise.sparse.linear import SparseWeight
from widthwise.weights import check_has_values, is_weight, unwrapped

__all__ = ["Count", "Counts", "count"]


@dataclass(frozen=True)
class Count:
    """What one layer holds and does.

    Attributes:
        name: of the layer in the model.
        weights: entries of its matrices and kernels, zeros included.
        kept: how many of them live: under the mask in force, in a sparse layer, or else not zero.
        parameters: numbers in it that live, one-dimensional ones such as biases included.
        forward: multiply-adds of the weights that live, for one forward pass; None where that is not known.
        backward: the same for the gradients of the weights and, where they are wanted, of the layer's input.
        values: bytes of its parameters.
        gradients: bytes of their gradients.
        states: bytes that the optimizer keeps for them.
        buffers: bytes of everything else: the indices of a sparse layer, masks, running averages.
    """

    name: str
    weights: int
    kept: int
    parameters: int
    forward: int | None
    backward: int | None
    values: int
    gradients: int
    states: int
    buffers: int

    @property
    def memory(self) -> int:
        """Bytes of all of it."""
        return self.values + self.gradients + self.states + self.buffers

    @property
    def step(self) -> int | None:
        """Multiply-adds of a training step."""
        return None if self.forward is None or self.backward is None else self.forward + self.backward


@dataclass(frozen=True)
class Counts:
    """What a model holds and does, layer by layer.

    Attributes:
        layers: in the model's order, those that hold anything.
    """

    layers: tuple[Count, ...]

    @property
    def total(self) -> Count:
        """The sum over the layers; multiply-adds over those where they are known."""
        sums = {
            field: sum(getattr(layer, field) or 0 for layer in self.layers)
            for field in Count.__dataclass_fields__
            if field != "name"
        }
        if all(layer.forward is None for layer in self.layers):
            sums |= {"forward": None, "backward": None}
        return Count("total", **sums)

    def report(self) -> str:
        """A table of text, one line a layer, the sum last."""
        head = ("layer", "kept", "of", "forward", "step", "memory")
        rows = [head, *map(_row, (*self.layers, self.total))]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows
        )

    def __str__(self) -> str:
        return self.report()


def count(model: nn.Module, example: Tensor | None = None, *, states: int = 0) -> Counts:
    """Count what a dense, masked or sparse model holds, and does for an input.

    Multiply-adds are those of linear and convolutional layers that the weights that live ask for: a masked dense layer
    does more, and holds more, which is what sparse layers are for. Memory is as held, without activations.

    Args:
        model: left as it is.
        example: a batch, for the multiply-adds; without it they are not counted.
        states: numbers that the optimizer keeps for each parameter: 0 for SGD, 1 with momentum, 2 for Adam.

    Raises:
        InputError: if the model does not take the example, or has a parameter without a shape or without values.

    >>> import torch
    >>> print(count(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), torch.ones(10, 4)))
    layer  kept  of  forward  step  memory
    0        12  12      120   240   120 B
    2         6   6       60   180    64 B
    total    18  18      180   420   184 B
    """
    inner = unwrapped(check_type("model", model, nn.Module))
    check_integer("states", states)
    for name, parameter in inner.named_parameters():
        if nn.parameter.is_lazy(parameter):
            raise InputError(f"model: {name!r} has no shape yet, run one batch through the model first")
    check_has_values(inner)
    uses = {} if example is None else both_uses(inner, check_type("example", example, Tensor))
    seen: set[int] = set()
    layers = (_count(name, module, uses.get(module), states, seen) for name, module in inner.named_modules())
    return Counts(tuple(layer for layer in layers if layer.memory or layer.weights))


def _count(name: str, layer: nn.Module, uses: tuple[int, int] | None, states: int, seen: set[int]) -> Count:
    own = [p for p in layer._parameters.values() if p is not None]
    weights, kept = _weights(layer)
    fresh = [p for p in own if not _known(p, seen)]
    values = sum(p.nbytes for p in fresh)
    gradients = sum(p.nbytes for p in fresh if p.requires_grad)
    keeper = Keeper.of(layer)
    held = [*(b for b in layer._buffers.values() if b is not None), *(keeper.masks().values() if keeper else ())]
    forward, backward = (None, None) if uses is None else (kept * uses[0], kept * uses[1])
    plain = _bias(layer) if isinstance(layer, SparseWeight) else sum(p.numel() for p in own) - weights
    return Count(
        name or type(layer).__name__, weights, kept, kept + plain, forward, backward,
        values, gradients, states * gradients, sum(b.nbytes for b in held if not _known(b, seen)),
    )  # fmt: skip


def _weights(layer: nn.Module) -> tuple[int, int]:
    """How many weights a layer has, and how many live."""
    if isinstance(layer, SparseWeight):
        return layer.shape[0] * layer.shape[1] // int(getattr(layer, "groups", 1)), layer.nnz
    keeper = Keeper.of(layer)
    masks = {} if keeper is None else keeper.masks()
    found = {n: masks.get(n, p) for n, p in layer._parameters.items() if p is not None and is_weight(n, p)}
    return sum(p.numel() for p in found.values()), sum(int(p.count_nonzero()) for p in found.values())


def _bias(layer: SparseWeight) -> int:
    return sum(p.numel() for name, p in layer._parameters.items() if p is not None and name != "values")


def _known(tensor: Tensor, seen: set[int]) -> bool:
    """Whether the tensor's memory has been counted; from now on it has."""
    place = tensor.data_ptr() or id(tensor)
    known = place in seen
    seen.add(place)
    return known


def _row(layer: Count) -> tuple[str, ...]:
    work = ("-" if number is None else _short(number) for number in (layer.forward, layer.step))
    return layer.name, str(layer.kept), str(layer.weights), *work, _short(layer.memory, "B")


def _short(number: int, unit: str = "") -> str:
    """Three digits, a letter for the thousands, and the unit."""
    power = min(max(0, len(str(number)) - 1) // 3, 4)
    digits = str(number) if not power else f"{number / 1000**power:.3g}"
    return f"{digits} {' kMGT'[power].strip()}{unit}".strip()
