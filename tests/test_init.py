import math

import pytest
import torch
from torch import nn

from widthwise import init
from widthwise.errors import InputError, InputTypeError
from widthwise.meanfield import edge_of_chaos, fixed_point


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def energy(layer):
    """Sum over the fan-in of a weight's variance."""
    weight = layer.weight.detach().double()
    return float(weight.var() * weight[0].numel())


def test_every_kind_of_layer_gets_its_fan_in():
    model = nn.ModuleList(
        [
            nn.Linear(300, 200),
            nn.Conv1d(40, 60, 5),
            nn.Conv2d(32, 64, 3, groups=4),
            nn.Conv3d(6, 50, 3),
            nn.Bilinear(3, 3, 3),
        ]
    )
    kept = model[4].weight.detach().clone()
    init.gaussian_(model, 1.7, 0.4, generator=seeded())
    for layer in model[:4]:
        assert energy(layer) == pytest.approx(1.7**2, rel=0.06)
    biases = torch.cat([layer.bias.detach() for layer in model[:4]])
    assert float(biases.std()) == pytest.approx(0.4, rel=0.15)
    assert torch.equal(model[4].weight, kept)


def test_a_transposed_convolution_keeps_the_variance():
    layer = init.gaussian_(nn.ConvTranspose1d(300, 300, 4, stride=2, dtype=torch.float64), 1.0, generator=seeded())
    output = layer(torch.randn(8, 300, 50, dtype=torch.float64)).detach()[:, :, 4:-4]
    assert float(output.square().mean()) == pytest.approx(1, rel=0.05)


def test_the_same_seed_gives_the_same_net_in_both_precisions():
    one, two = (init.gaussian_(nn.Linear(5, 4), 1.0, 0.1, generator=seeded(3)) for _ in range(2))
    double = init.gaussian_(nn.Linear(5, 4, dtype=torch.float64), 1.0, 0.1, generator=seeded(3))
    assert torch.equal(one.weight, two.weight)
    torch.testing.assert_close(double.weight.float(), one.weight)
    assert not torch.equal(init.gaussian_(nn.Linear(5, 4), 1.0, generator=seeded(4)).weight, one.weight)
    assert float(init.gaussian_(nn.Linear(5, 4), 1.0).bias.detach().abs().max()) == 0


def test_tied_weights_are_drawn_once():
    first, second = nn.Linear(6, 6), nn.Linear(6, 6)
    second.weight = first.weight
    tied = init.gaussian_(nn.Sequential(first, second), 1.0, generator=seeded())
    alone = init.gaussian_(nn.Linear(6, 6), 1.0, generator=seeded())
    assert torch.equal(tied[0].weight, alone.weight)


@pytest.mark.parametrize(
    ("module", "sigma_b"), [(nn.Tanh(), 0.2), (nn.ReLU(), 0.0), (nn.ELU(), 0.3), (nn.LeakyReLU(0.2), 0.0)]
)
def test_deep_nets_on_the_edge_keep_their_signal(module, sigma_b):
    layers = [layer for _ in range(30) for layer in (nn.Linear(500, 500), module)]
    model = init.edge_of_chaos_(nn.Sequential(*layers), sigma_b=sigma_b, generator=seeded())
    sigma_w, q = edge_of_chaos(module, sigma_b)
    assert energy(model[0]) == pytest.approx(sigma_w**2, rel=0.02)
    x = torch.randn(4, 500) * math.sqrt(2)  # E[relu(x)^2] = 1
    for layer in model[:-1]:
        x = layer(x).detach()
    # 500 units and 30 layers: ReLU's variance walks by 30 steps of sqrt(5 / 500), a factor of 1.7 in one deviation.
    assert q / 4 < float(x.square().mean()) < 4 * q


def test_the_phases_are_what_they_are_called():
    def net():
        return nn.Sequential(
            *[layer for _ in range(12) for layer in (nn.Linear(400, 400, dtype=torch.float64), nn.Tanh())]
        )

    x = torch.randn(2, 400, dtype=torch.float64)
    similarity, gradient = {}, {}
    for name in ("ordered_", "edge_of_chaos_", "chaotic_"):
        model = getattr(init, name)(net(), sigma_b=0.2, generator=seeded())
        output = model(x)
        similarity[name] = float(nn.functional.cosine_similarity(*output.detach(), dim=0))
        (last,) = torch.autograd.grad(output.sum(), model[0].weight)
        gradient[name] = float(last.square().mean())
    assert similarity["ordered_"] > 0.99 > similarity["edge_of_chaos_"] > similarity["chaotic_"]
    assert gradient["ordered_"] < 1e-2 * gradient["edge_of_chaos_"] < 1e-4 * gradient["chaotic_"]


def test_the_phase_is_set_by_chi():
    model = init.ordered_(nn.Sequential(nn.Linear(300, 300), nn.ReLU()), sigma_b=0.5, chi=0.25, generator=seeded())
    assert energy(model[0]) == pytest.approx(0.5, rel=0.03)
    model = init.chaotic_(nn.Linear(300, 300), "relu", chi=3.0, generator=seeded())
    assert energy(model) == pytest.approx(6.0, rel=0.03)
    for call, bad in ((init.ordered_, 1.0), (init.chaotic_, 1.0), (init.ordered_, 0.0)):
        with pytest.raises(InputError, match="chi"):
            call(nn.Linear(3, 3), "relu", chi=bad)


def test_a_repelling_edge_is_announced():
    model = nn.Sequential(nn.Linear(50, 50), nn.GELU())
    with pytest.warns(init.RepellingWarning, match="larger sigma_b"):
        init.edge_of_chaos_(model, sigma_b=0.1)
    init.edge_of_chaos_(model, sigma_b=1.0)
    assert fixed_point("gelu", edge_of_chaos("gelu", 0.1)[0], 0.1) == math.inf


def test_the_activation_is_read_off_or_asked_for():
    init.edge_of_chaos_(nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Identity(), nn.ReLU()))
    with pytest.raises(InputError, match="no module that is a known activation; name the one"):
        init.edge_of_chaos_(nn.Linear(3, 3))
    with pytest.raises(InputError, match="the model has relu, tanh; name the one"):
        init.edge_of_chaos_(nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Tanh()))
    with pytest.raises(InputError, match="no edge of chaos with biases"):
        init.edge_of_chaos_(nn.Sequential(nn.Linear(3, 3), nn.ReLU()), sigma_b=0.1)


def test_what_cannot_be_initialised_is_refused_and_left_alone():
    with pytest.raises(InputError, match="no linear or convolutional layer"):
        init.gaussian_(nn.ReLU(), 1.0)
    with pytest.raises(InputError, match="'1' is lazy"):
        init.gaussian_(nn.Sequential(nn.Linear(3, 3), nn.LazyLinear(3)), 1.0)
    normed = nn.Sequential(nn.Linear(3, 3), nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)))
    before = normed[0].weight.detach().clone()
    with pytest.raises(InputError, match="computed from others"):
        init.gaussian_(normed, 1.0)
    assert torch.equal(normed[0].weight, before)
    with pytest.raises(InputTypeError, match="model"):
        init.gaussian_("model", 1.0)
    with pytest.raises(InputTypeError, match="generator"):
        init.gaussian_(nn.Linear(3, 3), 1.0, generator=3)
    with pytest.raises(InputError, match="sigma_w"):
        init.gaussian_(nn.Linear(3, 3), -1.0)
