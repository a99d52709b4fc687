"""What is reported of neurons of any norm and offset, against integrals over the plane and of closed forms."""

from __future__ import annotations

import pytest
import torch
from compression_cases import gaussian
from test_gram_matrices import relu_pair

from widthwise.activations import get
from widthwise.compression import compress
from widthwise.compression.precise import PreciseNeurons

ROWS = {
    "any": lambda: gaussian(5, 4),
    "nearly equal": lambda: gaussian(1, 4) + 1e-9 * gaussian(3, 4, seed=1),
    "far from the kink": lambda: torch.cat([0.1 * gaussian(4, 3), 2 * gaussian(4, 1, seed=1)], 1),
    "nearly a constant": lambda: torch.cat([torch.tensor([[1e-3, 0.0, 0.0, 0.7]]).double(), gaussian(3, 4)]),
}


@pytest.mark.parametrize("kind", ROWS)
def test_relu_is_a_single_integral_of_closed_forms(kind):
    rows = ROWS[kind]()
    layer = PreciseNeurons(get("relu"))(rows)
    exact = torch.tensor([[relu_pair(first, second) for second in rows] for first in rows], dtype=torch.float64)
    assert torch.allclose(layer.gram(), exact, atol=1e-10, rtol=1e-10)
    assert torch.allclose(layer.gram(PreciseNeurons(get("relu"))(rows[:2])), exact[:, :2], atol=1e-10, rtol=1e-10)


def plane(side: int = 801, reach: float = 8.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Points of the plane and their share of the standard normal mass."""
    line = torch.linspace(-reach, reach, side, dtype=torch.float64)
    points = torch.cartesian_prod(line, line)
    weight = torch.exp(-points.square().sum(1) / 2)
    return points, weight / weight.sum()


def test_a_constant_neuron_is_its_value():
    rows = torch.tensor([[0.0, 0.0, 0.7], [1.0, 0.0, 0.2]], dtype=torch.float64)
    for name in ("relu", "gelu"):
        layer, value = PreciseNeurons(get(name))(rows), float(get(name)(torch.tensor(0.7, dtype=torch.float64)))
        assert layer.gram()[0].tolist() == pytest.approx([value**2, value * float(layer.mean()[1])], rel=1e-9)


@pytest.mark.parametrize(
    ("name", "slack"),
    [("relu", 3e-5), ("leaky_relu", 3e-5), ("elu", 3e-5), ("hardtanh", 3e-5), ("erf", 1e-9), ("gelu", 1e-9)],
)
def test_a_gram_matrix_is_an_integral_over_the_plane(name, slack):
    rows, (z, weight) = gaussian(5, 3), plane()
    values = get(name)(z @ rows[:, :-1].T + rows[:, -1])
    layer = PreciseNeurons(get(name))(rows)
    assert torch.allclose(layer.gram(), values.T @ (weight.unsqueeze(1) * values), atol=slack)
    assert torch.allclose(layer.mean(), weight @ values, atol=slack)


def test_a_steep_neuron_keeps_its_power():
    steep = torch.tensor([[10.0, 0.0, 0.3]], dtype=torch.float64)
    z = torch.linspace(-9, 9, 200_001, dtype=torch.float64)
    density = torch.exp(-z.square() / 2)
    wanted = (density * torch.erf(10 * z + 0.3).square()).sum() / density.sum()
    assert torch.allclose(PreciseNeurons(get("erf"))(steep).gram(), wanted.view(1, 1), atol=1e-9)


@pytest.mark.parametrize("method", ["optimal", "greedy", "merge"])
def test_a_small_loss_is_what_the_networks_are_apart(method):
    torch.manual_seed(5)
    W, a = torch.randn(12, 2, dtype=torch.float64), 2 * torch.rand(12, dtype=torch.float64)
    bias, mean = 0.3 * torch.randn(12, dtype=torch.float64), torch.tensor([0.3, -0.2], dtype=torch.float64)
    covariance = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    small = compress(W, a, 3, "relu", bias, mean=mean, covariance=covariance, method=method)
    z, weight = plane()
    x = mean + z @ torch.linalg.cholesky(covariance).T
    apart = torch.relu(x @ W.T + bias) @ a / 12 - small(x)
    assert small.loss == pytest.approx(float(weight @ apart.square()), rel=1e-3)
    assert small.loss <= small.start_loss
