from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from widthwise.errors import InputError, InputTypeError
from widthwise.kernels import arc_cosine, distance, distance_gaussian

METHODS = ("enumerate", "quadrature", "sample")


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def by_hand(x: torch.Tensor, y: torch.Tensor, n: int, p: float) -> float:
    """Formula (10) of the paper, a mask at a time."""
    d = len(x)
    first = second = 0.0
    for mask in itertools.product([0, 1], repeat=d):
        s = torch.tensor(mask, dtype=x.dtype)
        chance = p ** sum(mask) * (1 - p) ** (d - sum(mask))
        first += chance * float(arc_cosine(s * x, s * y)) / p
        second += chance * float(arc_cosine(s * x, s * y, 2)) / p**2
    return (first - float(arc_cosine(x, y))) ** 2 / d**2 + (second - first**2) / (d**2 * n)


@pytest.mark.parametrize("p", [1.0, 0.6, 0.2, 1e-6])
@pytest.mark.parametrize("d", [1, 2, 6])
def test_enumeration_is_the_sum_over_masks(p, d):
    x, y = normal(2, d)
    found = distance(x, y, 3, p)
    assert found.method == "enumerate"
    assert found.error == 0
    assert float(found.value) == pytest.approx(by_hand(x, y, 3, p), rel=1e-12, abs=1e-16)


@pytest.mark.parametrize("p_last", [1.0, 0.3])
def test_actual_networks_have_this_distance(p_last):
    d, n, p, nets = 6, 4, 0.4, 400_000
    x, y = normal(2, d)
    live = torch.rand(nets, n, d) < p
    weights = torch.where(live, normal(nets, n, d), 0) / p**0.5
    seen = (torch.rand(nets, n) < p_last) / p_last
    kernel = (seen * torch.relu(weights @ x) * torch.relu(weights @ y)).sum(1) / (n * d)
    squares = (kernel - arc_cosine(x, y) / d).square()
    found = distance(x, y, n, p, p_last=p_last)
    assert (squares.mean() - found.value).abs() < 4 * squares.std() / nets**0.5


@pytest.mark.parametrize("n", [1, 64])
@pytest.mark.parametrize("p", [0.9, 0.5, 0.25])
def test_quadrature_keeps_its_promise_against_enumeration(p, n):
    x, y = normal(2, 40, 16)
    truth, found = (distance(x, y, n, p, method) for method in ("enumerate", "quadrature"))
    error = (found.value - truth.value).abs()
    assert error.mean() < found.error.mean()
    assert (error <= 2 * found.error).double().mean() > 0.9
    assert error.mean() < 0.02 * truth.value.mean()


@pytest.mark.parametrize("n", [1, 64])
@pytest.mark.parametrize("p", [0.9, 0.25, 0.05, 1e-4])
def test_sampling_agrees_with_enumeration(p, n):
    x, y = normal(2, 20, 12)
    truth, found = (distance(x, y, n, p, method) for method in ("enumerate", "sample"))
    assert ((found.value - truth.value).abs() <= 4 * found.error + 1e-14).all()
    assert found.error.mean() < 0.1 * truth.value.mean()


def test_sampling_is_unbiased_however_few_the_masks():
    x, y = normal(2, 1, 5)
    n = 1000  # the squared bias counts
    truth = distance(x, y, n, 0.3)
    draws = [distance(x, y, n, 0.3, "sample", masks=4, seed=seed) for seed in range(500)]
    for part in ("value", "bias", "variance"):
        values = torch.cat([getattr(draw, part) for draw in draws])
        assert (values.mean() - getattr(truth, part)).abs() < 4 * values.std() / len(values) ** 0.5


def test_the_standard_error_is_the_spread_over_seeds():
    x, y = normal(2, 1, 40)
    draws = [distance(x, y, 50, 0.1, "sample", masks=500, seed=seed) for seed in range(200)]
    spread = torch.cat([draw.value for draw in draws]).std()
    claimed = torch.cat([draw.error for draw in draws]).mean()
    assert 0.8 < claimed / spread < 1.25


