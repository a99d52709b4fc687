"""Make a model's sparse layers run as such, and back."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from widthwise._scaled import carry_scaled
from widthwise.errors import check_type
from widthwise.masks import Mask
from widthwise.sparse._handover import Handover, handovers
from widthwise.sparse._plan import FULL, Decision, Policy, places_of, plan
from widthwise.sparse.batch_last import batch_last
from widthwise.sparse.conv import SparseConv2d
from widthwise.sparse.linear import SparseLinear
from widthwise.weights import unwrapped

__all__ = ["AppliedReLU", "densify", "sparsify"]

_log = logging.getLogger(__name__)


class AppliedReLU(nn.Identity):
    """Stands where a ReLU stood that the sparse layer before it now applies."""


def sparsify(
    model: nn.Module,
    mask: Mask | None = None,
    *,
    policy: Policy = "auto",
    batch: int | None = None,
    training: bool | None = None,
    example: Tensor | None = None,
) -> nn.Module:
    """Replace layers of ``model``, in place, by ones in which only the weights that live exist.

    Numbers stay the same up to rounding. Where a layer's result goes to sparse layers alone, through nothing but
    element-wise operations, it stays batch last in memory between them. A ReLU right after a layer is applied by the
    layer itself. Make the optimizer after this, from the model's new parameters.

    Args:
        model: pruned, its pruned weights zero.
        mask: which weights live; by default the mask in force, and otherwise those that are not zero.
        policy: ``"auto"`` replaces a layer where this machine's cost model says that it gains; ``"always"`` wherever
            there is a zero.
        batch: examples a batch, for the cost model; by default as many as ``example`` has, or 128.
        training: whether the backward pass counts, by default whether the model is in training mode.
        example: a batch, for the cost model: tells how often each layer uses its weights, which for convolutions
            depends on the size of the pictures; without it pictures of 8 x 8 are assumed.

    Returns:
        The same model; a new layer where ``model`` itself is a layer that is replaced. What becomes of each layer, and
        why, :func:`plan` tells before, and the logger ``widthwise`` at level INFO; at level WARNING, that ``"always"``
        made nothing sparse.

    Raises:
        InputError: if the mask fits no weight of the model, the model does not take the example, or an argument is out
            of range.

    >>> mlp = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> _ = mlp[0].weight.data.fill_(0.0), mlp[0].weight.data[0].fill_(1.0)
    >>> print(sparsify(mlp, policy="always")[0])
    SparseLinear(in_features=4, out_features=3, nnz=4, connectivity=0.3333)
    """
    decisions = plan(model, mask, policy=policy, batch=batch, training=training, example=example)
    for decision in decisions:
        _log.info("%s", decision)
    inner = unwrapped(model)
    places = places_of(inner, mask)
    chosen = [decision.name for decision in decisions if decision.converts]
    if policy == "always" and not chosen and not any(isinstance(module, tuple(_BACK)) for module in inner.modules()):
        _log.warning("%s", _nothing(places, decisions))
    if chosen == [""]:
        whole: nn.Module = _converted(inner, places.get("weight"))
        return whole
    passed = handovers(inner, chosen)
    for name in chosen:
        layer = _converted(inner.get_submodule(name), places.get(f"{name}.weight"))
        inner.set_submodule(name, layer)
        if name in passed:
            _hand_over(inner, layer, passed[name])
    return model


def _nothing(places: Mapping[str, Tensor], decisions: Sequence[Decision]) -> str:
    """Why nothing became sparse."""
    cut = [name for name, alive in places.items() if not alive.all()]
    layers = {f"{decision.name}.weight" if decision.name else "weight" for decision in decisions}
    if cut and not layers.intersection(cut):
        return (
            f"sparsify: nothing became sparse, as the mask cuts only {', '.join(cut)}; "
            "allowed are weights of nn.Linear and nn.Conv2d"
        )
    if not decisions:
        return "sparsify: nothing became sparse, as the model has no nn.Linear and no nn.Conv2d"
    if all(decision.reason == FULL for decision in decisions):
        return "sparsify: nothing became sparse, as no weight is zero; prune the model first, as by widthwise.prune"
    return f"sparsify: nothing became sparse; {'; '.join(map(str, decisions))}"


def densify(model: nn.Module) -> nn.Module:
    """Give back the dense model, in place: zeros where no weight exists, everything else exactly as it is.

    Args:
        model: what :func:`sparsify` returned, trained since or not.

    Returns:
        The same model; a new layer where ``model`` itself is a sparse layer.

    Raises:
        InputTypeError: if ``model`` is no module.
    """
    check_type("model", model, nn.Module)
    inner = unwrapped(model)
    if isinstance(inner, tuple(_BACK)):
        return _dense(inner)
    for name, module in list(inner.named_modules()):
        if isinstance(module, AppliedReLU):
            inner.set_submodule(name, nn.ReLU())
        elif type(module).__module__ == batch_last.__module__:
            inner.set_submodule(name, batch_last(module))
        elif isinstance(module, tuple(_BACK)):
            inner.set_submodule(name, _dense(module))
    return model


_KINDS: dict[type[nn.Module], Any] = {nn.Linear: SparseLinear.from_linear, nn.Conv2d: SparseConv2d.from_conv2d}
_BACK: dict[type[nn.Module], Any] = {SparseLinear: SparseLinear.to_linear, SparseConv2d: SparseConv2d.to_conv2d}


def _hand_over(model: nn.Module, layer: Any, way: Handover) -> None:
    """Let ``layer`` give its result as what comes next takes it best, and that keep it so."""
    layer.batch_last = way.batch_last
    if way.relu is not None:
        layer.clip = True
        model.set_submodule(way.relu, AppliedReLU())
    for name in way.carriers:
        if type(model.get_submodule(name)).__module__ != batch_last.__module__:
            model.set_submodule(name, batch_last(model.get_submodule(name)))


def _converted(layer: Any, mask: Tensor | None) -> Any:
    sparse: SparseLinear = _KINDS[type(layer)](layer, mask)
    sparse.train(layer.training)
    carry_scaled(layer, sparse)
    for own, other in ((sparse.values, layer.weight), (sparse.bias, layer.bias)):
        if own is not None:
            own.requires_grad_(other.requires_grad)
    return sparse


def _dense(layer: Any) -> nn.Module:
    back: nn.Module = _BACK[type(layer)](layer)
    carry_scaled(layer, back)
    return back.train(layer.training)
