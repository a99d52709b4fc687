from __future__ import annotations

import math

import pytest
import torch
from compression_cases import ACTIVATIONS, double_integral, gaussian, naive_gram, unit
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from widthwise import duals
from widthwise.activations import get
from widthwise.compression import GaussianNeurons, UnitNeurons, gram
from widthwise.compression.mehler import mehler
from widthwise.errors import InputError, InputTypeError


def test_unit_gram_is_the_closed_form_entry_by_entry():
    U, V = unit(6, 4), unit(5, 4, seed=1)
    layer = UnitNeurons(get("relu"))(U)
    assert torch.allclose(layer.gram(UnitNeurons(get("relu"))(V)), naive_gram(U, V), atol=1e-14)
    assert torch.allclose(layer.gram(), naive_gram(U, U), atol=1e-8)  # the naive diagonal rounds


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_unit_gram_is_the_dual_and_a_monte_carlo_mean(name):
    U, kind = unit(4, 3), UnitNeurons(get(name))
    G = kind(U).gram()
    c = (U @ U.T).clamp(-1, 1).fill_diagonal_(1)
    assert torch.allclose(G, duals.g(name, c), atol=1e-12)
    phi = get(name)(gaussian(400_000, 3) @ U.T)
    assert torch.allclose(G, phi.T @ phi / len(phi), atol=5e-3)
    assert torch.allclose(kind(U).mean(), phi.mean(0), atol=5e-3)


@pytest.mark.parametrize("name", ["relu", "gelu", "tanh"])
def test_slopes_are_the_derivative_of_the_dual(name):
    U = unit(5, 4)
    c = (U @ U.T).fill_diagonal_(0.5).requires_grad_()
    (wanted,) = torch.autograd.grad(duals.g(name, c).sum(), c)
    off = ~torch.eye(5, dtype=torch.bool)
    assert torch.allclose(UnitNeurons(get(name))(U).slopes()[off], wanted[off], atol=1e-10)


@pytest.mark.parametrize("name", ["gelu", "tanh", "relu"])
def test_gaussian_gram_is_a_double_integral(name):
    rows = gaussian(4, 5)
    kind = GaussianNeurons(get(name), degree=48)
    G = kind(rows).gram(kind(rows))
    for i, j in ((0, 1), (2, 3), (1, 3)):
        wanted = double_integral(name, rows[i, :-1], float(rows[i, -1]), rows[j, :-1], float(rows[j, -1]))
        assert G[i, j] == pytest.approx(wanted, abs=2e-4)


def relu_pair(first: torch.Tensor, second: torch.Tensor) -> float:
    """E[relu(u.Z + m) relu(v.Z + n)]: given u.Z the second factor has a closed mean, and one integral is left."""
    (u, m), (v, n) = ((row[:-1], float(row[-1])) for row in (first, second))
    s, t = float(u.norm()), float(v.norm())
    rho = min(1.0, float(u @ v) / (s * t))
    left = t * math.sqrt(1 - rho * rho)

    def integrand(z: float) -> float:
        mean = n + t * rho * z
        rest = mean * norm.cdf(mean / left) + left * norm.pdf(mean / left) if left > 1e-7 else max(mean, 0.0)
        return (m + s * z) * rest * norm.pdf(z)

    return quad(integrand, -m / s, 12, epsabs=1e-12, limit=200)[0]


def test_gaussian_gram_of_relu_is_a_single_integral_of_closed_forms():
    rows = gaussian(5, 9)
    exact = torch.tensor([[relu_pair(first, second) for second in rows] for first in rows], dtype=torch.float64)
    kind = GaussianNeurons(get("relu"), degree=64)
    assert torch.allclose(kind(rows).gram(), exact, atol=2e-4)
    assert torch.allclose(kind(rows).gram().diagonal(), exact.diagonal(), atol=1e-9)


@pytest.mark.parametrize("name", ["relu", "gelu"])
def test_gaussian_neurons_of_unit_rows_and_no_offset_are_unit_neurons(name):
    U = unit(5, 6)
    rows = torch.cat([U, torch.zeros(5, 1, dtype=torch.float64)], 1)
    one, other = GaussianNeurons(get(name), degree=64)(rows), UnitNeurons(get(name))(U)
    off = ~torch.eye(5, dtype=torch.bool)
    assert torch.allclose(one.gram(), other.gram(), atol=1e-6)
    assert torch.allclose(one.slopes()[off], other.slopes()[off], atol=1e-4)
    assert torch.allclose(one.mean(), other.mean(), atol=1e-12)


