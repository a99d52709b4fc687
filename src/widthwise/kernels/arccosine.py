r"""Arc-cosine kernels: the infinite-width kernels of one ReLU layer and of its square.

.. math:: K_l(x, y) = E_w[(w x)_+^l (w y)_+^l] = \frac{1}{2\pi} |x|^l |y|^l J_l(\theta), \quad w \sim N(0, I)

with ``theta`` the angle between ``x`` and ``y``. Half of Cho and Saul's (2009) kernels; (12)-(16) of *Are wider nets
better given the same number of parameters?*, Golubeva, Neyshabur and Gur-Ari (2021).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from widthwise.errors import InputError
from widthwise.kernels._check import as_float64, check_pairs

__all__ = ["arc_cosine", "arc_cosine_from_sums"]


def arc_cosine(x: Tensor, y: Tensor, order: int = 1) -> Tensor:
    """K_1 or K_2 of pairs of vectors.

    Both are well conditioned in the cosine, so the error stays at rounding, relative to ``(|x| |y|)**order``, for
    equal, opposite and nearly parallel vectors; a zero vector gives 0.

    Args:
        x: ``(..., d)``.
        y: the same shape.
        order: 1 or 2.

    Returns:
        ``(...)``, in the dtype of ``x``, computed in double precision.

    Raises:
        InputTypeError: if an input is not a floating-point tensor.
        InputError: if shapes differ, a value is not finite, or ``order`` is neither 1 nor 2.

    Example:
        >>> x = torch.tensor([3.0, 4.0])
        >>> arc_cosine(x, x), arc_cosine(x, -x), arc_cosine(x, x, order=2) / (3 / 2 * 5**4)
        (tensor(12.5000), tensor(0.), tensor(1.))
    """
    check_pairs(x, y)
    if order not in (1, 2):
        raise InputError(f"order: got {order!r}, allowed are 1, 2")
    a, b = as_float64(x), as_float64(y)
    kernels = arc_cosine_from_sums((a * a).sum(-1), (b * b).sum(-1), (a * b).sum(-1))
    return kernels[order - 1].to(x.dtype)


def arc_cosine_from_sums(xx: Tensor, yy: Tensor, xy: Tensor) -> tuple[Tensor, Tensor]:
    """K_1 and K_2 from the three sums on which they depend, ``|x|**2``, ``|y|**2`` and ``x . y``.

    Sums that no vectors have, as a quadrature may visit, are moved to the nearest possible: squares to at least 0, the
    cosine into [-1, 1].
    """
    norms = (xx.clamp(min=0) * yy.clamp(min=0)).sqrt()
    cosine = torch.where(norms > 0, xy / norms, 0).clamp(-1, 1)
    sine = ((1 - cosine) * (1 + cosine)).sqrt()
    opening = torch.acos(-cosine)  # pi - theta, without cancellation where the vectors are opposite
    first = norms * (sine + opening * cosine)
    second = norms.square() * (3 * sine * cosine + opening * (1 + 2 * cosine.square()))
    return first.clamp(min=0) / (2 * math.pi), second.clamp(min=0) / (2 * math.pi)
