"""The paths of a network: its forward pass with everything but the products with weights made transparent.

Activations, normalisations and dropout become the identity, biases zero, other parameters positive. With
non-negative weights the sum of the outputs is then a sum over all input-output paths of the products of the
weights along them, times the input: the quantity behind SynFlow, and behind what a mask leaves connected.

Attention by one function lets its queries through beside the mean of its keys and values. Written out, its softmax is
linear, what is above 0 over its sum, and queries, keys and values take a third of the paths each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from widthwise.errors import InputError
from widthwise.pruning.batches import Batches, Data
from widthwise.weights import is_bias, prunable, unwrapped

__all__ = ["PathCount", "example_input", "flow", "leaves"]

_ACTIVATION = (
    "relu|relu6|leaky_relu|prelu|rrelu|elu|selu|celu|gelu|silu|mish|softplus|softsign|tanhshrink|hardtanh|hardswish|"
    "hardsigmoid|hardshrink|softshrink|_?threshold|logsigmoid|sigmoid|tanh|(special_)?erf|clamp(_min|_max)?"
)
_NORMALISATION = "(batch|layer|group|instance|rms|local_response)_norm|normalize"
_DROPOUT = "dropout[123]?d?|(feature_)?(alpha_)?dropout"
_SOFTMAX = re.compile("(log_)?softmax")
_MIXING = re.compile("(__r?)?matmul(__)?|bmm|einsum")
_TRANSPARENT = re.compile(f"({_ACTIVATION}|{_NORMALISATION}|{_DROPOUT})_?")


class PathCount(TorchFunctionMode):
    """Makes activations, normalisations, dropout and attention transparent while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self._patterns: list[Tensor] = []  # what softmax gave

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run ``func``, or pass its input through."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if _TRANSPARENT.fullmatch(name):
            return args[0] if args else kwargs["input"]
        if _SOFTMAX.fullmatch(name):
            self._patterns.append(_shares(*args, **kwargs))
            return self._patterns[-1]
        if _MIXING.fullmatch(name) and any(arg is pattern for arg in args for pattern in self._patterns):
            args = [_third(arg) if isinstance(arg, Tensor) else arg for arg in args]
        if name == "scaled_dot_product_attention":
            return _attention(*args, **kwargs)
        if name == "multi_head_attention_forward":
            return self.product(func, args, _multi_head_attention(*args, **kwargs)), None
        return self.product(func, args, func(*args, **kwargs))

    def product(self, func: Any, args: Any, output: Any) -> Any:
        """A hook for subclasses: what the function returned, or something in its place."""
        return output


def flow(model: nn.Module, weights: Mapping[str, Tensor], x: Tensor, mode: PathCount) -> Tensor:
    """The sum of all outputs of the transparent network with ``weights`` in place of its prunable parameters.

    The model itself is not changed. Computed in the dtype of ``weights``.
    """
    inner = unwrapped(model)
    dtype = next(iter(weights.values())).dtype
    tensors = {name: _positive(name, p, dtype) for name, p in inner.named_parameters() if name not in weights}
    tensors |= {name: b.to(dtype) if b.is_floating_point() else b.clone() for name, b in inner.named_buffers()}
    with mode:
        output = functional_call(inner, {**tensors, **weights}, (x.to(dtype) if x.is_floating_point() else x,))
    return torch.stack([leaf.sum() for leaf in leaves(output)]).sum()


def example_input(model: nn.Module, data: Data | None) -> Tensor | None:
    """One example of ones in the shape of the data, or in the size of a linear first layer; else ``None``.

    Whole numbers, such as tokens, are taken from the data as they are.
    """
    first = next(iter(prunable(model).values()))
    if data is not None:
        x, _ = Batches(data, first.device).first()
        return torch.ones_like(x[:1]) if x.is_floating_point() else x[:1]
    for module in unwrapped(model).modules():
        if isinstance(module, nn.Linear) and module.weight is first:
            return first.new_ones(1, module.in_features)
    return None


def _positive(name: str, parameter: Tensor, dtype: torch.dtype) -> Tensor:
    value = parameter.detach().to(dtype)
    return torch.zeros_like(value) if is_bias(name, value) else value.abs()


def leaves(output: Any) -> Iterable[Tensor]:
    """The floating-point tensors of a module's output, however nested."""
    if isinstance(output, Tensor):
        yield from [output] if output.is_floating_point() else []
    elif isinstance(output, Mapping):
        yield from leaves(list(output.values()))
    elif isinstance(output, tuple | list):
        for part in output:
            yield from leaves(part)
    elif output is not None:
        raise InputError(f"model: returned {type(output).__name__}, allowed are tensors in tuples, lists or mappings")


def _shares(input: Tensor, dim: int | None = None, *args: Any, **kwargs: Any) -> Tensor:
    """A linear softmax: what is above 0 over its sum, which counts as a constant; what is below 0 masks."""
    living = input.clamp(min=0)
    total = living.detach().sum(-1 if dim is None else dim, keepdim=True)
    return living / total.where(total > 0, 1)


def _third(tensor: Tensor) -> Tensor:
    """The same numbers with a third of the gradient."""
    return torch.lerp(tensor.detach(), tensor, 1 / 3)


def _attention(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return query + (key + value).mean(-2, keepdim=True)


def _multi_head_attention(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """``nn.functional.multi_head_attention_forward``, whose inputs have the sequence first, made transparent."""
    stacked, out = args[2], args[8]
    weights = stacked.chunk(3) if stacked is not None else [kwargs[f"{part}_proj_weight"] for part in "qkv"]
    q, k, v = (functional.linear(x, weight) for x, weight in zip((query, key, value), weights, strict=True))
    return functional.linear(q + (k + v).mean(0, keepdim=True), out)