def test_gaussian_gram_of_batches_is_that_of_each():
    rows, other = gaussian(3, 4, 5), gaussian(6, 5, seed=8)
    kind = GaussianNeurons(get("relu"))
    whole, slopes, mean = kind(rows).gram(kind(other)), kind(rows).slopes(), kind(rows).mean()
    for k in range(3):
        assert torch.allclose(whole[k], kind(rows[k]).gram(kind(other)), atol=1e-14)
        assert torch.allclose(kind(rows).gram()[k], kind(rows[k]).gram(), atol=1e-14)
        assert torch.allclose(slopes[k], kind(rows[k]).slopes(), atol=1e-14)
        assert torch.allclose(mean[k], kind(rows[k]).mean(), atol=1e-14)


def test_a_constant_neuron_is_its_value():
    rows = torch.tensor([[0.0, 0.0, 0.7], [1.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    kind = GaussianNeurons(get("gelu"))
    G = kind(rows).gram()
    constant = float(get("gelu")(torch.tensor(0.7)))
    assert G[0, 0].item() == pytest.approx(constant**2, rel=1e-6)
    assert G[0, 1].item() == pytest.approx(constant * kind(rows).mean()[1].item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(G.sum(), rows)
    assert torch.isfinite(gradient).all()


def test_gaussian_gradient_is_that_of_finite_differences():
    rows, other = gaussian(3, 4).requires_grad_(), gaussian(4, 4, seed=7)
    kind = GaussianNeurons(get("relu"), degree=12)
    assert torch.autograd.gradcheck(lambda r: kind(r).gram(kind(other)), rows, atol=1e-6)


def test_mehler_is_the_sum_of_powers_with_the_right_gradient():
    rho = (0.9 * torch.rand(2, 3, 4, dtype=torch.float64)).requires_grad_()
    c, e = gaussian(5, 2, 3).requires_grad_(), gaussian(5, 4, seed=3).requires_grad_()
    naive = sum(c[k][:, :, None] * e[k] * rho**k for k in range(5))
    assert torch.allclose(mehler(rho, c, e), naive, atol=1e-14)
    assert torch.autograd.gradcheck(mehler, (rho, c, e))


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 8), st.integers(2, 5), st.integers(0, 10_000), st.sampled_from(["relu", "gelu", "tanh"]))
def test_gram_matrices_are_symmetric_and_positive_semi_definite(m, d, seed, name):
    rows = gaussian(m, d, seed=seed)
    for G in (
        GaussianNeurons(get(name), degree=16)(rows).gram(),
        UnitNeurons(get(name))(torch.nn.functional.normalize(rows, dim=1)).gram(),
    ):
        assert torch.allclose(G, G.T, atol=1e-12)
        assert torch.linalg.eigvalsh(G).min() > -1e-10


def test_single_precision_agrees_with_double():
    U = unit(5, 4)
    for kind, rows in ((UnitNeurons(get("gelu")), U), (GaussianNeurons(get("relu")), gaussian(5, 4))):
        single = kind(rows.float()).gram()
        assert single.dtype == torch.float32
        assert torch.allclose(single.double(), kind(rows).gram(), atol=1e-4)


def test_gram_of_one_or_two_sets():
    U, V = unit(4, 3), unit(5, 3, seed=1)
    assert torch.allclose(gram(U, V, activation="relu"), naive_gram(U, V), atol=1e-13)
    assert torch.allclose(gram(U, activation="relu"), gram(U, U, activation="relu"), atol=1e-7)
    assert gram(unit(2, 4, 3), V, activation=torch.tanh).shape == (2, 4, 5)


@pytest.mark.parametrize(
    ("U", "V", "error", "message"),
    [
        (2 * unit(3, 4), None, InputError, "U: got rows of length 2 to 2"),
        (unit(3, 4), unit(3, 5), InputError, r"V: got shape \(3, 5\), allowed is \(n, 4\)"),
        (unit(3, 4)[0], None, InputError, r"U: got shape \(4,\)"),
        (torch.zeros(0, 4), None, InputError, r"U: got shape \(0, 4\)"),
        (torch.full((2, 2), float("nan")), None, InputError, "U: 4 of 4 values are NaN"),
        (torch.eye(2, dtype=torch.int64), None, InputTypeError, "U: got dtype"),
        ([[1.0]], None, InputTypeError, "U: got"),
    ],
)
def test_what_is_no_set_of_unit_rows(U, V, error, message):
    with pytest.raises(error, match=message):
        gram(U, V, activation="relu")
