import itertools

import mpmath as mp
import pytest
import torch
from dual_cases import by_quadrature, tensor
from hypothesis import given, settings
from hypothesis import strategies as st

from widthwise.duals.orthant import moments, orthant
from widthwise.duals.splines import Spline

THRESHOLDS = [0.0, 0.3, 5.0, -0.8]
CORRELATIONS = [0.4, -0.97, 1 - 1e-9]


@pytest.mark.parametrize("c", CORRELATIONS)
def test_orthant_probabilities_to_sixteen_digits(c):
    pairs = list(itertools.combinations_with_replacement(THRESHOLDS, 2))
    h, k = tensor(*(p[0] for p in pairs)), tensor(*(p[1] for p in pairs))
    found = orthant(h, k, tensor(c))
    with mp.workdps(20):
        sine = mp.sqrt(1 - mp.mpf(c) ** 2)

        def exact(a, b):
            if c < 0:  # mirror, so that the integrand below is smooth where the mass lies
                return mp.ncdf(-a) - exact_positive(a, -b)
            return exact_positive(a, b)

        def exact_positive(a, b):
            r = abs(mp.mpf(c))
            breaks = sorted(
                {mp.mpf(a), *(x for x in (b / r if r else a, b / r + 8 * sine if r else a) if x > a), a + 12}
            )
            return mp.quad(lambda u: mp.npdf(u) * mp.ncdf((r * u - b) / sine), breaks)

        expected = tensor(*(float(exact(a, b)) for a, b in pairs))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)


def test_at_full_correlation_one_variable_remains():
    h, k = tensor(0.2, -1.0, 0.5, 0.0), tensor(0.7, 0.5, -0.5, 0.0)
    upper = torch.special.ndtr(-torch.maximum(h, k))
    torch.testing.assert_close(orthant(h, k, tensor(1.0)), upper)
    torch.testing.assert_close(
        orthant(h, -k, tensor(-1.0)), (torch.special.ndtr(k) - torch.special.ndtr(h)).clamp(min=0)
    )


@given(h=st.floats(-6, 6), k=st.floats(-6, 6), c=st.floats(-1, 1))
@settings(deadline=None, max_examples=40)
def test_the_four_quadrants_make_the_plane(h, k, c):
    h, k, c = tensor(h), tensor(k), tensor(c)
    total = orthant(h, k, c) + orthant(-h, k, -c) + orthant(h, -k, -c) + orthant(-h, -k, c)
    assert float(total) == pytest.approx(1, abs=1e-15)
    assert float(orthant(h, k, c)) == pytest.approx(float(orthant(k, h, c)), abs=3e-16)
    assert -3e-16 <= float(orthant(h, k, c)) <= 1


@pytest.mark.parametrize(("h", "k", "c"), [(0.0, 0.0, 0.3), (0.5, 1.2, -0.6), (-0.7, 0.4, 0.8)])
def test_truncated_moments_are_integrals_over_the_plane(h, k, c):
    table = moments(tensor(h), tensor(k), tensor(c), 3, 2)
    for a, b in itertools.product(range(4), range(3)):
        expected = by_quadrature(
            lambda x, a=a: (x > h) * (x - h) ** a,
            *(1.0, 1.0, c),
            kinks=(h,),
            psi=lambda y, b=b: (y > k) * (y - k) ** b,
            other=(k,),
        )
        assert float(table[a, b]) == pytest.approx(expected, rel=1e-11)


def test_the_gradients_of_the_moments_stay_in_the_family():
    h, k, c = (tensor(*v, requires_grad=True) for v in ((0.0, 0.5), (0.0, -0.3), (0.2, 0.7)))
    assert torch.autograd.gradcheck(lambda *x: moments(*x, 2, 3), (h, k, c), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda *x: moments(*x, 1, 2), (h, k, c), fast_mode=True)


def test_a_spline_jumps_as_it_says_and_has_its_dual():
    spline = Spline(((-1.0, (0.0, 2.0, -1.5)), (0.5, (0.0, -1.0, 0.0, 3.0))))
    step = 1e-4
    for knot, jumps in spline.knots:
        ahead = spline.derivative().derivative()(tensor(knot + step))
        behind = spline.derivative().derivative()(tensor(knot - step))
        assert float(ahead - behind) == pytest.approx(jumps[2], abs=5e-4)
    for q1, q2, c in [(1.0, 1.0, 0.5), (0.4, 2.0, -0.7)]:
        expected = by_quadrature(spline, q1, q2, c, kinks=(-1.0, 0.5))
        assert float(spline.dual(tensor(q1), tensor(q2), tensor(c))) == pytest.approx(expected, rel=1e-11)
    assert spline.order == 4
    assert spline.truncated(2).knots == ((-1.0, (0.0, 2.0)), (0.5, (0.0, -1.0)))
