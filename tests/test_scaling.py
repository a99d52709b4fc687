"""Node scalings: (1) and (4), their sum, their asymmetry."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from widthwise import scaling
from widthwise.errors import InputError, InputTypeError

ALPHA = st.floats(0.02, 0.98)
GAMMA = st.floats(0, 1)


@settings(deadline=None, max_examples=60)
@given(m=st.integers(1, 5000), alpha=ALPHA, gamma=GAMMA)
def test_they_sum_to_one_fall_and_are_at_least_the_symmetrical_part(m, alpha, gamma):
    lam = scaling.zipf(m, alpha, gamma)
    assert lam.dtype == torch.float64
    assert abs(math.fsum(lam.tolist()) - 1) < 1e-12
    assert (lam.diff() <= 0).all()
    assert (lam >= gamma / m * (1 - 1e-12)).all()


@pytest.mark.parametrize("m", [1, 2, 7, 1_000_000])
def test_the_sum_is_one_to_twelve_digits_whatever_the_width(m):
    for lam in (scaling.zipf(m, 0.4, 0.0), scaling.zipf(m, 0.7, 0.5), scaling.uniform(m), scaling.power_law(m, 0.5)):
        assert abs(math.fsum(lam.tolist()) - 1) < 1e-12


def test_zipf_starts_at_the_first_node():
    """The published code starts at index 0, which leaves one node only gamma / m."""
    lam = scaling.zipf(3, 0.5, 0.0)
    total = 1 + 1 / 4 + 1 / 9
    torch.testing.assert_close(lam, torch.tensor([1, 1 / 4, 1 / 9], dtype=torch.float64) / total)
    assert (lam > 0).all()


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
def test_every_decay_follows_the_definition(gamma):
    shares = [5.0, 1.0, 0.0, 2.0]
    expected = [gamma / 4 + (1 - gamma) * share / 8 for share in shares]
    torch.testing.assert_close(scaling.mixed(shares, gamma), torch.tensor(expected, dtype=torch.float64))
    power = [j**-1.5 for j in range(1, 11)]
    torch.testing.assert_close(scaling.power_law(10, 1.5, gamma), scaling.mixed(power, gamma))
    torch.testing.assert_close(scaling.zipf(10, 1 / 1.5, gamma), scaling.power_law(10, 1.5, gamma))


def test_gamma_one_is_uniform_with_or_without_alpha():
    assert torch.equal(scaling.zipf(7, None, 1.0), scaling.uniform(7))
    torch.testing.assert_close(scaling.zipf(7, 0.3, 1.0), scaling.uniform(7))


def test_shares_of_any_size_do_not_overflow():
    torch.testing.assert_close(scaling.mixed([1e308, 1e308]), torch.full((2,), 0.5, dtype=torch.float64))


@pytest.mark.parametrize(("alpha", "exact"), [(0.5, 0.4), (1 / 3, (math.pi**6 / 945) / 1.2020569031595942**2)])
def test_the_limit_of_the_asymmetry_is_the_ratio_of_zetas(alpha, exact):
    """zeta(4) / zeta(2)^2 = 2/5; zeta(6) / zeta(3)^2 with Apery's constant."""
    assert float(scaling.zipf_asymmetry(alpha)) == pytest.approx(exact, rel=1e-12)
    assert float(scaling.zipf_asymmetry(alpha, 0.2)) == pytest.approx(0.64 * exact, rel=1e-12)


@settings(deadline=None, max_examples=20)
@given(alpha=st.floats(0.05, 0.8), gamma=GAMMA)
def test_the_asymmetry_tends_to_its_limit(alpha, gamma):
    m = 200_000
    finite = float(scaling.asymmetry(scaling.zipf(m, alpha, gamma)))
    tail = m ** (1 - 1 / alpha)  # what the normalisation misses, up to a constant
    assert finite == pytest.approx(float(scaling.zipf_asymmetry(alpha, gamma)), abs=3 * tail + 3 / m)


def test_the_asymmetry_falls_with_alpha():
    assert (scaling.zipf_asymmetry(torch.linspace(0.05, 0.95, 30)).diff() < 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scaling.zipf(0, 0.5, 0.2), "m: got 0"),
        (lambda: scaling.zipf(5, 0.0, 0.2), r"alpha: got 0.0, allowed is a number in \(0, 1\)"),
        (lambda: scaling.zipf(5, 1.0, 0.2), "alpha: got 1.0"),
        (lambda: scaling.zipf(5, -0.5, 0.2), "alpha: got -0.5"),
        (lambda: scaling.zipf(5, 0.5, 1.1), r"gamma: got 1.1, allowed is a number in \[0, 1\]"),
        (lambda: scaling.zipf(5, 0.5, -0.1), "gamma: got -0.1"),
        (lambda: scaling.zipf(5, 0.5, math.nan), "gamma: got nan"),
        (lambda: scaling.power_law(5, -1.0), "exponent: got -1.0"),
        (lambda: scaling.mixed([]), "shares: got shape"),
        (lambda: scaling.mixed([[1.0]]), "shares: got shape"),
        (lambda: scaling.mixed([1.0, -2.0]), "shares: got -2"),
        (lambda: scaling.mixed([0.0, 0.0]), "shares: got zeros only"),
        (lambda: scaling.mixed([1.0, math.nan]), "shares: 1 of 2 values are NaN"),
        (lambda: scaling.zipf_asymmetry(1.5), "alpha: got 1.5"),
        (lambda: scaling.check_scaling("lam", [1.0], 2), "lam: got 1 scalings, allowed are 2"),
    ],
)
def test_bad_values_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: scaling.zipf(2.5, 0.5, 0.2),
        lambda: scaling.zipf(5, None, 0.5),
        lambda: scaling.zipf(5, "0.5", 0.5),
        lambda: scaling.zipf(True, 0.5, 0.5),
        lambda: scaling.mixed("abc"),
        lambda: scaling.mixed(None),
        lambda: scaling.mixed(torch.tensor([1j, 2])),
    ],
)
def test_bad_types_are_refused(call):
    with pytest.raises(InputTypeError):
        call()