def test_quadrature_and_sampling_agree_on_many_inputs():
    x, y = normal(2, 20, 784)
    quadrature, sample = (distance(x, y, 64, 0.1, method, masks=20_000) for method in ("quadrature", "sample"))
    assert ((quadrature.value - sample.value).abs() < 4 * (sample.error + quadrature.error)).all()
    assert quadrature.error.mean() < 1e-2 * quadrature.value.mean()


def test_auto_says_what_it_used():
    x, y = normal(2, 50, 200)
    assert distance(x[:, :16], y[:, :16], 8, 0.01).method == "enumerate"
    assert distance(x[:, :17], y[:, :17], 8, 1.0).method == "quadrature"
    assert distance(x, y, 8, 0.5).method == "quadrature"
    assert distance(x, y, 8, 0.005).method == "sample"


def test_auto_judges_quadrature_by_the_pairs_that_matter():
    x, y = normal(2, 50, 200)
    x[0, 0] = y[0, 0] = 1e4  # one pair outweighs the others, and a dozen inputs the rest of it
    x[0, 1:12] = y[0, 1:12] = -3e3
    p = 0.05
    found = distance(x, y, 8, p)
    truth = distance(x, y, 8, p, "sample", masks=50_000, seed=1)
    assert (found.value.mean() - truth.value.mean()).abs() < 4 * (found.error.mean() + truth.error.mean())


def test_the_parts_add_up():
    x, y = normal(2, 9, 30)
    for method in ("quadrature", "sample"):
        found = distance(x, y, 10, 0.3, method)
        torch.testing.assert_close(found.bias + found.variance, found.value)


vectors = hnp.arrays(
    "float64", st.tuples(st.just(2), st.just(3), st.integers(1, 7)), elements=st.floats(-3, 3, width=32)
)


_ALIKE = np.full((2, 3, 6), 1.5)
_ALIKE[0, 0, 0] = 3


@given(vectors, st.floats(0.01, 1), st.integers(1, 1000), st.sampled_from(METHODS))
@example(_ALIKE, 0.5, 1, "quadrature")
@settings(deadline=None, max_examples=60)
def test_invariants(data, p, n, method):
    x, y = torch.from_numpy(data)
    found = distance(x, y, n, p, method, masks=50)
    scale = (x.norm(dim=-1) * y.norm(dim=-1)).square() / x.shape[1] ** 2
    rounding = 1e-9 * scale / p  # of eigenvectors where inputs are nearly alike
    assert (distance(y, x, n, p, method, masks=50).value - found.value).abs().le(rounding).all()
    assert (distance(2 * x, -3 * y, n, p, method, masks=50).value >= -rounding * 36).all() or method == "sample"
    assert (distance(2 * x, 3 * y, n, p, method, masks=50).value - 36 * found.value).abs().le(36 * rounding).all()
    if method != "sample":
        assert (found.value >= 0).all()
        assert (found.variance >= -rounding).all()


@given(vectors, st.integers(1, 1000), st.sampled_from(METHODS))
@settings(deadline=None, max_examples=40)
def test_without_a_mask_only_the_width_counts(data, n, method):
    x, y = torch.from_numpy(data)
    d = x.shape[1]
    found = distance(x, y, n, 1.0, method, masks=10)
    expected = (arc_cosine(x, y, 2) - arc_cosine(x, y).square()) / (d**2 * n)
    rounding = 1e-5 if method == "sample" else 1e-12
    torch.testing.assert_close(found.value, expected, rtol=rounding, atol=rounding)
    assert (found.bias.abs() <= rounding**2 * (1 + arc_cosine(x, x) * arc_cosine(y, y))).all()


@pytest.mark.parametrize("d", [5, 60])
@pytest.mark.parametrize("method", ["auto", "quadrature", "sample"])
def test_single_precision_agrees(d, method):
    x, y = torch.randn(2, 10, d)
    narrow, wide = distance(x, y, 8, 0.4, method), distance(x.double(), y.double(), 8, 0.4, method)
    assert narrow.value.dtype == narrow.error.dtype == torch.float32
    torch.testing.assert_close(narrow.value.double(), wide.value, rtol=1e-6, atol=0)


