from __future__ import annotations

import pytest
import torch
from compression_cases import gaussian, uniform, unit

from widthwise.activations import get
from widthwise.compression import METHODS, compress, etf_objective
from widthwise.errors import InputError, InputTypeError

N, D, M = 40, 6, 5
W, A = unit(N, D), uniform(N)


def simulated(small, X, weights=W, a=A, bias=0.0, activation="relu"):
    wanted = get(activation)(X @ weights.T + bias) @ a / len(weights)
    return float((wanted - small(X)).square().reshape(len(X), -1).sum(1).mean())


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_is_what_a_simulation_finds(method):
    small = compress(W, A, M, "relu", method=method, restarts=1, iterations=30)
    assert small.loss == pytest.approx(simulated(small, gaussian(200_000, D)), rel=0.03)
    assert small.V.shape == (M, D)
    assert small.b.shape == (M,)
    assert small.bias is None
    assert small.relative_loss == small.loss / small.power


def test_inputs_that_do_not_fit_are_named():
    small = compress(W, A, M, "relu", method="etf")
    for x, error, message in [
        (gaussian(3, D + 1), InputError, r"x: got shape \(3, 7\), allowed is \(any, 6\)"),
        (gaussian(3, D)[0], InputError, r"x: got shape \(6,\)"),
        (gaussian(3, D).float(), InputTypeError, "x: got dtype torch.float32, allowed is torch.float64"),
        (gaussian(3, D).numpy(), InputTypeError, "torch.as_tensor makes one of it"),
    ]:
        with pytest.raises(error, match=message):
            small(x)
    assert small(gaussian(0, D)).shape == (0,)


def test_descent_beats_every_other_way():
    losses = {method: compress(W, A, M, "relu", method=method).loss for method in METHODS if method != "optimal"}
    small = compress(W, A, M, "relu", restarts=2, iterations=40)
    assert small.loss < min(losses.values())
    assert small.loss < small.start_loss <= losses["etf"] * (1 + 1e-4)


def test_what_the_limit_says():
    small = compress(W, A, M, "relu", method="etf")
    first = (float(A.mean()) / (2 * torch.pi)) ** 2
    assert small.limit_optimum == pytest.approx(small.power - first * etf_objective(M, "relu"), rel=1e-10)
    assert small.gap == pytest.approx(abs(small.loss - small.limit_loss), abs=1e-12)
    assert small.limit_loss >= small.limit_optimum
    assert small.note == ""


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh"])
def test_biases_means_and_covariances(activation):
    bias, mean, factor = gaussian(N, seed=5), gaussian(D, seed=6), gaussian(D, 3, seed=7)
    rows = 0.5 * gaussian(N, D)
    small = compress(rows, A, M, activation, bias, mean=mean, covariance=factor @ factor.T, restarts=1, iterations=40)
    X = mean + gaussian(100_000, 3, seed=8) @ factor.T
    assert small.loss == pytest.approx(simulated(small, X, rows, A, bias, activation), abs=5e-4 * small.power)
    assert small.limit_optimum is None
    kept = compress(rows, A, M, activation, bias, mean=mean, covariance=factor @ factor.T, method="greedy")
    assert small.loss < 0.7 * kept.loss


def test_whitening_is_undone_exactly():
    mean, factor = gaussian(D, seed=6), gaussian(D, D, seed=7)
    kept = compress(W, A, N, "relu", mean=mean, covariance=factor @ factor.T, method="greedy")
    X = gaussian(50, D)
    assert torch.allclose(kept(X), torch.relu(X @ W.T) @ A / N, atol=1e-6)


def test_inputs_that_do_not_vary_everywhere_are_said():
    factor = gaussian(D, 2, seed=7)
    small = compress(W, A, 3, "relu", covariance=factor @ factor.T, method="greedy")
    assert small.note == "the inputs vary in 2 of 6 directions; weights along the others are 0"
    missing = torch.linalg.qr(torch.cat([factor, torch.eye(D).double()], 1))[0][:, 2:]
    assert torch.allclose(small.V @ missing, torch.zeros(3, 4, dtype=torch.float64), atol=1e-10)


def test_lengths_move_into_the_coefficients_of_a_homogeneous_activation():
    length = 0.2 + uniform(N, seed=9)
    one = compress(length[:, None] * W, A, M, "leaky_relu", restarts=1, iterations=20)
    other = compress(W, A * length, M, "leaky_relu", restarts=1, iterations=20)
    assert one.loss == pytest.approx(other.loss, rel=1e-6)
    assert torch.allclose(one.V.norm(dim=1), torch.ones(M, dtype=torch.float64))


