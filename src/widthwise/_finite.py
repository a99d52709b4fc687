"""Where a network first makes a number that is not finite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from widthwise.errors import InputError

__all__ = ["first_not_finite", "is_finite", "require_finite"]


class _Found(Exception):  # noqa: N818  # ends a forward pass; no error
    pass


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity; whole numbers never do."""
    return not (tensor.is_floating_point() or tensor.is_complex()) or bool(tensor.isfinite().all())


def first_not_finite(model: nn.Module, *inputs: Any) -> str | None:
    """Say what first holds or gives NaN or infinity when ``model`` is run; ``None`` if nothing does.

    In the order in which layers run: an input, a layer's own parameter or buffer, or what a layer makes of finite
    numbers. The model is left as it was found, buffers and random generators too.

    Args:
        model: any module.
        inputs: of its forward pass.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    >>> first_not_finite(model, torch.ones(1, 2))
    >>> with torch.no_grad():
    ...     model[1].weight[0, 1] = torch.inf
    >>> first_not_finite(model, torch.ones(1, 2))
    "'1.weight' holds values that are NaN or infinite"
    """
    if not all(map(is_finite, _tensors(inputs))):
        return "the input holds values that are NaN or infinite"
    found: list[str] = []

    def before(name: str, module: nn.Module) -> None:
        for own, tensor in [*module.named_parameters(name, recurse=False), *module.named_buffers(name, recurse=False)]:
            if not is_finite(tensor):
                found.append(f"{own!r} holds values that are NaN or infinite")
                raise _Found

    def after(name: str, module: nn.Module, output: Any) -> None:
        if not all(map(is_finite, _tensors(output))):
            layer = f"{name!r} ({type(module).__name__})" if name else f"the network itself ({type(module).__name__})"
            found.append(f"{layer} is the first to make values that are NaN or infinite")
            raise _Found

    hooks: list[Any] = []
    for name, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda module, args, name=name: before(name, module)))
        hooks.append(module.register_forward_hook(lambda module, args, out, name=name: after(name, module, out)))
    kept = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        with torch.no_grad(), torch.random.fork_rng(_devices(model)):
            model(*inputs)
    except _Found:
        pass
    finally:
        for hook in hooks:
            hook.remove()
        for buffer, value in kept:
            buffer.detach().copy_(value)
    return found[0] if found else None


def require_finite(results: Any, model: nn.Module, *inputs: Any) -> None:
    """Refuse results of a model that are NaN or infinite.

    Raises:
        InputError: naming the first weight that is so, or the first layer that makes such values of the inputs.
    """
    if all(map(is_finite, _tensors(results))):
        return
    bad = [name for name, weight in model.named_parameters() if not is_finite(weight)]
    said = first_not_finite(model, *inputs) if inputs else None
    if said is None:
        said = (
            f"{bad[0]!r} holds values that are NaN or infinite" if bad else "its layers are finite, what follows is not"
        )
    raise InputError(f"model: {said}")


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from (tensor for part in value.values() for tensor in _tensors(part))
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        yield from (tensor for part in value for tensor in _tensors(part))


def _devices(model: nn.Module) -> list[int]:
    return sorted({parameter.get_device() for parameter in model.parameters() if parameter.is_cuda})
