from __future__ import annotations

import math

import mpmath
import pytest
import torch

from widthwise.errors import InputError, InputTypeError
from widthwise.kernels import arc_cosine


def exact(x: torch.Tensor, y: torch.Tensor, order: int) -> mpmath.mpf:
    """K_l with 60 digits, from the vectors as they are."""
    with mpmath.workdps(60):
        a, b = ([mpmath.mpf(v) for v in vector.tolist()] for vector in (x, y))
        norms = mpmath.norm(a) * mpmath.norm(b)
        theta = mpmath.acos(min(1, max(-1, mpmath.fdot(a, b) / norms)))
        sine, cosine = mpmath.sin(theta), mpmath.cos(theta)
        if order == 1:
            j = sine + (mpmath.pi - theta) * cosine
        else:
            j = 3 * sine * cosine + (mpmath.pi - theta) * (1 + 2 * cosine**2)
        return norms**order * j / (2 * mpmath.pi)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 2e-15), (torch.float32, 1e-7)])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("angle", [0, 1e-12, 1e-8, 1e-4, 1e-1, 1])
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_rounding_only_at_every_angle(order, dtype, tolerance, sign, angle, scale):
    x, other = torch.randn(2, 7, dtype=torch.float64)
    y = sign * scale * (x * math.cos(angle) + other * math.sin(angle))
    x, y = x.to(dtype), y.to(dtype)
    error = abs(mpmath.mpf(arc_cosine(x, y, order).item()) - exact(x, y, order))
    assert error <= tolerance * float(x.double().norm() * y.double().norm()) ** order


def test_they_are_moments_of_rectified_projections():
    x, y = torch.randn(2, 5, dtype=torch.float64)
    w = torch.randn(1_000_000, 5, dtype=torch.float64)
    product = torch.relu(w @ x) * torch.relu(w @ y)
    for order in (1, 2):
        moments = product**order
        error = moments.std() / len(w) ** 0.5
        assert (moments.mean() - arc_cosine(x, y, order)).abs() < 4 * error


def test_zero_opposite_and_equal_rows():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0], [0.0, 0.0]])
    y = torch.tensor([[1.0, 2.0], [-3.0, -4.0], [3.0, 4.0], [0.0, 0.0]])
    assert torch.equal(arc_cosine(x, y), torch.tensor([0, 0, 12.5, 0]))
    assert torch.equal(arc_cosine(x, y, 2), torch.tensor([0, 0, 937.5, 0]))


def test_leading_dimensions_and_dtype_are_kept():
    x = torch.randn(2, 3, 4)
    found = arc_cosine(x, x)
    assert found.shape == (2, 3)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, x.square().sum(-1) / 2)


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (torch.ones(3), torch.ones(4), InputError, r"y: got shape \(4,\), allowed is the shape of x, \(3,\)"),
        (torch.ones(3), [1.0, 2.0, 3.0], InputTypeError, "y: got .* of type list"),
        (torch.ones(3, dtype=torch.long), torch.ones(3), InputTypeError, "x: got dtype torch.int64"),
        (torch.tensor([1.0, math.nan]), torch.ones(2), InputError, "x: 1 of 2 values are NaN"),
        (torch.ones(0, 3), torch.ones(0, 3), InputError, "x: got shape"),
        (torch.ones(3, 0), torch.ones(3, 0), InputError, "x: got shape"),
        (torch.tensor(1.0), torch.tensor(1.0), InputError, "x: got shape"),
    ],
)
def test_bad_input(x, y, error, message):
    with pytest.raises(error, match=message):
        arc_cosine(x, y)


@pytest.mark.parametrize("order", [0, 3, 1.5, "1"])
def test_bad_order(order):
    with pytest.raises(InputError, match="order: got .*, allowed are 1, 2"):
        arc_cosine(torch.ones(2), torch.ones(2), order)
