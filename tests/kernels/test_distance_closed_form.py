from __future__ import annotations

import math

import pytest
import torch
from scipy.optimize import minimize_scalar

from widthwise.errors import InputError, InputTypeError
from widthwise.kernels import (
    best_connectivity,
    distance,
    distance_approx,
    distance_approx_diagonal,
    distance_gaussian,
)


@pytest.mark.parametrize(("n", "p", "value"), [(64, 0.3, 3.565e-3), (160, 0.05, 2.37e-3), (635, 0.0126, 5.3e-3)])
def test_formula_4(n, p, value):
    assert distance_approx(784, n, p) == pytest.approx(value, rel=1e-2)


def test_formula_24():
    assert distance_approx_diagonal(100, 10, 0.5) == pytest.approx((1.25 + 0.06) / 10)


@pytest.mark.parametrize(("d", "n", "p"), [(784, 64, 0.3), (784, 160, 0.05), (200, 10, 0.5)])
def test_true_distance_of_gaussian_inputs(d, n, p):
    x, y = torch.randn(2, 1500, d, dtype=torch.float64)
    for other, diagonal in ((y, False), (x, True)):
        found = distance(x, other, n, p)
        error = float(found.value.std()) / len(x) ** 0.5 + float(found.error.mean())
        assert abs(float(found.value.mean()) - distance_gaussian(d, n, p, diagonal=diagonal)) < 3 * error
        assert found.bias.mean() < 1e-3 * found.value.mean()


@pytest.mark.parametrize("p_last", [1.0, 0.2])
@pytest.mark.parametrize("p", [0.9, 0.2])
def test_the_diagonal_holds_for_few_inputs_too(p, p_last):
    x = torch.randn(20_000, 6, dtype=torch.float64)
    found = distance(x, x, 5, p, p_last=p_last).value
    truth = distance_gaussian(6, 5, p, p_last=p_last, diagonal=True)
    assert abs(float(found.mean()) - truth) < 4 * float(found.std()) / len(x) ** 0.5


def test_a_sparse_last_layer_for_different_inputs():
    x, y = torch.randn(2, 2000, 300, dtype=torch.float64)
    found = distance(x, y, 20, 0.5, p_last=0.25).value
    truth = distance_gaussian(300, 20, 0.5, p_last=0.25)
    assert abs(float(found.mean()) - truth) < 4 * float(found.std()) / len(x) ** 0.5


def test_the_heuristic_is_not_the_truth_where_the_net_is_sparse():
    x, y = torch.randn(2, 200, 784, dtype=torch.float64)
    found = distance(x, y, 635, 0.0126)
    assert found.method == "sample"
    assert float(found.value.mean()) == pytest.approx(distance_gaussian(784, 635, 0.0126), rel=0.05)
    assert distance_approx(784, 635, 0.0126) > 10 * float(found.value.mean())


def test_formula_25_and_the_argmin_it_stands_for():
    d, held = 784, 8
    assert best_connectivity(d, held) == pytest.approx(0.0505, abs=1e-4)
    argmin = minimize_scalar(lambda p: distance_approx(d, held / p, p), bounds=(1e-3, 1), method="bounded").x
    assert argmin == pytest.approx(0.0471, abs=1e-4)
    assert best_connectivity(4, 100.0) == 1


def test_no_interior_minimum_for_gaussian_inputs():
    values = [distance_gaussian(784, 8 / p, p) for p in torch.linspace(0.05, 1, 30).tolist()]
    assert values == sorted(values)


@pytest.mark.parametrize("function", [distance_approx, distance_approx_diagonal, distance_gaussian])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0, 8, 0.5), InputError, "d: got 0"),
        ((10.5, 8, 0.5), InputTypeError, "d: got 10.5"),
        ((10, 0, 0.5), InputError, "n: got 0"),
        ((10, math.inf, 0.5), InputError, "n: got inf"),
        ((10, 8, 0), InputError, r"p: got 0, allowed is a number in \(0, 1\]"),
        ((10, 8, 2), InputError, "p: got 2"),
        ((10, 8, None), InputTypeError, "p: got None"),
    ],
)
def test_bad_input(function, arguments, error, message):
    with pytest.raises(error, match=message):
        function(*arguments)


def test_bad_input_elsewhere():
    with pytest.raises(InputError, match="p_last: got 0"):
        distance_gaussian(10, 8, 0.5, p_last=0)
    with pytest.raises(InputError, match="weights_per_input: got -1"):
        best_connectivity(10, -1)
