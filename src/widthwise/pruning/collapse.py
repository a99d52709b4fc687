"""What a mask leaves connected, and the sparsity at which a layer dies."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from widthwise.errors import CollapseError, CollapseWarning, InputError
from widthwise.masks import Mask
from widthwise.pruning.flow import PathCount, flow
from widthwise.pruning.selection import tie_order

__all__ = ["complain", "critical_sparsity", "cut_at", "dead_layers", "dead_units", "effective_mask"]

_PRODUCT = re.compile(
    "linear|bilinear|(__r?)?matmul(__)?|mm|bmm|mv|addmm|baddbmm|einsum|multi_head_attention_forward|"
    "conv(_transpose)?[123]d"
)


def critical_sparsity(scores: Mapping[str, Tensor], *, seed: int = 0) -> float:
    r"""The least sparsity at which global pruning by ``scores`` leaves some layer without a weight.

    Exactly :math:`1 - (\max_l r_l - 1) / n`, with :math:`r_l` the rank of layer :math:`l`'s best score among all
    :math:`n` scores, the largest first; equal scores rank as :func:`widthwise.prune` with the same seed takes them.

    Source: Hayou, Ton, Doucet and Teh, "Robust pruning at initialization", 2021, section 2.

    Args:
        scores: a tensor for each layer, larger means keep; -inf for weights that are dead already.
        seed: of the order among equal scores.

    Raises:
        InputError: if a score is NaN, or there is none of a living weight.

    >>> critical_sparsity({"a": torch.tensor([4.0, 3.0, 2.0]), "b": torch.tensor([1.0])})
    0.25
    """
    meta = [name for name, score in scores.items() if score.is_meta]
    if meta:
        raise InputError(f"scores: got {meta[0]!r} on the meta device, without values; allowed is a number a weight")
    flat = torch.cat([torch.empty(0), *(score.detach().flatten().cpu() for score in scores.values())])
    if flat.isnan().any() or not (flat > -torch.inf).any():
        raise InputError("scores: got NaN or no living weight, allowed is a number for each of at least one weight")
    sizes = [score.numel() for score in scores.values()]
    best = torch.stack([layer.max() for layer in _nonempty(flat, sizes)])
    least = best[best > -torch.inf].min()
    tied = flat == least
    places = torch.full_like(flat, len(flat), dtype=torch.int64)
    places[tied] = tie_order(int(tied.count_nonzero()), seed)
    last = max(part.min() for part, top in zip(_nonempty(places, sizes), best, strict=True) if top == least)
    return 1 - int((flat > least).count_nonzero() + last) / len(flat)


def dead_layers(mask: Mask) -> tuple[str, ...]:
    """Names of the layers that have weights but keep none."""
    return tuple(layer.name for layer in mask.layers() if layer.total and not layer.kept)


def dead_units(mask: Mask) -> dict[str, Tensor]:
    """For each layer, which of its output units (the first dimension) keep no weight.

    Given an :func:`effective_mask`, a unit that only biases reach, BatchNorm's too, is dead as well.

    >>> dead_units(Mask({"a": torch.tensor([[True, False], [False, False]])}))
    {'a': tensor([False,  True])}
    """
    return {name: ~tensor.reshape(len(tensor), -1).any(1) for name, tensor in mask.items()}


def effective_mask(model: nn.Module, mask: Mask, x: Tensor) -> Mask:
    """The weights of ``mask`` that lie on a path from input to output along weights that live.

    The rest are kept but do nothing, or see nothing but biases. Activations and normalisations count as
    transparent, and a product with a living weight as connected: signals are reduced to zero or one after each,
    forward and backward, so depth neither overflows nor vanishes.

    Args:
        model: in which ``mask`` acts; not changed.
        mask: which weights live.
        x: an input that the model accepts, not zero; one example of ones will do.
    """
    weights = {name: weight.requires_grad_() for name, weight in _ones(mask, x).items()}
    with torch.enable_grad():
        paths = flow(model, weights, x, _Reach(weights))
    if not paths.requires_grad:
        return Mask({name: torch.zeros_like(tensor) for name, tensor in mask.items()})
    found = torch.autograd.grad(paths, list(weights.values()), allow_unused=True)
    reached = {n: torch.zeros_like(w) if g is None else g for (n, w), g in zip(weights.items(), found, strict=True)}
    return mask & Mask({name: gradient != 0 for name, gradient in reached.items()})


def cut_at(model: nn.Module, mask: Mask, x: Tensor) -> str | None:
    """The layer at which a mask cuts every path from input to output, or ``None`` if one is left.

    Args:
        model: in which ``mask`` acts; not changed.
        mask: which weights live.
        x: an input that the model accepts, not zero; one example of ones will do.
    """
    weights = _ones(mask, x)
    probe = _Reach(weights)
    with torch.no_grad():
        if flow(model, weights, x, probe):
            return None
        dense = _ones(Mask.dense(model), x)
        cut = bool(flow(model, dense, x, _Reach(dense)))
    return (probe.silenced or ["a layer unknown"])[-1] if cut else None


def complain(problem: str, on_collapse: str) -> None:
    """Raise, warn or accept, as ``on_collapse`` says.

    Raises:
        CollapseError: if it is ``"raise"``.
    """
    advice = "lower the sparsity, use more rounds or another scope, or pass on_collapse='warn' or 'allow'"
    if on_collapse == "raise":
        raise CollapseError(f"mask: {problem}; {advice}")
    if on_collapse == "warn":
        warnings.warn(f"mask: {problem}", CollapseWarning, stacklevel=4)


class _Reach(PathCount):
    """Counts paths up to one: after each product, signals and gradients become 0 or 1; notes who silences one."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._names = {id(weight): name for name, weight in weights.items()}
        self.silenced: list[str] = []

    def product(self, func: Any, args: Any, output: Any) -> Any:
        if not isinstance(output, Tensor) or not _PRODUCT.fullmatch(getattr(func, "__name__", "")):
            return output
        name = next((self._names[id(arg)] for arg in args if id(arg) in self._names), None)
        if name is not None and args[0].any() and not output.any():
            self.silenced.append(name)
        return _Signal.apply(output)  # type: ignore[no-untyped-call]


class _Signal(torch.autograd.Function):
    """1 where there is a signal, forward and backward."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return (values != 0).to(values.dtype)

    @staticmethod
    def backward(ctx: Any, gradients: Tensor) -> Tensor:
        return (gradients != 0).to(gradients.dtype)


def _nonempty(flat: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    return [part for part in torch.split(flat, list(sizes)) if len(part)]


def _ones(mask: Mask, x: Tensor) -> dict[str, Tensor]:
    return {name: tensor.to(x.device, torch.float32) for name, tensor in mask.items()}