@pytest.mark.parametrize("method", ["quadrature", "sample"])
@pytest.mark.parametrize("d", [4, 40])
def test_degenerate_rows(method, d):
    x = normal(4, d)
    y = torch.stack([torch.zeros(d, dtype=x.dtype), x[1], -x[2], 1e150 * x[3]])
    x[3] *= 1e-150
    found = distance(x, y, 8, 0.5, method)
    assert torch.isfinite(found.value).all()
    assert torch.isfinite(found.error).all()
    assert found.value[0] == 0
    assert found.value[2].abs() < 1e-20
    if d == 4:
        truth = distance(x, y, 8, 0.5)
        assert ((found.value - truth.value).abs() <= 5 * found.error + 1e-12).all()


@pytest.mark.parametrize("p", [0.05, 1e-5])
def test_many_inputs(p):
    x, y = torch.randn(2, 3, 100_000)
    found = distance(x, y, 20, p, masks=64)
    assert found.method == ("quadrature" if p == 0.05 else "sample")
    expected = torch.tensor([distance_gaussian(100_000, 20, p)] * 3)
    torch.testing.assert_close(found.value, expected, rtol=0.05 if p == 0.05 else 1.0, atol=0)


def test_one_pair_a_batch_and_leading_dimensions():
    x, y = normal(2, 2, 3, 20)
    whole = distance(x, y, 8, 0.5)
    assert whole.value.shape == whole.error.shape == whole.bias.shape == (2, 3)
    one = distance(x[1, 2], y[1, 2], 8, 0.5)
    assert one.value.shape == ()
    torch.testing.assert_close(one.value, whole.value[1, 2])


def test_masks_are_the_same_in_every_call_and_the_result_does_not_depend_on_the_default_dtype():
    x, y = normal(2, 3, 30)
    first = distance(x, y, 8, 0.1, "sample", masks=100, seed=3).value
    torch.manual_seed(1)
    torch.set_default_dtype(torch.float64)
    try:
        second = distance(x, y, 8, 0.1, "sample", masks=100, seed=3).value
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(first, second)
    assert not torch.equal(first, distance(x, y, 8, 0.1, "sample", masks=100, seed=4).value)


PAIR = (torch.ones(2, 20), torch.ones(2, 20))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((*PAIR, 0, 0.5), InputError, "n: got 0, allowed is a whole number, at least 1"),
        ((*PAIR, 2.5, 0.5), InputTypeError, "n: got 2.5"),
        ((*PAIR, 2, 0.0), InputError, r"p: got 0.0, allowed is a number in \(0, 1\]"),
        ((*PAIR, 2, 1.1), InputError, "p: got 1.1"),
        ((*PAIR, 2, math.nan), InputError, "p: got nan"),
        ((*PAIR, 2, "0.5"), InputTypeError, "p: got '0.5'"),
        ((*PAIR, 2, 0.5, "sampled"), InputError, "method: got 'sampled', allowed are auto, .*did you mean 'sample'"),
        ((*PAIR, 2, 0.5, "enumerate"), InputError, "method: got 'enumerate' for d = 20, allowed up to d = 16"),
        ((PAIR[0], torch.ones(2, 19), 2, 0.5), InputError, "y: got shape"),
        ((PAIR[0], torch.full((2, 20), math.inf), 2, 0.5), InputError, "y: 40 of 40 values are NaN or infinite"),
        ((torch.ones(2, 20, dtype=torch.int32), PAIR[1], 2, 0.5), InputTypeError, "x: got dtype torch.int32"),
        ((torch.ones(0, 20), torch.ones(0, 20), 2, 0.5), InputError, "x: got shape"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        distance(*arguments)


@pytest.mark.parametrize(
    ("keyword", "value", "message"),
    [("p_last", 0, "p_last: got 0"), ("masks", 1, "masks: got 1, allowed"), ("seed", -1, "seed: got -1")],
)
def test_bad_options(keyword, value, message):
    with pytest.raises(InputError, match=message):
        distance(*PAIR, 2, 0.5, **{keyword: value})
