import math

import numpy as np
import pytest
import torch
from dual_cases import tensor
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from widthwise import duals
from widthwise.duals import AccuracyWarning
from widthwise.errors import InputError, InputTypeError

DIFFERENTIABLE = ["relu", "leaky_relu(0.2)", "erf", "sin", "cos", "sincos", "exp", "gaussian", "gelu", "cube", "linear",
                  "tanh", "elu", "hardtanh"]  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_the_gradient_in_all_arguments_is_right(name):
    inputs = tuple(tensor(v, requires_grad=True) for v in (0.7, 1.2, -0.6))
    assert torch.autograd.gradcheck(lambda *x: duals.dual(name, *x), inputs, atol=1e-7, rtol=1e-5, fast_mode=True)
    if name != "linear":  # a constant
        assert torch.autograd.gradcheck(
            lambda *x: duals.dual_derivative(name, *x), inputs, atol=1e-7, rtol=1e-5, fast_mode=True
        )


@pytest.mark.parametrize("name", ["relu", "erf", "softplus"])
def test_second_gradients_are_right(name):
    inputs = tuple(tensor(v, requires_grad=True) for v in (0.7, 1.2, 0.4))
    assert torch.autograd.gradgradcheck(lambda *x: duals.dual(name, *x), inputs, atol=1e-5, rtol=1e-4, fast_mode=True)


