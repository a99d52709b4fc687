import math

import mpmath as mp
import pytest
import torch
from dual_cases import TRIPLES, by_quadrature, tensor

from widthwise import duals
from widthwise.activations import affine, get, names
from widthwise.duals import series

PARAMETERS = {"abrelu": "abrelu(-0.3,1.2)", "monomial": "monomial(5)"}
NAMES = [PARAMETERS.get(name, name) for name in names() if name not in ("swish", "identity")]
CONTINUOUS = [name for name in NAMES if not get(name).jumps]
CLOSED = [name for name in NAMES if get(name).closed_form is not None]


@pytest.mark.parametrize("name", NAMES)
def test_the_dual_is_the_integral_over_the_plane(name):
    activation = get(name)
    for q1, q2, c in TRIPLES:
        expected = by_quadrature(activation.phi, q1, q2, c, activation.kinks)
        found = float(duals.dual(activation, q1, q2, c))
        assert found == pytest.approx(expected, rel=1e-11, abs=1e-13)


@pytest.mark.filterwarnings("ignore::widthwise.duals.AccuracyWarning")  # softsign at variance 3, c = 1
@pytest.mark.parametrize("name", CONTINUOUS)
def test_the_derivative_of_the_dual_is_the_integral_over_the_plane(name):
    activation = get(name)
    for q1, q2, c in TRIPLES:
        expected = by_quadrature(activation.derivative, q1, q2, c, activation.kinks)
        found = float(duals.dual_derivative(activation, q1, q2, c))
        assert found == pytest.approx(expected, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("name", CLOSED)
def test_closed_form_and_series_agree_over_all_correlations(name):
    activation = get(name)
    c = torch.linspace(-1, 1, 41, dtype=torch.float64)
    q1, q2 = tensor(0.7), tensor(1.4)
    closed, summed = duals.dual(activation, q1, q2, c), series.dual(activation, q1, q2, c)
    torch.testing.assert_close(closed, summed, rtol=1e-12, atol=1e-13 * float(closed.abs().max()))


@pytest.mark.parametrize("name", [name for name in CLOSED if not get(name).jumps])
def test_closed_form_and_series_of_the_derivative_agree(name):
    activation = get(name)
    c = torch.linspace(-1, 1, 41, dtype=torch.float64)
    q1, q2 = tensor(0.7), tensor(1.4)
    closed, summed = duals.dual_derivative(activation, q1, q2, c), series.dual(activation, q1, q2, c, slope=True)
    torch.testing.assert_close(closed, summed, rtol=1e-12, atol=1e-12 * float(closed.abs().max()))


@pytest.mark.parametrize("name", CLOSED)
def test_the_mean_agrees_with_quadrature(name):
    activation = get(name)
    q = tensor(0.3, 1.0, 2.5)
    first = torch.stack([duals.hermite_coefficients(activation, 0, v)[0] for v in q])
    torch.testing.assert_close(duals.mean(activation, q), first, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["relu", "tanh", "selu", "hardtanh", "gelu", "sincos"])
def test_monte_carlo_agrees_within_five_standard_errors(name):
    activation = get(name)
    u, w = torch.randn(2, 400_000, dtype=torch.float64)
    for q1, q2, c in TRIPLES:
        x, y = math.sqrt(q1) * u, math.sqrt(q2) * (c * u + math.sqrt(1 - c * c) * w)
        draws = activation(x) * activation(y)
        error = float(draws.std()) / math.sqrt(len(draws))
        assert abs(float(duals.dual(activation, q1, q2, c) - draws.mean())) < 5 * error


@pytest.mark.slow
@pytest.mark.parametrize(("name", "phi"), [("tanh", mp.tanh), ("softplus", lambda x: mp.log1p(mp.exp(x)))])
def test_thirty_digits_agree(name, phi):
    q1, q2, c = 0.8, 1.7, 0.3
    with mp.workdps(20):
        sine, r1, r2 = mp.sqrt(1 - mp.mpf(c) ** 2), mp.sqrt(q1), mp.sqrt(q2)
        grid = mp.linspace(-8, 8, 5)
        expected = mp.quad(
            lambda u: mp.npdf(u) * phi(r1 * u) * mp.quad(lambda w: mp.npdf(w) * phi(r2 * (c * u + sine * w)), grid),
            grid,
        )
    assert float(duals.dual(name, q1, q2, c)) == pytest.approx(float(expected), rel=3e-15)


EDGES = [1.0, 1 - 2**-52, 1 - 1e-12, 1 - 1e-7, 0.999, 0.5, 0.0, -0.3, -0.999, -1 + 1e-9, -1 + 2**-52, -1.0]


@pytest.mark.parametrize("c", EDGES)
def test_relu_and_erf_are_exact_to_rounding_at_every_correlation(c):
    with mp.workdps(40):
        exact = mp.mpf(c)
        angle = mp.acos(exact)
        relu = (mp.sin(angle) + (mp.pi - angle) * exact) / (2 * mp.pi)
        half = (mp.pi - angle) / (2 * mp.pi)
        erf = 2 / mp.pi * mp.asin(2 * exact / 3)
    assert abs(float(duals.g("relu", c)) - float(relu)) < 2e-16
    assert abs(float(duals.dual_derivative("relu", 1.0, 1.0, c)) - float(half)) < 2e-16
    assert float(duals.f("relu", c)) == pytest.approx(c * float(half), abs=2e-16)
    assert abs(float(duals.g("erf", c)) - float(erf)) < 2e-16
    assert abs(float(duals.g("relu", torch.tensor(c, dtype=torch.float32))) - float(duals.g("relu", c))) < 2e-4**2


def test_erf_of_a_huge_variance_keeps_its_digits():
    for q in (1e4, 1e8, 1e12):
        with mp.workdps(40):
            expected = 2 / mp.pi * mp.asin(2 * mp.mpf(q) / (1 + 2 * mp.mpf(q)))
        assert float(duals.dual("erf", q, q, 1.0)) == pytest.approx(float(expected), rel=3e-16)


def test_the_papers_formulas():
    c = torch.linspace(-0.99, 0.99, 23, dtype=torch.float64)
    pi = math.pi
    sine, angle = (1 - c**2).sqrt(), torch.arccos(c)
    torch.testing.assert_close(duals.g("relu", c), (sine + c * (pi - angle)) / (2 * pi))  # (59)
    torch.testing.assert_close(duals.f("relu", c), c / 2 * (1 - angle / pi))  # (58)
    torch.testing.assert_close(duals.g("sincos", c), torch.exp(c - 1))
    torch.testing.assert_close(duals.f("sincos", c), c * torch.exp(c - 1))
    a, k, b = 0.7, 2.0, -0.4
    activation, wide = affine(get("erf"), outer=a, inner=k, offset=b), 1 + 1 / (2 * k**2)
    torch.testing.assert_close(duals.g(activation, c), 2 * a**2 / pi * torch.asin(c / wide) + b**2)
    # (62) prints "+ b^2" here too; a constant has no derivative.
    torch.testing.assert_close(duals.f(activation, c), 2 * a**2 / pi * c / (wide**2 - c**2).sqrt())


def test_an_offset_enters_through_the_mean_with_its_sign():
    # (57) prints 2 b sqrt(g(0)), which is wrong where the mean is negative, as for -relu.
    c = torch.linspace(-1, 1, 9, dtype=torch.float64)
    base, b = affine(get("relu"), outer=-1.0), 0.3
    shifted = affine(base, offset=b)
    mean = -1 / math.sqrt(2 * math.pi)
    torch.testing.assert_close(duals.g(shifted, c), duals.g(base, c) + 2 * b * mean + b**2)
    torch.testing.assert_close(series.dual(shifted, tensor(1.0), tensor(1.0), c), duals.g(shifted, c))


def test_the_power_series_of_relu_has_factorials_of_even_numbers():
    # (10) of the paper on two-layer compression prints k! where (2k)! is right; as printed it diverges.
    def odd(k):
        return math.prod(range(1, 2 * k - 2, 2))

    c = 0.7
    total = 1 / (2 * math.pi) + c / 4
    total += sum(odd(k) ** 2 / math.factorial(2 * k) * c ** (2 * k) for k in range(1, 60)) / (2 * math.pi)
    assert float(duals.g("relu", c)) == pytest.approx(total, rel=1e-14)
    assert float(duals.g("relu", 1.0)) == 0.5
    gamma = duals.hermite_coefficients("relu", 8)
    for k in range(1, 5):
        assert float(gamma[2 * k] ** 2) == pytest.approx(odd(k) ** 2 / math.factorial(2 * k) / (2 * math.pi), rel=1e-12)
