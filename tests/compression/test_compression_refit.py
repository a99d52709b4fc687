from __future__ import annotations

import pytest
import torch
from compression_cases import gaussian

from widthwise.compression.inputs import Whitening
from widthwise.compression.refit import held_out, refit, relative_error
from widthwise.errors import InputError


def test_refitting_finds_the_least_squares_solution_with_intercept():
    features = gaussian(500, 4) + 1
    wanted = features @ gaussian(4, 2, seed=5) + torch.tensor([3.0, -1.0])
    b, intercept = refit(features, wanted, torch.zeros(4, 2, dtype=torch.float64))
    assert torch.allclose(b, gaussian(4, 2, seed=5), atol=1e-5)
    assert torch.allclose(intercept, torch.tensor([3.0, -1.0], dtype=torch.float64), atol=1e-5)
    assert relative_error(features @ b + intercept, wanted) < 1e-9


def test_refitting_never_makes_the_held_out_error_worse_than_a_shift_does():
    features, start = gaussian(30, 200), gaussian(200, 1, seed=4)
    wanted = features @ start + 0.1 * gaussian(30, 1, seed=6)
    fit = ~held_out(30)
    shift = (wanted - features @ start)[fit].mean(0)
    b, intercept = refit(features, wanted, start)
    assert relative_error(features @ b + intercept, wanted) <= relative_error(features @ start + shift, wanted)


def test_held_out_rows_do_not_enter_the_fit():
    features, wanted, start = gaussian(50, 3), gaussian(50, 1, seed=4), torch.zeros(3, 1, dtype=torch.float64)
    other = wanted.clone()
    other[held_out(50)] *= 1 + 1e-9  # too little to change the choice of strength
    assert all(
        torch.equal(a, b) for a, b in zip(refit(features, wanted, start), refit(features, other, start), strict=True)
    )


def test_equal_features_are_no_trouble():
    features = gaussian(40, 1).expand(40, 3).clone()
    b, intercept = refit(features, features[:, :1], torch.zeros(3, 1, dtype=torch.float64))
    assert relative_error(features @ b + intercept, features[:, :1]) < 1e-9


@pytest.mark.parametrize("rank", [5, 3, 1])
def test_whitening_gives_the_moments_back(rank):
    factor, mean = gaussian(5, rank), gaussian(5, seed=4)
    whitening = Whitening.of(mean, factor @ factor.T)
    assert whitening.root.shape == (5, rank)
    assert torch.allclose(whitening.root @ whitening.root.T, factor @ factor.T, atol=1e-10)


def test_rows_and_weights_are_each_other_s_inverse_where_inputs_vary():
    factor, mean, W, bias = gaussian(5, 3), gaussian(5, seed=4), gaussian(7, 5, seed=5), gaussian(7, seed=6)
    whitening = Whitening.of(mean, factor @ factor.T)
    rows = whitening.rows(W, bias)
    back, shift = whitening.weights(rows)
    assert torch.allclose(whitening.rows(back, shift), rows, atol=1e-10)
    x = mean + gaussian(20, 3, seed=7) @ factor.T
    assert torch.allclose(x @ back.T + shift, x @ W.T + bias, atol=1e-10)
    assert (back.norm(dim=1) <= W.norm(dim=1) + 1e-12).all()


def test_what_is_no_covariance_is_refused():
    with pytest.raises(InputError, match="not symmetric"):
        Whitening.of(torch.zeros(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]]))
    with pytest.raises(InputError, match="from -0.5 to 1"):
        Whitening.of(torch.zeros(2), torch.diag(torch.tensor([1.0, -0.5])))
