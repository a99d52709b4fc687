"""Bounds on the critical sparsity, conditioning, and the subnetwork on the edge of chaos."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from torch import nn
from torch.nn import functional

from widthwise import models
from widthwise.errors import InputError
from widthwise.pruning import critical_sparsity
from widthwise.pruning.scores import snip
from widthwise.pruning.theory import conditioning, critical_sparsity_bound, magnitude_bound, mean_squares
from widthwise.pruning.ticket import winning_ticket


def gaussian(model: nn.Module, sigma_w: float, sigma_b: float = 0.0) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=sigma_w * module.in_features**-0.5)
            nn.init.normal_(module.bias, std=sigma_b)
    return model


def test_theorem_1_at_the_setting_of_the_paper_is_62_percent_not_27():
    bound = critical_sparsity_bound("tanh", 0.49, 0.3, depth=100, width=100)
    assert bound.chi == pytest.approx(0.2, abs=2e-3)
    assert bound.kappa == pytest.approx(0.2, abs=2e-3)
    assert bound.value == pytest.approx((1 + math.log(bound.kappa * 1e6) / bound.kappa) / 100)
    assert bound.value == pytest.approx(0.62, abs=2e-3)


def test_theorem_1_holds_in_simulation():
    depth, width = 100, 30
    bound = critical_sparsity_bound("tanh", 0.49, 0.3, depth=depth, width=width)
    found = []
    for seed in range(3):
        torch.manual_seed(seed)
        model = gaussian(models.mlp(width, 10, width=width, depth=depth - 1, activation="tanh").double(), 0.49, 0.3)
        data = torch.randn(50, width, dtype=torch.float64), torch.randint(0, 10, (50,))
        found.append(critical_sparsity(snip(model, data, functional.cross_entropy)))
    assert sum(found) / 3 < bound.value < 0.6


@pytest.mark.parametrize(("sigma_w", "chi"), [(1.3955839751550252, 1.0), (2.5, None)])
def test_theorem_1_says_nothing_off_the_ordered_phase(sigma_w, chi):
    bound = critical_sparsity_bound("tanh", sigma_w, 0.3, depth=100, width=100)
    assert bound.value is None or bound.value > 1
    assert bound.chi == pytest.approx(chi, abs=1e-6) if chi else bound.chi > 1


@pytest.mark.parametrize(("gamma", "corrected", "printed"), [(5, 0.936, 0.598), (10, 0.812, 0.327)])
def test_proposition_4_with_the_ratio_of_deviations(gamma, corrected, printed):
    assert magnitude_bound(gamma**0.5, 100) == pytest.approx(corrected, abs=1e-3)
    assert magnitude_bound(gamma, 100) == pytest.approx(printed, abs=1e-3)


def test_proposition_4_by_its_definition_on_a_grid():
    ratio, width, best = math.sqrt(5), 30, 1.0
    shares = torch.linspace(1e-3, 1 - 1e-6, 4000, dtype=torch.float64).numpy()
    for step in range(1, 400):
        k = ratio ** (2 - step / 200)
        quantiles = norm.isf((1 - shares) / 2)
        holds = ratio * quantiles > norm.isf((1 - shares) ** k / 2)
        if not holds[-1]:  # it holds nearer to 1 than the grid reaches
            continue
        x = float(shares[len(holds) - holds[::-1].argmin()]) if not holds.all() else 0.0
        best = min(best, x + width**2 / (1 + k) * (1 - x) ** (1 + k))
    assert magnitude_bound(ratio, width) == pytest.approx(best, abs=3e-3)


def test_proposition_4_holds_in_simulation_where_the_printed_form_fails():
    width, depth, gamma = 100, 40, 5
    found = []
    for seed in range(5):
        torch.manual_seed(seed)
        scores = {"odd": torch.randn(width, width).abs() * gamma**-0.5}
        scores |= {f"layer{i}": torch.randn(width, width).abs() for i in range(depth - 1)}
        found.append(critical_sparsity(scores))
    mean = sum(found) / 5
    assert magnitude_bound(gamma, width) < 0.9 * mean
    assert mean < magnitude_bound(gamma**0.5, width) + 0.02


@settings(deadline=None, max_examples=20)
@given(ratio=st.floats(1.05, 6), width=st.integers(5, 500))
def test_the_bound_of_proposition_4_falls_with_the_ratio(ratio, width):
    assert 0 < magnitude_bound(1.2 * ratio, width) <= magnitude_bound(ratio, width) + 1e-3


def test_mean_squares_and_conditioning():
    scores = {"a": torch.tensor([[1.0, -3.0]]), "b": torch.tensor([0.5, 0.5])}
    assert mean_squares(scores) == {"a": 5.0, "b": 0.25}
    assert conditioning(scores) == {"a": 20.0, "b": 1.0}


@pytest.mark.parametrize(("sigma_w", "sigma_b", "low", "high"), [(1.0, 0.0, 0.02, 50), (0.49, 0.3, 0, 1e-6)])
def test_networks_are_well_conditioned_on_the_edge_alone(sigma_w, sigma_b, low, high):
    model = gaussian(models.mlp(60, 10, width=60, depth=30, activation="tanh").double(), sigma_w, sigma_b)
    data = torch.randn(50, 60, dtype=torch.float64), torch.randint(0, 10, (50,))
    ratio = conditioning(snip(model, data, functional.cross_entropy))["hidden2.weight"]
    assert low <= ratio <= high


def test_residual_networks_follow_theorem_2_and_proposition_2():
    """The mean square grows by (1 + sigma_w^2 / 2) a block, or falls as 1 / L in a stable network."""

    def measured(depth: int, stable: bool) -> float:
        total = 0.0
        for seed in range(6):
            torch.manual_seed(seed)
            model = models.residual_mlp(20, 10, width=100, depth=depth, bias=False, stable=stable).double()
            for parameter in model.parameters():
                nn.init.normal_(parameter, std=math.sqrt(2) * parameter.shape[1] ** -0.5)
            x, probe = torch.randn(8, 20, dtype=torch.float64), torch.randn(8, 10, dtype=torch.float64)
            scores = snip(model, (x, probe), lambda output, y: (output * y).mean())
            total += sum(list(mean_squares(scores).values())[1:-1]) / depth
        return total

    assert measured(16, False) / measured(8, False) == pytest.approx(2.0**8, rel=0.5)
    assert measured(8, True) / measured(32, True) == pytest.approx(4, rel=0.4)


def test_a_random_subnetwork_of_a_chaotic_network_is_on_the_edge():
    model = gaussian(models.mlp(50, 10, width=200, depth=12), 2.0)
    mask = winning_ticket(model, "relu", seed=3)
    assert mask.connectivity == pytest.approx(0.5, abs=0.02)
    x = torch.randn(100, 50)
    found = []
    for layer in model:
        x = layer(x).detach()
        if isinstance(layer, nn.Linear):
            found.append(float(x.square().mean()))
    assert (found[-2] / found[0]) ** (1 / 11) == pytest.approx(1, abs=0.08)
    assert winning_ticket(gaussian(models.mlp(50, 10, width=200, depth=12), 2.0), "relu", seed=3)[
        "hidden2.weight"
    ].any()


def test_bad_input_is_named():
    with pytest.raises(InputError, match="'hidden1.weight' has sigma_w = (1|0.9).*, below the edge of chaos at 1.414"):
        winning_ticket(gaussian(models.mlp(50, 10, width=200, depth=2), 1.0), "relu")
    with pytest.raises(InputError, match="ratio: got 1"):
        magnitude_bound(1.0, 10)
    with pytest.raises(InputError, match="width: got 0"):
        critical_sparsity_bound("tanh", 1.0, 0.1, depth=1, width=0)
    with pytest.raises(InputError, match="last layer are all 0"):
        conditioning({"a": torch.ones(2), "b": torch.zeros(2)})
