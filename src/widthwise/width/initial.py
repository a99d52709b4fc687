"""What a sparse network tells about its width before training: its kernels at initialization, measured."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from widthwise.masks import Mask
from widthwise.models.mlp import mlp

__all__ = ["condition", "initial_scores", "limit_gram"]

_WIDE, _RIDGE = 2048, 1e-6


def initial_scores(model: nn.Module, mask: Mask | None, x: Tensor, targets: Tensor, limit: Tensor) -> dict[str, float]:
    """Scores of one network at initialization on a sample of data.

    - ``distance``: mean squared difference between the Gram matrix of its last features and that of a very wide dense
      network, both divided by their mean diagonal. Of the expected sign: the smaller the better.
    - ``condition``: base-10 logarithm of the condition number of its tangent kernel, the smaller the better.
    - ``rank``: effective rank of the tangent kernel, its squared trace over its squared norm, the larger the better.
    - ``alignment``: cosine between the tangent kernel and that of the targets, both centred, the larger the better.

    Args:
        model: a sequence of layers, the last of which reads the features.
        mask: which weights live; those that don't have no part in the tangent kernel.
        x: ``(n, d)``.
        targets: standardised values ``(n, k)`` or one-hot classes.
        limit: what :func:`limit_gram` gives for the same sample.
    """
    with torch.no_grad():
        gram = _normal(_gram(_features(model, x)))
    kernel = _tangent_kernel(model, mask, x).double()
    return {
        "distance": float((gram - limit).square().mean()),
        "condition": condition(model, mask, x),
        "rank": float(kernel.trace().square() / kernel.square().sum()),
        "alignment": _cosine(_centred(kernel), _centred(_gram(targets.double()))),
    }


def condition(model: nn.Module, mask: Mask | None, x: Tensor) -> float:
    """Base-10 logarithm of the condition number of the tangent kernel on ``x`` ``(n, d)``; at most 6."""
    spectrum = torch.linalg.eigvalsh(_tangent_kernel(model, mask, x).double())
    floor = _RIDGE * spectrum[-1]
    if not floor > 0:
        return -math.log10(_RIDGE)
    return float(torch.log10((spectrum[-1] + floor) / (spectrum[0].clamp_min(0) + floor)))


def limit_gram(x: Tensor, depth: int, activation: str = "relu", seed: int = 0) -> Tensor:
    """Gram matrix of the features of a very wide dense network, divided by its mean diagonal, ``(n, n)``."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        wide = mlp(x.shape[1], 1, width=_WIDE, depth=depth, activation=activation).to(x.dtype)
        return _normal(_gram(_features(wide, x)))


def _features(model: nn.Module, x: Tensor) -> Tensor:
    """What the last layer reads."""
    features: Tensor = nn.Sequential(*list(model.children())[:-1])(x)
    return features


def _tangent_kernel(model: nn.Module, mask: Mask | None, x: Tensor) -> Tensor:
    """Of the sum of all outputs with random signs, over the weights that live."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    outputs = next(reversed(parameters.values())).shape[0]
    signs = 2.0 * torch.randint(2, (outputs,), generator=torch.Generator().manual_seed(0)).to(x.dtype) - 1

    def value(params: Mapping[str, Tensor], row: Tensor) -> Tensor:
        found: Tensor = functional_call(model, dict(params), (row[None],))
        return (found[0] * signs).sum()

    slopes: Mapping[str, Tensor] = vmap(grad(value), (None, 0))(parameters, x)
    kernel = x.new_zeros(len(x), len(x))
    for name, slope in slopes.items():
        alive = slope if mask is None or name not in mask else slope * mask[name]
        kernel += _gram(alive.flatten(1))
    return kernel


def _gram(features: Tensor) -> Tensor:
    gram: Tensor = features @ features.mT
    return gram


def _normal(gram: Tensor) -> Tensor:
    return gram / gram.diagonal().mean().clamp_min(torch.finfo(gram.dtype).tiny)


def _centred(gram: Tensor) -> Tensor:
    return gram - gram.mean(0) - gram.mean(1, keepdim=True) + gram.mean()


def _cosine(a: Tensor, b: Tensor) -> float:
    scale = a.norm() * b.norm()
    return float((a * b).sum() / scale) if scale > 0 else 0.0
