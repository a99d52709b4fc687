import math

import pytest
import torch
from dual_cases import tensor

from widthwise import duals
from widthwise.activations import Activation, get
from widthwise.duals import AccuracyWarning, expand, series
from widthwise.duals.splines import kinks_of
from widthwise.errors import InputError


def test_hermite_coefficients_of_polynomials_are_known():
    gamma = duals.hermite_coefficients("cube", 5)  # x^3 = He_3 + 3 He_1
    torch.testing.assert_close(gamma, tensor(0, 3, 0, math.sqrt(6), 0, 0), rtol=0, atol=1e-13)
    assert duals.hermite_coefficients("tanh", 7, torch.ones(2, 3)).shape == (8, 2, 3)


def test_hermite_coefficients_of_exp_are_known_to_a_high_degree():
    gamma = duals.hermite_coefficients("exp", 40, 0.5)
    expected = [math.exp(0.25 + k / 2 * math.log(0.5) - math.lgamma(k + 1) / 2) for k in range(41)]
    torch.testing.assert_close(gamma, tensor(*expected), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["tanh", "silu", "gelu_tanh", "softplus", "mish", "relu6", "hardswish"])
@pytest.mark.parametrize("q", [0.1, 1.0, 10.0])
def test_the_series_at_full_correlation_is_the_second_moment(name, q):
    one = tensor(1.0)
    summed = series.dual(get(name), tensor(q), tensor(q), one)
    torch.testing.assert_close(summed, duals.second_moment(name, tensor(q)), rtol=1e-12, atol=0)


@pytest.mark.filterwarnings("ignore::widthwise.duals.AccuracyWarning")
@pytest.mark.parametrize("name", ["selu", "softsign", "tanh"])
@pytest.mark.parametrize("q", [1.0, 1e4])
@pytest.mark.parametrize("slope", [False, True])
def test_the_error_estimate_is_honest(name, q, slope):
    expansion = expand(name, q, slope=slope)
    summed = series.dual(get(name), tensor(q), tensor(q), tensor(1.0), slope=slope)
    true = abs(float(summed - duals.second_moment(name, tensor(q), slope=slope)))
    assert true <= 4 * float(expansion.error) + 1e-14 * float(expansion.scale)


def test_the_degree_adapts_to_the_variance():
    degrees = [expand("tanh", q).degree for q in (0.01, 1.0, 10.0)]
    assert degrees[0] < 40 < degrees[1] < 200 < 800 < degrees[2]
    # At variance 10 a fixed degree of 100 would still err by more than 1e-6.
    assert float(expand("tanh", 10.0).coefficients[101:].square().sum()) > 1e-6


def test_kinks_are_taken_out_exactly():
    assert expand("relu").degree < 10
    assert expand("hardtanh").degree < 10
    ((knot, jumps),) = kinks_of(get("selu")).knots
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    assert knot == 0.0
    assert jumps[1] == pytest.approx(scale * (1 - alpha), rel=1e-10)
    assert jumps[2] == pytest.approx(-scale * alpha, rel=1e-7)


def test_a_kink_nobody_declared_is_found():
    bare = Activation("bare", lambda x: torch.relu(x - 0.5) * 2)
    exact = series.dual(get(bare.phi), tensor(1.0), tensor(1.0), tensor(1.0))
    torch.testing.assert_close(exact, duals.second_moment(get(bare.phi), 1.0), rtol=1e-13, atol=0)
    with pytest.warns(AccuracyWarning, match="declare its kinks"):
        rough = series.dual(bare, tensor(1.0), tensor(1.0), tensor(0.99), slope=True)
    fine = series.dual(get(bare.phi), tensor(1.0), tensor(1.0), tensor(0.99), slope=True)
    torch.testing.assert_close(rough, fine, rtol=1e-3, atol=0)


