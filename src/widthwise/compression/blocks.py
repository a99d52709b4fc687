"""Find the Linear-activation-Linear blocks of a model by watching the numbers that flow through it.

How a model is written does not matter: a block is a pair of Linear layers such that what enters the second is, on the
data, an activation of what left the first. Dropout is off while watching.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from widthwise.activations import Activation, get, names, of_module
from widthwise.errors import InputError, check_finite
from widthwise.masks import Mask

__all__ = ["Block", "find_blocks", "layer_inputs", "replace_layer"]

_ROWS = 64  # of each layer compared
_COMMON = ("relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid", "leaky_relu")
_NOT_BLOCKS = {"linear", "identity"}


@dataclass(frozen=True)
class Block:
    """Two Linear layers, by name in the model, and what lies between them."""

    first: str
    second: str
    activation: Activation

    def layers(self, model: nn.Module) -> tuple[nn.Linear, nn.Linear]:
        """Return the two layers as they now are in ``model``."""
        first, second = model.get_submodule(self.first), model.get_submodule(self.second)
        assert isinstance(first, nn.Linear)
        assert isinstance(second, nn.Linear)
        return first, second


def find_blocks(model: nn.Module, batch: Tensor) -> list[Block]:
    """Return the blocks whose hidden units nothing else uses, in the order of the forward pass.

    Left out are layers with a mask or with weights tied to another layer, and blocks whose hidden units something else
    reads: such a model notices one more of them, even if the second layer does not.

    Args:
        model: any module.
        batch: something it accepts.
    """
    linears = {name: layer for name, layer in model.named_modules() if type(layer) is nn.Linear}
    seen = _watch(model, linears, batch)
    usable = [name for name in seen if not _bound(model, linears[name])]
    blocks = []
    for at, second in enumerate(usable):
        for first in reversed(usable[:at]):
            activation = _between(model, seen[first], seen[second])
            if activation is not None and _private(model, first, second, batch):
                blocks.append(Block(first, second, activation))
                break
    return blocks


def layer_inputs(model: nn.Module, name: str, batches: Sequence[Tensor], rows: int) -> Tensor:
    """Return up to ``rows`` inputs of a layer, evenly over the batches, shape (n, in_features)."""
    kept: list[Tensor] = []
    share = -(-rows // len(batches))

    def keep(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        kept.append(args[0].detach().flatten(0, -2))

    handle = model.get_submodule(name).register_forward_pre_hook(keep)
    found = []
    try:
        with _evaluation(model):
            for batch in batches:
                kept.clear()
                model(batch)
                inputs = torch.cat(kept)
                found.append(inputs[torch.linspace(0, len(inputs) - 1, min(share, len(inputs))).long()])
    finally:
        handle.remove()
    return torch.cat(found)


def replace_layer(model: nn.Module, name: str, layer: nn.Module) -> None:
    """Put ``layer`` where the submodule ``name`` is."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, layer)


_Calls = list[tuple[Tensor, Tensor]]


def _watch(model: nn.Module, linears: dict[str, nn.Linear], batch: Tensor) -> dict[str, _Calls]:
    """Run the model once; for each layer called, in order, the first rows of its inputs and outputs, call by call."""
    seen: dict[str, _Calls] = {}

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def keep(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            seen.setdefault(name, []).append((args[0].flatten(0, -2)[:_ROWS], output.flatten(0, -2)[:_ROWS]))

        return keep

    handles = [layer.register_forward_hook(hook(name)) for name, layer in linears.items()]
    try:
        with _evaluation(model):
            model(batch)
    except Exception as error:
        raise InputError(f"data: the model fails on it: {error}") from error
    finally:
        for handle in handles:
            handle.remove()
    for name, calls in seen.items():
        for _, output in calls:
            check_finite(f"model: what {name} gives", output)
    return seen


@contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, without gradients and without fused layers, which call no submodule; all put back afterwards."""
    training = {module: module.training for module in model.modules()}
    fused = torch.backends.mha.get_fastpath_enabled()
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for module, mode in training.items():
            module.training = mode


def _bound(model: nn.Module, layer: nn.Linear) -> bool:
    """Whether the layer's weights are masked or used elsewhere."""
    owners = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    tied = any(owners[id(p)] > 1 for p in layer.parameters())
    mask = Mask.of(model)
    masked = mask is not None and any(p is layer.weight for name, p in model.named_parameters() if name in mask)
    return tied or masked


def _between(model: nn.Module, first: _Calls, second: _Calls) -> Activation | None:
    """The activation that turns what leaves one layer into what enters the other, the model's own kinds first."""
    if len(first) != len(second) or any(a[1].shape != b[0].shape for a, b in zip(first, second, strict=True)):
        return None
    own = [found for module in model.modules() if (found := of_module(module)) is not None]
    for activation in [*own, *(get(name) for name in _candidates())]:
        if activation.name not in _NOT_BLOCKS and all(
            torch.allclose(activation(out), into, rtol=1e-3, atol=1e-5 * float(out.abs().max() + 1e-30))
            for (_, out), (into, _) in zip(first, second, strict=True)
        ):
            return activation
    return None


def _candidates() -> list[str]:
    others = (name for name in names() if name not in {*_COMMON, "abrelu", "monomial"})
    return [*_COMMON, *(name for name in others if not get(name).jumps)]


@torch.no_grad()
def _private(model: nn.Module, first: str, second: str, batch: Tensor) -> bool:
    """Whether one more hidden unit, which the second layer ignores, leaves the model's output as it is."""
    before, after = model.get_submodule(first), model.get_submodule(second)
    assert isinstance(before, nn.Linear)
    assert isinstance(after, nn.Linear)
    with _evaluation(model):
        wanted = _tensors(model(batch))
        try:
            replace_layer(model, first, _padded(before, 1, 0))
            replace_layer(model, second, _padded(after, 0, 1))
            got = _tensors(model(batch))
        except (RuntimeError, ValueError):
            return False
        finally:
            replace_layer(model, first, before)
            replace_layer(model, second, after)
    return len(wanted) == len(got) and all(
        a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(a.abs().max() + 1e-30))
        for a, b in zip(wanted, got, strict=True)
    )


def _padded(layer: nn.Linear, rows: int, columns: int) -> nn.Linear:
    """The layer with more outputs, which copy the first at three times its size, and more inputs, which it ignores."""
    wide = copy.deepcopy(layer)
    weight, bias = layer.weight, layer.bias
    wide.weight = nn.Parameter(functional.pad(torch.cat([weight, 3 * weight[:1].expand(rows, -1)]), (0, columns)))
    if bias is not None:
        wide.bias = nn.Parameter(torch.cat([bias, bias[:1].expand(rows) + 1]))
    wide.out_features, wide.in_features = wide.weight.shape
    return wide


def _tensors(output: object) -> list[Tensor]:
    """The floating tensors in whatever a model returns."""
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    if isinstance(output, dict):
        output = list(output.values())
    return [tensor for part in output for tensor in _tensors(part)] if isinstance(output, list | tuple) else []
