"""Every derivative written by hand against differences; no such function may be without a row here."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

import widthwise
from widthwise import compression, duals, kernels
from widthwise.activations.closed_forms import root
from widthwise.compression.mehler import mehler
from widthwise.duals.orthant import moments
from widthwise.duals.power_series import power_series
from widthwise.errors import InputError
from widthwise.infinite.angles import rectified
from widthwise.sparse import SparseLinear
from widthwise.sparse.conv import SparseConv2d
from widthwise.sparse.ops import batch_first, sparse_linear

SOURCE = Path(widthwise.__file__).parent


def some(*shape: int) -> Tensor:
    """Numbers within (0.1, 0.9), a leaf that wants a gradient."""
    return torch.rand(*shape, dtype=torch.float64).mul(0.8).add(0.1).requires_grad_()


def linear() -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
    weight = torch.randn(4, 6, dtype=torch.float64) * (torch.rand(4, 6) < 0.5)
    layer = SparseLinear(weight, torch.randn(4, dtype=torch.float64))
    where = layer.columns, layer.starts, layer.rows, layer.row_starts, layer.order
    return lambda x, w, b: sparse_linear(x, w, b, *where, False), (some(5, 6), layer.values, layer.bias)


def conv() -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
    layer = SparseConv2d.from_conv2d(nn.Conv2d(2, 3, 2, stride=2, padding=1, dtype=torch.float64))

    def run(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"values": w, "bias": b}, (x,))

    return run, (some(3, 2, 4, 4), layer.values, layer.bias)


def of(
    function: Callable[..., object], *inputs: Tensor
) -> Callable[[], tuple[Callable[..., object], tuple[Tensor, ...]]]:
    return lambda: (function, inputs)


# Where it stands -> a call, and whether it may be differentiated twice.
ROWS = {
    "activations/closed_forms.py:_Known": (of(lambda c: duals.g("relu", c), some(6)), True),
    "compression/mehler.py:_Mehler": (of(mehler, some(3, 4), some(5, 3), some(5, 4)), False),
    "duals/orthant.py:_Moments": (of(lambda h, k, c: moments(h, k, c, 1, 2), some(3), some(3), some(3)), True),
    "duals/power_series.py:_PowerSeries": (of(power_series, some(5, 3, 1), some(5, 1, 4), some(3, 4)), True),
    "infinite/angles.py:_Rectified": (of(rectified, some(6)), True),
    "widthwise::sparse_linear": (linear, False),
    "widthwise::sparse_conv2d": (conv, False),
    "widthwise::batch_first": (of(lambda x: batch_first(x.t().contiguous().t()), some(8, 3)), False),
}  # fmt: skip
REASONS = {
    "sparse/_operator.py:_Final": "no derivative: refuses one",
    "pruning/collapse.py:_Signal": "no derivative: carries whether there is a signal, see test_collapse.py",
    "widthwise::sparse_linear_backward": "the derivative itself",
    "widthwise::sparse_conv2d_backward": "the derivative itself",
}


def written_by_hand() -> set[str]:
    found = set()
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and any(ast.unparse(b).endswith("autograd.Function") for b in node.bases):
                found.add(f"{path.relative_to(SOURCE).as_posix()}:{node.name}")
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("widthwise::"):
                found.add(node.value)
    return {name for name in found if name != "widthwise::..."}


def test_no_derivative_written_by_hand_is_without_a_check():
    docs = {name for name in written_by_hand() if " " in name or "\n" in name}
    assert written_by_hand() - docs == ROWS.keys() | REASONS.keys()


@pytest.mark.parametrize("name", ROWS)
def test_first_derivatives(name):
    function, inputs = ROWS[name][0]()
    assert gradcheck(function, inputs, atol=1e-7, nondet_tol=0.0)


@pytest.mark.parametrize("name", [name for name, (_, twice) in ROWS.items() if twice])
def test_second_derivatives(name):
    function, inputs = ROWS[name][0]()
    assert gradgradcheck(function, inputs, atol=1e-6)


@pytest.mark.parametrize("name", [name for name, (_, twice) in ROWS.items() if not twice])
def test_a_second_derivative_that_is_not_promised_is_refused(name):
    function, inputs = ROWS[name][0]()
    (first,) = torch.autograd.grad(function(*inputs).square().sum(), inputs[0], create_graph=True)
    with pytest.raises((RuntimeError, InputError), match="once_differentiable|second derivative"):
        first.sum().backward()


@pytest.mark.parametrize("name", [name for name in ROWS if "::" in name])
def test_a_penalty_on_a_gradient_is_refused_even_where_the_gradient_that_comes_in_is_a_constant(name):
    function, inputs = ROWS[name][0]()
    weights = inputs[1:2] or [some(3)]
    start = (inputs[0] * weights[0].sum()).detach().requires_grad_()
    (first,) = torch.autograd.grad(function(start, *inputs[1:]).sum(), start, create_graph=True)
    if len(inputs) == 1:  # of a permutation it is a constant
        assert (first == 1).all()
        return
    with pytest.raises(InputError, match=r"second derivative of its sparse layers .*widthwise.densify\(model\)"):
        first.square().sum().backward()


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # PyTorch's word on vmap over our backward pass
def test_torch_func_differentiates_sparse_layers_once_and_refuses_more():
    function, (x, *others) = linear()
    weight = torch.func.jacrev(lambda x: function(x, *others))(x)
    plain = torch.autograd.functional.jacobian(lambda x: function(x, *others), x)
    torch.testing.assert_close(weight, plain)
    slope = torch.func.grad(lambda x: function(x, *others).square().sum())
    with pytest.raises(InputError, match="second derivative"):
        torch.func.grad(lambda x: slope(x).square().sum())(x)


# Functions that divide or take roots: inputs where the formula itself is 0/0, and what the derivative there is.
EDGES = {
    "root": (root, torch.tensor([0.0, 4.0]), torch.tensor([0.0, 0.25])),
    "an angle of 0 and of pi": (lambda c: duals.g("relu", c), torch.tensor([1.0, -1.0]), torch.tensor([0.5, 0.0])),
}


@pytest.mark.parametrize("name", EDGES)
def test_derivatives_stay_finite_where_a_guard_stands(name):
    function, x, wanted = EDGES[name]
    x = x.double().requires_grad_()
    torch.testing.assert_close(torch.autograd.grad(function(x).sum(), x)[0], wanted.double())


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "erf", "tanh", "gelu", "linear"])
@pytest.mark.parametrize("kind", ["nngp", "ntk"])
def test_kernels_of_zero_equal_and_opposite_inputs_have_finite_gradients(activation, kind):
    x = torch.randn(5, 3, dtype=torch.float64)
    x[1], x[2], x[3] = 0, x[0], -x[0]
    x.requires_grad_()
    network = kernels.MLP(2, activation, 1.4, 0.1)
    (slope,) = torch.autograd.grad(getattr(network, kind)(x).sum(), x)
    assert slope.isfinite().all()


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_compression_of_units_that_lie_on_each_other_has_finite_gradients(activation):
    V = torch.nn.functional.normalize(torch.randn(3, 4, dtype=torch.float64), dim=1)
    V[1] = V[0]
    V.requires_grad_()
    assert torch.autograd.grad(compression.limit_objective(V, activation).sum(), V)[0].isfinite().all()