def test_large_arrays_are_done_in_rows_with_the_same_result(monkeypatch):
    q1, q2 = torch.rand(2, 5, dtype=torch.float64) + 0.5
    c = torch.rand(5, 5, dtype=torch.float64) * 2 - 1
    for name in ("silu", "relu6"):
        whole = duals.dual(name, q1[:, None], q2[None], c)
        monkeypatch.setattr(series, "CHUNK", 12)
        torch.testing.assert_close(duals.dual(name, q1[:, None], q2[None], c), whole, rtol=1e-14, atol=1e-15)
        monkeypatch.undo()
        alone = torch.stack([duals.dual(name, q1[i], q2[-i], c[i, -i]) for i in range(5)])
        torch.testing.assert_close(torch.stack([whole[i, -i] for i in range(5)]), alone, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    "phi",
    [lambda x: torch.exp(x**2 / 4), lambda x: torch.exp(x.abs() ** 3 / 9), lambda x: 1 / x, lambda x: (x - 5).sqrt()],
)
def test_without_a_second_moment_there_is_no_dual(phi):
    with pytest.raises(InputError, match="finite second moment"):
        duals.g(Activation("wild", phi), 0.5)
    with pytest.raises(InputError, match="finite second moment"):
        duals.hermite_coefficients(Activation("wild", phi), 3)


def test_growth_within_the_gaussian_is_fine():
    # E[exp(x^2 / 8)^2] = 1 / sqrt(1 - 1/2)
    activation = Activation("steep", lambda x: torch.exp(x**2 / 8))
    assert float(duals.second_moment(activation, 1.0)) == pytest.approx(math.sqrt(2), rel=1e-12)
    assert float(duals.second_moment(lambda x: torch.cosh(3 * x), 1.0)) == pytest.approx(
        (1 + math.exp(18)) / 2, rel=1e-10
    )


def test_a_jump_has_no_derivative_in_the_mean_square():
    with pytest.raises(InputError, match="jumps at -0.5"):
        duals.dual_derivative("hardshrink", 1.0, 1.0, 0.5)
    assert float(duals.dual_derivative("step", 1.0, 1.0, 0.6)) == pytest.approx(1 / (2 * math.pi * 0.8), rel=1e-15)
    assert float(duals.f("step", 1.0)) == math.inf


def test_expansions_of_named_activations_are_kept(monkeypatch):
    duals.g("tanh", 0.1)
    monkeypatch.setattr(series, "expand", None)
    assert float(duals.g("tanh", 0.2)) > 0


def test_degree_is_checked():
    with pytest.raises(InputError, match="degree"):
        duals.hermite_coefficients("relu", -1)


@pytest.mark.parametrize(("name", "slope"), [("tanh", False), ("tanh", True), ("silu", True), ("elu", False)])
@pytest.mark.parametrize("zero", [False, True])
def test_many_variances_are_as_exact_as_each_by_itself(name, slope, zero):
    q = torch.linspace(0.3, 3, 120, dtype=torch.float64)[torch.randperm(120)]
    q[7] = 0.0 if zero else 0.35
    many, each = series.expand_distinct(get(name), q, slope), expand(name, q, slope=slope)
    terms = min(len(many.coefficients), len(each.coefficients))
    size = each.scale.sqrt().clamp(min=1e-300)
    assert float(((many.coefficients[:terms] - each.coefficients[:terms]) / size).abs().max()) < 2e-14
    torch.testing.assert_close(many.scale, each.scale, rtol=1e-13, atol=0)
    one = tensor(1.0)
    summed = series.dual(get(name), q, q, one, slope=slope)
    allowed = 1e-13 + 4 * each.relative_error
    torch.testing.assert_close(summed, duals.second_moment(name, q, slope=slope), rtol=allowed, atol=0)


def test_variances_far_apart_are_expanded_one_by_one():
    q = torch.logspace(-8, 2, 60, dtype=torch.float64)
    found, each = series.expand_distinct(get("silu"), q, slope=False), expand("silu", q)
    torch.testing.assert_close(found.coefficients, each.coefficients, rtol=0, atol=0)


@pytest.mark.parametrize("variances", [1, 100])
def test_what_is_remembered_can_be_differentiated_through(variances):
    q = torch.linspace(1.5, 2, variances, dtype=torch.float64)
    with torch.inference_mode():
        series.expand_distinct(get("mish"), q, slope=False)
    c = torch.full_like(q, 0.5).requires_grad_()
    (found,) = torch.autograd.grad(series.dual(get("mish"), q, q, c).sum(), c)
    assert torch.allclose(found, q * series.dual(get("mish"), q, q, c.detach(), slope=True))
