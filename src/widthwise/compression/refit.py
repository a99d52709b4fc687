"""Refit the outgoing coefficients on data, starting from those that are best for Gaussian inputs."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["held_out", "refit", "relative_error"]

_STRENGTHS = (1e-8, 1e-6, 1e-4, 1e-2, 1.0)  # of the features' mean variance


def refit(features: Tensor, wanted: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return coefficients (M, k) and intercepts (k,) for ``features @ b + intercept``.

    This is ridge regression of what ``b`` leaves unexplained. Its strength, down to no correction at all, is chosen on
    every fifth row, so that too few rows do no harm.

    Args:
        features: hidden outputs, shape (n, M), float64.
        wanted: the block's outputs, shape (n, k).
        b: coefficients to start from, shape (M, k).
    """
    test = held_out(len(features))
    x, y = features[~test], (wanted - features @ b)[~test]
    centre, level = x.mean(0), y.mean(0)
    values, axes = torch.linalg.eigh((x - centre).T @ (x - centre) / len(x))
    along = axes.T @ ((x - centre).T @ (y - level) / len(x))
    scale = values.clamp_min(0).mean().clamp_min(torch.finfo(x.dtype).tiny)
    corrections = [torch.zeros_like(b)]
    corrections += [axes @ (along / (values.clamp_min(0) + strength * scale).unsqueeze(1)) for strength in _STRENGTHS]
    fits = [(b + correction, level - centre @ correction) for correction in corrections]
    return min(fits, key=lambda fit: relative_error(features @ fit[0] + fit[1], wanted))


def held_out(n: int) -> Tensor:
    """Mark every fifth of n rows."""
    return torch.arange(n) % 5 == 4


def relative_error(got: Tensor, wanted: Tensor) -> float:
    """Return the part of the variance of ``wanted`` that ``got`` misses, on the rows held out from :func:`refit`."""
    test = held_out(len(wanted))
    missed = (got - wanted)[test].square().sum()
    variance = (wanted[test] - wanted.mean(0)).square().sum()
    return float(missed / variance.clamp_min(torch.finfo(wanted.dtype).tiny))
