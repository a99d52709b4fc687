from __future__ import annotations

import pytest
import torch
from compression_cases import relu_dual, uniform, unit

from widthwise.activations import get
from widthwise.compression import (
    Target,
    UnitNeurons,
    best_orientation,
    etf_objective,
    limit_objective,
    random_frames,
    simplex_etf,
)
from widthwise.errors import InputError, InputTypeError


@pytest.mark.parametrize(("M", "d"), [(1, 1), (1, 3), (2, 1), (2, 5), (3, 2), (4, 3), (5, 9), (30, 29), (30, 64)])
def test_inner_products_of_a_simplex(M, d):
    V = simplex_etf(M, d)
    wanted = torch.full((M, M), -1 / max(M - 1, 1), dtype=torch.float64).fill_diagonal_(1)
    assert V.shape == (M, d)
    assert torch.allclose(V @ V.T, wanted, atol=1e-13)
    if M > 1:
        assert torch.allclose(V.sum(0), torch.zeros(d, dtype=torch.float64), atol=1e-12)


def test_any_rotation_turns_it():
    Q = random_frames(1, 6, 6)[0]
    V = simplex_etf(4, 6, rotation=Q)
    assert torch.allclose(V, simplex_etf(4, 6) @ Q)
    assert torch.allclose(V @ V.T, simplex_etf(4, 6) @ simplex_etf(4, 6).T, atol=1e-13)
    assert simplex_etf(4, 6, dtype=torch.float32).dtype == torch.float32


@pytest.mark.parametrize(("M", "value"), [(2, 4.0), (5, 5.514991), (10, 5.912802), (30, 6.162394)])
def test_the_published_objective(M, value):
    assert etf_objective(M, "relu") == pytest.approx(value, abs=5e-7)
    assert etf_objective(M, "relu") == pytest.approx(M / (0.5 + (M - 1) * relu_dual(-1 / (M - 1))), rel=1e-14)
    assert limit_objective(simplex_etf(M, M), "relu") == pytest.approx(etf_objective(M, "relu"), rel=1e-12)


@pytest.mark.parametrize("name", ["gelu", "leaky_relu(0.1)", "softplus"])
def test_other_activations_have_one_too(name):
    assert limit_objective(simplex_etf(7, 9), name) == pytest.approx(etf_objective(7, name), rel=1e-10)


def test_opposite_neurons_of_an_odd_activation_cancel():
    assert etf_objective(2, "tanh") == float("inf")


def test_the_best_orientation_is_a_simplex_and_beats_random_ones():
    target = Target(unit(60, 6), uniform(60, 1), UnitNeurons(get("relu")))
    V = best_orientation(target, 5, restarts=4, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(V @ V.T, simplex_etf(5, 6) @ simplex_etf(5, 6).T, atol=1e-10)
    turned = simplex_etf(5, 6) @ random_frames(200, 6, 6, generator=torch.Generator().manual_seed(1))
    assert target.least_loss(V) < target.least_loss(turned).min()


def test_random_frames_are_orthonormal_and_uniform():
    frames = random_frames(4000, 2, 3, generator=torch.Generator().manual_seed(0))
    eye = torch.eye(2, dtype=torch.float64).expand(4000, 2, 2)
    assert torch.allclose(frames @ frames.mT, eye, atol=1e-12)
    first = frames[:, 0]
    assert torch.allclose(first.mean(0), torch.zeros(3, dtype=torch.float64), atol=0.05)
    assert torch.allclose(first.T @ first / 4000, torch.eye(3, dtype=torch.float64) / 3, atol=0.03)


def test_more_vectors_than_a_simplex_has_are_refused_with_the_bound():
    with pytest.raises(InputError, match=r"M: got 5, allowed is at most d \+ 1 = 4"):
        simplex_etf(5, 3)
    target = Target(unit(9, 3), uniform(9, 1), UnitNeurons(get("relu")))
    with pytest.raises(InputError, match=r"at most d \+ 1 = 4"):
        best_orientation(target, 5)


@pytest.mark.parametrize("rotation", [2 * torch.eye(3), torch.eye(4), torch.full((3, 3), float("nan"))])
def test_what_is_no_rotation_is_refused(rotation):
    with pytest.raises(InputError, match="rotation"):
        simplex_etf(3, 3, rotation=rotation)


def test_wrong_types():
    with pytest.raises(InputTypeError, match="rotation"):
        simplex_etf(3, 3, rotation="x")  # type: ignore[arg-type]
    with pytest.raises(InputTypeError, match="M"):
        simplex_etf(3.0, 3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="M"):
        etf_objective(0, "relu")
