from __future__ import annotations

import pytest
import torch
from compression_cases import gaussian

from widthwise.compression import gram, limit_objective, objective_bound
from widthwise.compression.linalg import explained, pseudo_solve


def psd(*shape: int, rank: int, seed: int = 0) -> torch.Tensor:
    factor = gaussian(*shape, rank, seed=seed)
    return factor @ factor.mT


@pytest.mark.parametrize("rank", [6, 4, 1])
def test_pseudo_solve_is_the_pseudo_inverse_and_batches(rank):
    G, s = psd(3, 6, rank=rank), gaussian(3, 6, 2, seed=5)
    wanted = torch.linalg.pinv(G, hermitian=True, rtol=1e-10) @ s
    assert torch.allclose(pseudo_solve(G, s), wanted, atol=1e-9)


def test_pseudo_solve_of_nothing_is_nothing():
    assert torch.equal(pseudo_solve(torch.zeros(3, 3), torch.ones(3, 1)), torch.zeros(3, 1))


def test_explained_is_the_quadratic_form_and_its_gradient_is_that_of_the_inverse():
    factor, s = gaussian(2, 5, 5).requires_grad_(), gaussian(2, 5, 3, seed=4).requires_grad_()

    def direct(factor, s):
        return (s * torch.linalg.solve(factor @ factor.mT, s)).sum((-1, -2))

    value, b = explained(factor @ factor.mT, s)
    assert torch.allclose(value, direct(factor, s), rtol=1e-9)
    assert not b.requires_grad
    got = torch.autograd.grad(value.sum(), (factor, s))
    wanted = torch.autograd.grad(direct(factor, s).sum(), (factor, s))
    assert all(torch.allclose(g, w, rtol=1e-6, atol=1e-8) for g, w in zip(got, wanted, strict=True))


def test_explained_with_equal_neurons_is_that_without_the_copies_and_leaves_others_of_the_batch_alone():
    G, s = psd(4, rank=4), gaussian(4, 1, seed=3)
    twice = torch.tensor([0, 1, 2, 3, 3, 3])
    regular = psd(6, rank=6, seed=9)
    value, b = explained(torch.stack([G[twice][:, twice], regular]), torch.stack([s[twice], s[twice]]))
    assert torch.allclose(value[0], explained(G, s)[0], rtol=1e-7)
    assert torch.isfinite(b).all()
    assert torch.allclose(value[1], explained(regular, s[twice])[0], rtol=1e-9)


def test_explained_never_flatters():
    """For any b at all, 2 b's - b'Gb is at most s'G^+ s; a bad solver can only lose."""
    G, s = psd(5, rank=5), gaussian(5, 1)
    best = explained(G, s)[0]
    for seed in range(20):
        b = gaussian(5, 1, seed=seed)
        assert (b * (2 * s - G @ b)).sum() <= best + 1e-12


@pytest.mark.parametrize("distance", [10.0**-k for k in range(2, 16)])
def test_explained_never_flatters_neurons_that_nearly_meet(distance):
    """Seven directions in the plane and an eighth beside one of them: R exceeds its bound at no distance."""
    angle = torch.arange(7, dtype=torch.float64) * 2 * torch.pi / 7
    for shift in (1.0, 1.3, -0.7):
        all_angles = torch.cat([angle, angle[:1] + shift * distance])
        V = torch.stack([all_angles.cos(), all_angles.sin()], 1)
        value = limit_objective(V, "relu")
        assert limit_objective(V[:7], "relu") * (1 - 1e-7) <= value <= objective_bound(8, 2, "relu") * (1 + 1e-7)


_MET = (
    (0.30544179925177534, -0.9522107472980119),
    (0.3054418511686243, -0.9522107306445796),
    (0.9060057860393281, -0.4232653017473313),
    (-0.9413859965799379, -0.3373312992344427),
    (-0.5939619815065719, 0.8044931103028706),
    (0.2549321624562946, 0.9669589404650838),
    (-0.7107222847190898, -0.7034726959901693),
    (0.9994973658290812, -0.031701982599325905),
)  # where a descent once ended: the first two lie 5e-8 apart, and Cholesky gives them coefficients of 8e6


def test_coefficients_that_cancel_do_not_pass_for_power_explained():
    V = torch.tensor(_MET, dtype=torch.float64)
    value, b = explained(gram(V, activation="relu"), torch.ones(8, 1, dtype=torch.float64))
    assert limit_objective(V[1:], "relu") * (1 - 1e-7) <= value <= objective_bound(8, 2, "relu")
    assert b.abs().max() < 2