def test_a_neuron_of_length_zero_is_nothing():
    padded, a = torch.cat([W, torch.zeros(1, D, dtype=torch.float64)]), torch.cat([A, torch.ones(1).double()])
    small = compress(padded, a, M, "relu", method="greedy")
    assert small.power * (N + 1) ** 2 == pytest.approx(compress(W, A, M, "relu", method="greedy").power * N**2)


def test_several_outputs():
    a = gaussian(N, 3)
    small = compress(W, a, M, "relu", restarts=1, iterations=30)
    assert small.b.shape == (M, 3)
    assert small.loss == pytest.approx(simulated(small, gaussian(200_000, D), a=a), rel=0.03)


def test_single_precision_in_and_out():
    small = compress(W.float(), A.float(), M, "relu", restarts=1, iterations=20)
    assert small.V.dtype == small.b.dtype == torch.float32
    assert small.loss == pytest.approx(compress(W, A, M, "relu", restarts=1, iterations=20).loss, rel=1e-3)


def test_the_same_seed_gives_the_same_network():
    one, other = (compress(W, A, M, "relu", seed=3, iterations=10) for _ in range(2))
    assert torch.equal(one.V, other.V)
    assert torch.equal(one.b, other.b)


def test_as_many_neurons_as_there_are():
    assert compress(W, A, N, "relu", restarts=0, iterations=5).loss < 1e-12


def test_more_neurons_than_a_simplex_has():
    assert compress(W, A, D + 2, "relu", restarts=1, iterations=10).limit_optimum is None
    with pytest.raises(InputError, match=r"at most d \+ 1 = 7"):
        compress(W, A, D + 2, "relu", method="etf")


@pytest.mark.parametrize(("activation", "a"), [("relu", A - A.mean()), ("tanh", A), ("linear", A), ("sign", A)])
def test_a_degenerate_limit_is_said(activation, a):
    small = compress(W, a, M, activation, restarts=1, iterations=20)
    assert "degenerate" in small.note
    assert small.limit_optimum == pytest.approx(small.power, rel=1e-9)
    assert small.loss < small.power
    with pytest.raises(InputError, match="degenerate"):
        compress(W, a, M, activation, method="etf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"M": N + 1}, "M: got 41, allowed is at most the number of neurons, N = 40"),
        ({"M": 0}, "M: got 0"),
        ({"activation": "rellu"}, "did you mean 'relu'"),
        ({"activation": "tanh", "W": 2 * W}, "row 0 has length 2.*since tanh is not homogeneous"),
        ({"W": W[:0], "a": A[:0]}, r"W: got shape \(0, 6\)"),
        ({"W": W[0]}, r"W: got shape \(6,\)"),
        ({"a": A[:-1]}, r"a: got shape \(39,\), allowed is \(40\)"),
        ({"a": 0 * A}, "E.f..2 = 0, allowed is a positive finite power"),
        ({"a": 1e300 * A}, "E.f..2 = inf"),
        ({"W": W.clone().index_fill_(0, torch.tensor(3), float("nan"))}, "W: 6 of 240 values are NaN"),
        ({"bias": A[:3]}, r"bias: got shape \(3,\)"),
        ({"mean": A[:3]}, r"mean: got shape \(3,\)"),
        ({"covariance": torch.eye(3)}, r"covariance: got shape \(3, 3\)"),
        ({"covariance": -torch.eye(D)}, "covariance: got eigenvalues from -1 to -1.*a singular one is fine"),
        ({"covariance": torch.zeros(D, D)}, "covariance"),
        ({"covariance": torch.ones(D, D).triu()}, "covariance: got a matrix that is not symmetric"),
        ({"activation": "step", "bias": A}, "jumps"),
        ({"bias": A, "method": "etf"}, "method: got 'etf'"),
        ({"method": "magic"}, "method: got 'magic'"),
        ({"restarts": -1}, "restarts"),
        ({"iterations": -1}, "iterations"),
        ({"seed": -1}, "seed"),
    ],
)  # fmt: skip
def test_bad_values(change, message):
    arguments = {"W": W, "a": A, "M": M, "activation": "relu"} | change
    with pytest.raises(InputError, match=message):
        compress(**arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"W": W.tolist()}, "W: got"),
        ({"W": torch.ones(4, 4, dtype=torch.int64)}, "W: got dtype"),
        ({"a": A.to(torch.complex128)}, "a: got dtype"),
        ({"M": 2.5}, "M: got 2.5"),
        ({"activation": 3}, "activation"),
        ({"activation": None}, "activation: none was given and weights do not tell it; allowed is .* such as 'relu'"),
        ({"bias": 0.0}, "bias: got 0.0"),
    ],
)
def test_bad_types(change, message):
    arguments = {"W": W, "a": A, "M": M, "activation": "relu"} | change
    with pytest.raises(InputTypeError, match=message):
        compress(**arguments)
