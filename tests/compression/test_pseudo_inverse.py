from __future__ import annotations

import pytest
import torch
from compression_cases import gaussian

from widthwise.compression.linalg import explained, pseudo_solve


def psd(*shape: int, rank: int, seed: int = 0) -> torch.Tensor:
    factor = gaussian(*shape, rank, seed=seed)
    return factor @ factor.mT


@pytest.mark.parametrize("rank", [6, 4, 1])
def test_pseudo_solve_is_the_pseudo_inverse_and_batches(rank):
    G, s = psd(3, 6, rank=rank), gaussian(3, 6, 2, seed=5)
    wanted = torch.linalg.pinv(G, hermitian=True, rtol=1e-10) @ s
    assert torch.allclose(pseudo_solve(G, s, rcond=1e-10), wanted, atol=1e-9)


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
