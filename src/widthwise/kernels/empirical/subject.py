"""The network whose kernel is wanted: which of its weights count, and whether it has a kernel at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from widthwise._finite import require_finite
from widthwise.errors import InputError, InputTypeError, check_choice, check_finite, check_type, told
from widthwise.masks import Mask
from widthwise.weights import is_weight, unwrapped

__all__ = ["TRAIN", "Subject", "check_examples", "subject_of"]

TRAIN = ("all", "first", "last")


@dataclass(frozen=True)
class Subject:
    """A module and the parameters that count.

    Attributes:
        model: the module.
        params: the parameters that count, by name.
        live: for a sparse parameter, the flat indices of the weights that live, by name.
        outputs: number of outputs of an example.
    """

    model: nn.Module
    params: dict[str, nn.Parameter]
    live: dict[str, Tensor]
    outputs: int

    def without(self, names: set[str]) -> Subject:
        """The same, ``names`` not counting."""
        kept = {name: p for name, p in self.params.items() if name not in names}
        return Subject(self.model, kept, self.live, self.outputs)

    def weights(self, name: str) -> int:
        """How many weights of a parameter count."""
        return len(self.live[name]) if name in self.live else self.params[name].numel()


def subject_of(model: nn.Module, x: Tensor, train: str, mask: Mask | None, *, needs_parameters: bool = True) -> Subject:
    """Check a module against the first rows of its data.

    Raises:
        InputTypeError: if an argument has the wrong type, or the data another dtype than the parameters.
        InputError: if no parameter counts, or an example's output depends on chance or on other examples.
    """
    check_type("model", model, nn.Module)
    check_choice("train", train, TRAIN)
    model = unwrapped(model)
    check_examples("x1", x, model)
    _check_mode(model)
    out = _trial(model, x[:2])
    params = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if train != "all":
        layer = _layer(model, x[:2], train)
        params = {name: p for name, p in params.items() if name in layer}
    if needs_parameters and not any(p.numel() for p in params.values()):
        raise InputError(f"model: no parameter to train with train={train!r}, allowed is at least one with a gradient")
    return Subject(model, params, _live(model, params, mask), out.shape[1])


def check_examples(name: str, x: Tensor, model: nn.Module) -> Tensor:
    """Return ``x`` if it is a batch of at least one example that ``model`` can take.

    Raises:
        InputTypeError: if it is no tensor, or of another floating dtype than the parameters.
        InputError: if it is empty, not finite or on another device.
    """
    check_type(name, x, Tensor)
    if x.dim() < 1 or x.numel() == 0:
        raise InputError(f"{name}: got shape {tuple(x.shape)}, allowed is (n, ...) with at least one example")
    own = next((p for p in model.parameters() if p.is_floating_point()), None)
    if own is not None and x.is_floating_point() and x.dtype != own.dtype:
        raise InputTypeError(f"{name}: got {x.dtype}, allowed is the dtype of the model's parameters, {own.dtype}")
    if own is not None and x.device != own.device:
        raise InputError(f"{name}: got a tensor on {x.device}, allowed is the model's device, {own.device}")
    return check_finite(name, x)


def _check_mode(model: nn.Module) -> None:
    """Refuse layers whose output for an example depends on the batch, before they have seen one."""
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
            raise InputError(f"model: layer {name!r} normalises over the batch, allowed is model.eval()")


def _trial(model: nn.Module, x: Tensor) -> Tensor:
    """The outputs on a few rows, ``(rows, k)``."""
    with torch.no_grad(), told(lambda: f"model: fails on examples of shape {tuple(x.shape[1:])} and {x.dtype}"):
        out = model(x)
        again, alone = model(x), model(x[:1])
    if not isinstance(out, Tensor) or out.dim() < 1 or len(out) != len(x) or not out.is_floating_point():
        got = f"{out.dtype} of shape {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
        raise InputTypeError(f"model: its output is {got}, allowed is one floating tensor of shape (n, ...)")
    require_finite(out, model, x)
    slack = 1e3 * torch.finfo(out.dtype).eps * float(out.abs().max())
    if float((out - again).abs().max()) > slack:
        raise InputError("model: two passes over the same rows differ, allowed is model.eval()")
    if float((out[:1] - alone).abs().max()) > slack:
        raise InputError("model: an example's output depends on the other examples, allowed is model.eval()")
    return out.flatten(1) if out.dim() > 1 else out[:, None]


def _layer(model: nn.Module, x: Tensor, train: str) -> set[str]:
    """The names of what the first or the last layer owns: a module with weights of two or more dimensions, else any.

    Raises:
        InputError: if no layer is used, or the first or last weight belongs to a module that has others elsewhere.
    """
    used = _in_order_of_use(model, x, last=train == "last")
    weighted = [_plain(name) for name in used if is_weight(name, model.get_parameter(name))] or [*map(_plain, used)]
    if not weighted:
        raise InputError(f"train: got {train!r} for a model without a layer, allowed is 'all'")
    owners = [_owner(name) for name in weighted]
    owner = owners[0 if train == "first" else -1]
    own = {name for name in weighted if _owner(name) == owner}
    runs = sum(now == owner != before for before, now in zip([None, *owners], owners, strict=False))
    if runs > 1 or (len(own) > 1 and len(own) == len(set(weighted))):
        holder = f"module {owner!r}" if owner else "the model itself"
        raise InputError(
            f"train: got {train!r}, but {holder} owns the weights of several layers, {', '.join(sorted(own))}; "
            "allowed is 'all', or a module for each layer"
        )
    return {name for name, _ in model.named_parameters() if _owner(_plain(name)) == owner}


def _plain(name: str) -> str:
    """The name of a parameter; of a part of a parametrised one that of the whole."""
    layer, parametrised, part = f".{name}".partition(".parametrizations.")
    return f"{layer}.{part.partition('.')[0]}".lstrip(".") if parametrised else name


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def _in_order_of_use(model: nn.Module, x: Tensor, *, last: bool) -> list[str]:
    """The names of the parameters that the output depends on, in the order of their first or their last use.

    Operations are numbered as the forward pass makes them, so it does not matter which module uses a parameter.
    """
    copies = {name: p.detach().requires_grad_() for name, p in model.named_parameters() if p.is_floating_point()}
    names = {id(copy): name for name, copy in copies.items()}
    with torch.enable_grad():
        out = functional_call(model, copies, (x,))
    uses: dict[str, list[int]] = {}
    left, seen = [out.grad_fn], set[Any]()
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for before, _ in node.next_functions:
            name = names.get(id(getattr(before, "variable", None)))
            if name is not None:
                uses.setdefault(name, []).append(node._sequence_nr())
            left.append(before)
    return sorted(uses, key=lambda name: max(uses[name]) if last else min(uses[name]))


def _live(model: nn.Module, params: dict[str, nn.Parameter], mask: Mask | None) -> dict[str, Tensor]:
    if mask is not None:
        check_type("mask", mask, Mask)
        known = dict(model.named_parameters())
        for layer in mask.layers():
            if layer.name not in known or tuple(known[layer.name].shape) != layer.shape:
                raise InputError(f"mask: got {layer.name!r} {layer.shape}, allowed are parameters of the model")
    mask = Mask.of(model) if mask is None else mask
    if mask is None:
        return {}
    found = {layer.name: mask[layer.name] for layer in mask.layers() if layer.connectivity < 1 and layer.name in params}
    return {name: keep.flatten().nonzero()[:, 0].to(params[name].device) for name, keep in found.items()}
