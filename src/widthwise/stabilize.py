"""Make an existing residual network stable: scale its L residual branches by ``L ** -0.5``.

The factor is folded into the last parameters of each branch, so the network stays what it was: same modules, same
keys, same cost. Branches are found by following the forward pass symbolically.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from widthwise._branches import Branch, branch_of, find_branches
from widthwise._scaled import remember_scaled, scaled_in
from widthwise.errors import InputError, InputTypeError, check_type
from widthwise.weights import prunable, unwrapped

__all__ = ["Branch", "Stabilized", "stabilize"]

Branches = Callable[[str, nn.Module], bool] | Sequence[str | nn.Module]


@dataclass(frozen=True)
class Stabilized:
    """What :func:`stabilize` did.

    Attributes:
        branches: the residual branches and the parameters of each that were scaled; one branch a block.
        unscaled: sums that are no residual sums, as both sides have passed equally many layers.
    """

    branches: tuple[Branch, ...]
    unscaled: tuple[str, ...] = ()

    @property
    def blocks(self) -> int:
        """L, the number of residual blocks."""
        return len(self.branches)

    @property
    def factor(self) -> float:
        """What the parameters were multiplied by: ``L ** -0.5``."""
        return float(self.blocks**-0.5)

    def __str__(self) -> str:
        lines = [f"{self.blocks} residual branches scaled by {self.factor:.6g}"]
        lines += [f"  {' + '.join(branch.ends)}: {', '.join(branch.parameters)}" for branch in self.branches]
        lines += [f"  not a residual sum: {name}" for name in self.unscaled]
        return "\n".join(lines)


def stabilize(model: nn.Module, branches: Branches | None = None) -> Stabilized:
    """Scale every residual branch of ``model`` by ``L ** -0.5``, in place, with L the number of blocks.

    Afterwards the network computes ``y + F(y) / sqrt(L)`` where it computed ``y + F(y)``. The factor goes into the
    weight and bias of what ends the branch: BatchNorm or another affine normalisation, a linear or convolutional
    layer, the output projection of attention, or a learned scale. Dropout, pooling, ReLU and reshaping are passed on
    the way. The function is exactly that of a network with constant factors, and so are SNIP scores; under training
    the two part, because a smaller weight moves faster relative to its size. Call it once, after the weights are
    initialised: a second one is refused, for copies and after :func:`widthwise.load` too, unless
    :mod:`widthwise.init` drew anew what was scaled. A ``state_dict`` does not tell, and what ``reset_parameters``,
    :mod:`torch.nn.init` or ``load_state_dict`` put into a scaled model cannot be told from trained weights: it stays
    refused, so put them into a model built anew.

    Sums are found by tracing the forward pass. The residual branch is the side of a sum that has passed more layers;
    the shortcut may be the identity or a projection. The layers of :class:`torch.nn.TransformerEncoder` and its
    decoder are known, and have two or three branches each.

    Args:
        model: a residual network.
        branches: the modules whose outputs are added to the shortcuts, where they cannot be found: modules, their
            names, or a predicate of a name and a module. One each block.

    Returns:
        Which branches there are, and which parameters were scaled.

    Raises:
        InputError: if branches were scaled before, none is found, a module cannot be looked into, or a branch ends in
            something into which a factor cannot be folded exactly; the message names it. The model is then left
            untouched.
        InputTypeError: if an argument has the wrong type.

    Source: Hayou, Ton, Doucet, Teh, "Robust Pruning at Initialization", Proposition 2.

    Example:
        >>> from widthwise.models import resnet20
        >>> done = stabilize(resnet20())
        >>> done.blocks, round(done.factor, 4), done.branches[0].parameters
        (9, 0.3333, ('stage1.0.branch.norm2.weight', 'stage1.0.branch.norm2.bias'))
    """
    inner = unwrapped(check_type("model", model, nn.Module))
    prunable(inner)  # refuses lazy layers
    _check_first_time(inner)
    if branches is None:
        found, unscaled = find_branches(inner)
    else:
        found, unscaled = [branch_of(inner, name) for name in _named(inner, branches)], []
    if not found:
        raise InputError("model: found no residual branch; pass branches, the modules that are added to the shortcuts")
    done = Stabilized(tuple(found), tuple(unscaled))
    _check_untied(inner, done)
    with torch.no_grad():
        for name in {name for branch in found for name in branch.parameters}:
            inner.get_parameter(name).mul_(done.factor)
    remember_scaled(inner, {name.rpartition(".")[0] for branch in found for name in branch.parameters})
    return done


def _check_first_time(model: nn.Module) -> None:
    scaled = scaled_in(model)
    if scaled:
        raise InputError(
            f"model: {len(scaled)} of its modules were scaled by an earlier call, the first {scaled[0]!r}; allowed is "
            "one call: build the model anew, or draw its weights with widthwise.init"
        )


def _named(model: nn.Module, branches: Branches) -> list[str]:
    """The names in ``model`` of the modules that ``branches`` means."""
    modules = dict(model.named_modules())
    if callable(branches):
        return [name for name, module in modules.items() if branches(name, module)]
    if isinstance(branches, str) or not isinstance(branches, Sequence):
        kind = type(branches).__name__
        raise InputTypeError(f"branches: got {kind}, allowed are a sequence of modules or names, or a predicate")
    names = {id(module): name for name, module in modules.items()}
    found = [names.get(id(one)) if isinstance(one, nn.Module) else one for one in branches]
    for one, name in zip(branches, found, strict=True):
        if name not in modules:
            got = f"a {type(one).__name__}" if isinstance(one, nn.Module) else repr(one)
            raise InputError(f"branches: got {got}, which is no module of the model")
    return [name for name in found if name is not None]


def _check_untied(model: nn.Module, done: Stabilized) -> None:
    """Refuse parameters that belong to several modules."""
    owners: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        for key, parameter in module._parameters.items():
            owners.setdefault(id(parameter), []).append(f"{name}.{key}".lstrip("."))
    for branch in done.branches:
        for name in branch.parameters:
            shared = owners[id(model.get_parameter(name))]
            if len(shared) > 1:
                raise InputError(
                    f"model: a branch ends in {shared[0]!r}, which is tied to {shared[1]!r}, so cannot be scaled"
                )
