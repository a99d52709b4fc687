import math

import numpy as np
import pytest
import torch
from scipy.optimize import fsolve
from scipy.special import erf

from widthwise import meanfield
from widthwise.activations import Activation
from widthwise.errors import InputError

HALF, SHARE = np.polynomial.legendre.leggauss(300)
X = np.concatenate([6 * (HALF - 1), 6 * (HALF + 1)])  # [-12, 0] and [0, 12]
WEIGHT = np.concatenate([SHARE, SHARE]) * 6 * np.exp(-X * X / 2) / math.sqrt(2 * math.pi)
FUNCTIONS = {
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    "erf": (erf, lambda x: 2 / math.sqrt(math.pi) * np.exp(-x * x)),
    "elu": (
        lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
        lambda x: np.where(x > 0, 1, np.exp(np.minimum(x, 0))),
    ),
    "gelu": (
        lambda x: x * (1 + erf(x / math.sqrt(2))) / 2,
        lambda x: (1 + erf(x / math.sqrt(2))) / 2 + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi),
    ),
    "silu": (lambda x: x / (1 + np.exp(-x)), lambda x: (1 + np.exp(-x) * (1 + x)) / (1 + np.exp(-x)) ** 2),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("sigma_b", [0.1, 0.3, 1.0])
def test_the_edge_solves_both_equations_by_an_independent_solver(name, sigma_b):
    phi, slope = FUNCTIONS[name]

    def residual(unknown):
        sigma_w, q = unknown
        chi = sigma_w**2 * (WEIGHT * slope(math.sqrt(abs(q)) * X) ** 2).sum() - 1
        return chi, sigma_b**2 + sigma_w**2 * (WEIGHT * phi(math.sqrt(abs(q)) * X) ** 2).sum() - q

    found = meanfield.edge_of_chaos(name, sigma_b)
    near = fsolve(residual, np.array(found) * 1.01, xtol=1e-13)
    np.testing.assert_allclose(found, near, rtol=1e-6)
    assert meanfield.chi(name, found[0], sigma_b, q=found[1]) == pytest.approx(1, abs=1e-12)


def test_known_edges():
    assert meanfield.edge_of_chaos("relu", 0) == (pytest.approx(math.sqrt(2), rel=1e-15), 1.0)
    assert meanfield.edge_of_chaos("leaky_relu(0.2)") == (pytest.approx(math.sqrt(2 / 1.04), rel=1e-15), 1.0)
    assert meanfield.edge_of_chaos("linear") == (1.0, 1.0)
    assert meanfield.edge_of_chaos("tanh", 0.0) == (1.0, 0.0)
    assert meanfield.edge_of_chaos("erf", 0.0) == (pytest.approx(math.sqrt(math.pi) / 2, rel=1e-15), 0.0)
    assert meanfield.edge_of_chaos("tanh", 0.2)[0] == pytest.approx(1.3041, abs=5e-5)
    assert meanfield.edge_of_chaos("tanh", 0.05)[0] == pytest.approx(1.1225, abs=5e-5)
    sigma_b = 0.7  # for sin + cos, E[phi^2] = E[phi'^2] = 1 at any variance
    assert meanfield.edge_of_chaos("sincos", sigma_b) == (1.0, pytest.approx(1 + sigma_b**2, rel=1e-14))


@pytest.mark.parametrize("name", ["relu", "leaky_relu(0.1)", "abs", "linear", "softplus", "step"])
def test_where_no_edge_exists_the_error_says_so(name):
    with pytest.raises(InputError, match=rf"sigma_b: got 0.1.*{name.split('(')[0]}"):
        meanfield.edge_of_chaos(name, 0.1)


def test_without_second_moments_there_is_no_edge():
    with pytest.raises(InputError, match="second moment"):
        meanfield.edge_of_chaos(Activation("wild", lambda x: torch.exp(x**2)), 0.1)
    growing = Activation("growing", lambda x: torch.expm1(x**2 / 100) + torch.tanh(x))  # finite below variance 25
    sigma_w, q = meanfield.edge_of_chaos(growing, 0.1)
    assert meanfield.chi(growing, sigma_w, 0.1, q=q) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "chi", "sigma_b"), [("tanh", 0.5, 0.3), ("tanh", 2.0, 0.0), ("elu", 0.7, 0.2), ("sin", 1.5, 0.1)]
)
def test_a_given_chi_is_reached_at_an_attracting_fixed_point(name, chi, sigma_b):
    sigma_w, q = meanfield.at_chi(name, chi, sigma_b)
    assert meanfield.fixed_point(name, sigma_w, sigma_b) == pytest.approx(q, rel=1e-10)
    assert meanfield.chi(name, sigma_w, sigma_b) == pytest.approx(chi, rel=1e-10)
    assert meanfield.phase(name, sigma_w, sigma_b) == ("ordered" if chi < 1 else "chaotic")