@pytest.mark.filterwarnings("ignore::widthwise.duals.AccuracyWarning")
@pytest.mark.parametrize("name", [*DIFFERENTIABLE, "step", "elu", "silu", "hardshrink"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_everything_is_finite_at_the_edges(name, dtype):
    q1 = torch.tensor([1.0, 1.0, 0.0, 0.0, 1e-12, 2.0], dtype=dtype, requires_grad=True)
    q2 = torch.tensor([1.0, 1.0, 1.0, 0.0, 2.0, 2.0], dtype=dtype, requires_grad=True)
    c = torch.tensor([1.0, -1.0, 0.3, 1.0, 1.0, 1.0], dtype=dtype, requires_grad=True)
    value = duals.dual(name, q1, q2, c)
    assert value.dtype == dtype
    assert bool(torch.isfinite(value).all())
    for gradient in torch.autograd.grad(value.sum(), (q1, q2, c)):
        assert bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize("name", ["relu", "erf", "tanh", "selu", "gelu", "hardtanh"])
def test_a_zero_variance_gives_zero_where_phi_of_zero_is_zero(name):
    assert float(duals.dual(name, 0.0, 0.0, 1.0)) == pytest.approx(0, abs=1e-30)
    assert float(duals.dual(name, 0.0, 1.0, 0.0)) == pytest.approx(0, abs=1e-16)


def test_the_derivative_at_zero_variance_is_the_limit():
    for name in ("relu", "selu", "tanh"):
        for c in (1.0, 0.2, -1.0):
            near = float(duals.dual_derivative(name, 1e-18, 1e-18, c))
            assert float(duals.dual_derivative(name, 0.0, 0.0, c)) == pytest.approx(near, rel=1e-6)


@pytest.mark.parametrize("name", ["relu", "erf", "gelu", "tanh", "elu"])
def test_single_precision_follows_double(name):
    c = torch.linspace(-1, 1, 33)
    q1, q2 = torch.tensor(0.6), torch.tensor(1.9)
    for function in (duals.dual, duals.dual_derivative):
        double = function(name, q1.double(), q2.double(), c.double())
        torch.testing.assert_close(function(name, q1, q2, c).double(), double, rtol=0, atol=5e-7)


@st.composite
def rows(draw):
    """Up to six rows with zero rows, duplicates and opposites among them."""
    x = draw(arrays(np.float64, (3, 3), elements=st.sampled_from([0.0, 1.0, -0.5, 2.0, 1e-3])))
    return torch.from_numpy(np.concatenate([x, x[:2], -x[1:2]]))


@pytest.mark.filterwarnings("ignore::widthwise.duals.AccuracyWarning")
@pytest.mark.parametrize("name", ["relu", "erf", "gelu", "step", "sincos", "tanh", "elu"])
@given(x=rows())
@settings(deadline=None, max_examples=6)
def test_a_gram_matrix_is_symmetric_and_positive_semidefinite(name, x):
    q = x.square().sum(1)
    unit = x / q.clamp(min=1e-300).sqrt()[:, None]
    c = unit @ unit.T
    c = (c + c.T) / 2
    for form in (duals.dual, duals.dual_derivative) if name != "step" else (duals.dual,):
        gram = form(name, q[:, None], q[None], c.fill_diagonal_(1.0))
        torch.testing.assert_close(gram, gram.T, rtol=1e-12, atol=1e-13)
        assert float(torch.linalg.eigvalsh(gram).min()) >= -1e-11 * (1 + float(gram.diagonal().max()))


def test_shapes_broadcast_and_empty_ones_stay_empty():
    q1, q2, c = torch.rand(4, 1), torch.rand(1, 3), torch.rand(2, 4, 3)
    for name in ("relu", "tanh"):
        assert duals.dual(name, q1, q2, c).shape == (2, 4, 3)
        assert duals.dual_derivative(name, q1, q2, 0.5).shape == (4, 3)
        assert duals.g(name, torch.empty(0, 5)).shape == (0, 5)
        assert duals.dual(name, torch.rand(0, 1), q2, 0.5).shape == (0, 3)


def test_rounding_beyond_one_is_forgiven_with_its_gradient():
    c = tensor(1 + 3e-16, -1 - 3e-16, requires_grad=True)
    value = duals.g("relu", c)
    assert value.tolist() == [0.5, 0.0]
    (gradient,) = torch.autograd.grad(value.sum(), c)
    torch.testing.assert_close(gradient, tensor(0.5, 0.0))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("relu", 1.0, 1.0, 1.1), InputError, r"c: got 1.1, allowed is a correlation in \[-1, 1\]"),
        (("relu", 1.0, 1.0, torch.tensor([0.0, math.nan])), InputError, "c: got nan"),
        (("relu", -1.0, 1.0, 0.5), InputError, "q1: got -1.0, allowed is a finite variance"),
        (("relu", 1.0, torch.tensor(math.inf), 0.5), InputError, "q2: got inf"),
        (("relu", torch.ones(2), torch.ones(3), 0.5), InputError, "broadcast"),
        (("relu", torch.ones(2, dtype=torch.int64), 1.0, 0.5), InputTypeError, "q1: got a tensor of torch.int64"),
        (("relu", 1.0, 1.0, torch.ones(2).half()), InputTypeError, "c: got a tensor of torch.float16"),
        (("relu", 1.0, 1.0, [0.5]), InputTypeError, "c: got list"),
        (("rleu", 1.0, 1.0, 0.5), InputError, "did you mean 'relu'"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        duals.dual(*arguments)


def test_a_series_that_cannot_be_exact_says_so():
    with pytest.warns(AccuracyWarning, match=r"tanh is accurate to .* only"):
        duals.dual("tanh", 1e4, 1e4, 0.5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ["relu", "gelu", "tanh", "elu", "hardtanh"])
def test_a_gpu_gives_the_same(name):
    q1, q2, c = torch.rand(5, 1) + 0.5, torch.rand(1, 4) + 0.5, 2 * torch.rand(5, 4) - 1
    for function in (duals.dual, duals.dual_derivative):
        found = function(name, q1.cuda(), q2.cuda(), c.cuda())
        assert found.is_cuda
        torch.testing.assert_close(found.cpu(), function(name, q1, q2, c), rtol=1e-5, atol=1e-6)


def test_a_user_may_pass_a_module_or_a_function():
    c = tensor(-0.5, 0.5)
    torch.testing.assert_close(duals.g(torch.nn.LeakyReLU(0.3), c), duals.g("leaky_relu(0.3)", c))
    torch.testing.assert_close(duals.g(lambda x: torch.sin(x) + torch.cos(x), c), duals.g("sincos", c))