def test_relu_beyond_the_edge_explodes():
    assert meanfield.at_chi("relu", 2.0, 0.1) == (pytest.approx(2.0), math.inf)
    assert meanfield.fixed_point("relu", 2.0, 0.1) == math.inf
    assert meanfield.correlation_fixed_point("relu", 2.0, 0.1) == 1.0
    assert meanfield.at_chi("relu", 0.5, 0.0) == (pytest.approx(1.0), 0.0)


@pytest.mark.parametrize(
    ("name", "sigma_w", "sigma_b", "start"),
    [
        ("tanh", 1.8, 0.3, 1.0),
        ("tanh", 0.7, 0.0, 1.0),
        ("elu", 1.1, 0.4, 3.0),
        ("gelu", 1.2, 0.1, 1.0),
        ("sin", 2.0, 0.1, 0.5),
    ],
)
def test_the_fixed_point_is_where_iteration_leads(name, sigma_w, sigma_b, start):
    q = torch.tensor(start, dtype=torch.float64)
    for _ in range(150):
        q = meanfield.variance_map(name, q, sigma_w, sigma_b)
    assert meanfield.fixed_point(name, sigma_w, sigma_b, start=start) == pytest.approx(float(q), abs=1e-9)


@pytest.mark.parametrize(
    ("name", "sigma_w", "sigma_b"), [("tanh", 0.8, 0.3), ("tanh", 2.0, 0.3), ("erf", 1.4, 0.2), ("relu", 1.0, 0.5)]
)
def test_depth_scales_are_the_rates_of_iteration(name, sigma_w, sigma_b):
    q, c = meanfield.fixed_point(name, sigma_w, sigma_b), meanfield.correlation_fixed_point(name, sigma_w, sigma_b)
    xi_q, xi_c = meanfield.depth_scales(name, sigma_w, sigma_b)
    off, apart, steps = 1e-4, -1e-4, 6
    near_q, near_c = torch.tensor(q + off, dtype=torch.float64), torch.tensor(c + apart, dtype=torch.float64)
    for _ in range(steps):
        near_q = meanfield.variance_map(name, near_q, sigma_w, sigma_b)
        near_c = meanfield.correlation_map(name, near_c, q, sigma_w, sigma_b)
    assert float(near_q) - q == pytest.approx(off * math.exp(-steps / xi_q), rel=2e-3)
    # ReLU's map is 1 - chi (1 - c) + O((1 - c)^(3/2)): slower to become linear.
    assert float(near_c) - c == pytest.approx(apart * math.exp(-steps / xi_c), rel=2e-2)


def test_on_the_edge_correlations_have_no_scale():
    sigma_w, _ = meanfield.edge_of_chaos("tanh", 0.2)
    xi_q, xi_c = meanfield.depth_scales("tanh", sigma_w, 0.2)
    assert xi_c == math.inf
    assert xi_q == pytest.approx(-1 / math.log(meanfield.variance_slope("tanh", sigma_w, 0.2)))
    path = meanfield.propagate("tanh", sigma_w, 0.2, 64, q=meanfield.edge_of_chaos("tanh", 0.2)[1], c=0.2).correlation
    # 1 - c falls as 1 / depth: halving the depth doubles it.
    assert float((1 - path[32]) / (1 - path[64])) == pytest.approx(2, abs=0.35)


def test_the_variance_slope_is_the_derivative():
    for name, at in (("tanh", 0.7), ("elu", 2.0), ("gelu", 0.3), ("hardtanh", 0.5)):
        step = 1e-5
        ahead, behind = (float(meanfield.variance_map(name, at + s, 1.3, 0.2)) for s in (step, -step))
        assert meanfield.variance_slope(name, 1.3, 0.2, q=at) == pytest.approx((ahead - behind) / (2 * step), rel=1e-7)
    assert meanfield.variance_slope("tanh", 0.7, 0.0) == pytest.approx(0.49, rel=1e-12)
    sigma_w, q = meanfield.edge_of_chaos("gelu", 0.1)
    assert meanfield.variance_slope("gelu", sigma_w, 0.1, q=q) > 1  # it repels


def test_a_constant_activation_forgets_everything_at_once():
    assert meanfield.depth_scales(torch.ones_like, 1.0, 0.5) == (0.0, 0.0)
    assert meanfield.correlation_fixed_point(torch.ones_like, 1.0, 0.5) == 1.0
    assert meanfield.depth_scales("tanh", 0.0, 0.5) == (0.0, 0.0)


def test_phases_and_tolerance():
    assert meanfield.phase("relu", math.sqrt(2), 0.0) == "edge"
    assert meanfield.phase("relu", 1.0, 0.5) == "ordered"
    assert meanfield.phase("tanh", 1.1, 0.0) == "chaotic"
    assert meanfield.phase("tanh", 1.1, 0.0, tolerance=0.1) == "edge"
    with pytest.raises(InputError, match="sigma_b"):
        meanfield.edge_of_chaos("tanh", -0.1)
    with pytest.raises(InputError, match="chi"):
        meanfield.at_chi("tanh", 0.0)
    with pytest.raises(InputError, match="did you mean 'tanh'"):
        meanfield.phase("tahn", 1.0, 0.0)
