"""The rescaling trick: by the closed rule, and by a measured one."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from widthwise import data as data_sets
from widthwise import init, models
from widthwise.errors import InputError, InputTypeError
from widthwise.masks import Mask
from widthwise.pruning import prune
from widthwise.pruning.rescale import Rescaled, rescale
from widthwise.training import Family, TrainConfig, evaluate, objective_for, train
from widthwise.weights import prunable

WIDTH, DEPTH = 200, 16


def initialised(model: nn.Module, sigma_w: float, sigma_b: float = 0.0) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.normal_(module.weight, std=sigma_w * module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=sigma_b)
    return model


def deep(activation: str, sigma_w: float, sigma_b: float = 0.0, depth: int = DEPTH, width: int = WIDTH) -> nn.Module:
    return initialised(models.mlp(50, 10, width=width, depth=depth, activation=activation), sigma_w, sigma_b)


def batch(count: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 50, generator=generator), torch.randint(0, 10, (count,), generator=generator)


def pruned(model: nn.Module, sparsity: float, method: str) -> Mask:
    return prune(model, sparsity, method, batch(), functional.cross_entropy)


@torch.no_grad()
def variances(model: nn.Module, x: torch.Tensor) -> list[float]:
    """Mean squared pre-activation of every linear layer, by a plain loop."""
    found = []
    for layer in model:
        x = layer(x)
        if isinstance(layer, nn.Linear):
            live = layer.weight.abs().sum(1) > 0
            found.append(float(x[:, live].square().mean()))
    return found


def growth(model: nn.Module) -> float:
    """Mean factor of the variance from one layer to the next."""
    found = variances(model, batch()[0])
    return (found[-2] / found[0]) ** (1 / (len(found) - 2))


def test_the_closed_rule_is_its_formula_over_all_taps():
    model = initialised(nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3, 2)), 1.0).double()
    mask = prune(model, 0.25, "random", scope="uniform")
    before = copy.deepcopy(model)
    done = rescale(model, mask)
    assert [layer.empty for layer in done.layers] == [0, 0]
    for index in (0, 3):
        old, new = before[index].weight, model[index].weight
        for i in range(len(old)):
            total = sum(w.item() ** 2 for w in old[i].flatten())
            torch.testing.assert_close(new[i], old[i] * math.sqrt(2 / total))
            torch.testing.assert_close(done.layers[index // 3].factors[i].item(), math.sqrt(2 / total))
    assert (done.rule, done.sigma_w, done.left) == ("closed", math.sqrt(2), ())


@pytest.mark.parametrize("method", ["random", "magnitude"])
def test_the_closed_rule_is_right_for_masks_that_ignore_the_signal(method):
    model = deep("relu", math.sqrt(2))
    mask = pruned(model, 0.8, method)
    as_printed, unscaled = copy.deepcopy(model), growth(model)
    rescale(model, mask)
    rescale(as_printed, mask, sigma_w=1.0)
    assert unscaled < 0.9
    assert growth(model) == pytest.approx(1, abs=0.08)
    assert growth(as_printed) == pytest.approx(0.5, abs=0.04)


def test_snip_masks_on_relu_explode_under_the_closed_rule_and_hold_under_the_measured_one():
    model = deep("relu", math.sqrt(2))
    mask = pruned(model, 0.8, "snip")
    closed, printed = copy.deepcopy(model), copy.deepcopy(model)
    rescale(closed, mask)
    rescale(printed, mask, sigma_w=1.0)
    done = rescale(model, mask, data=batch())
    assert growth(closed) > 1.5
    assert 0.75 < growth(printed) < 1.1
    assert [layer.variance for layer in done.layers] == pytest.approx([2.0] * len(done.layers), rel=0.05)
    assert growth(model) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("method", ["random", "snip"])
def test_tanh_keeps_its_fixed_point_under_both_rules(method):
    model = deep("tanh", 1.0)
    mask = pruned(model, 0.8, method)
    closed = copy.deepcopy(model)
    rescale(closed, mask)
    rescale(model, mask, data=batch())
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    expected = [float(batch()[0].square().mean())]
    for _ in range(DEPTH):
        expected.append(float(weights @ np.tanh(math.sqrt(expected[-1]) * nodes) ** 2 / math.sqrt(2 * math.pi)))
    assert variances(model, batch()[0]) == pytest.approx(expected, rel=0.1)
    assert variances(closed, batch()[0]) == pytest.approx(expected, rel=0.6)


def test_biases_count_in_the_variance_and_are_left_alone():
    model = deep("tanh", 1.3041, sigma_b=0.2)
    mask = pruned(model, 0.8, "snip")
    biases = [layer.bias.clone() for layer in model if isinstance(layer, nn.Linear)]
    done = rescale(model, mask, data=batch(), sigma_b=0.2)
    assert done.sigma_w == pytest.approx(1.3041, abs=1e-4)
    after = [layer.bias for layer in model if isinstance(layer, nn.Linear)]
    assert all(torch.equal(a, b) for a, b in zip(after, biases, strict=True))
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    q = 0.5
    for _ in range(200):
        second = float(weights @ np.tanh(math.sqrt(q) * nodes) ** 2 / math.sqrt(2 * math.pi))
        q = 0.2**2 + done.sigma_w**2 * second
    assert done.layers[-2].variance == pytest.approx(q, rel=0.25)


def test_a_convolution_sees_its_padding_and_its_taps():
    convolution = nn.Conv2d(3, 64, 3, stride=2, padding=1, groups=1)
    model = nn.Sequential(initialised(convolution, 3.0), nn.ReLU())
    mask = prune(model, 0.5, "random")
    x = torch.randn(8, 3, 9, 9) * torch.rand(3, 1, 1)
    done = rescale(model, mask, data=x)
    patches = functional.unfold(x, 3, padding=1, stride=2)
    assert done.layers[0].variance == pytest.approx(2 * float(patches.square().mean()), rel=1e-4)
    pre = (convolution(x) - convolution.bias.view(-1, 1, 1)).detach()
    assert float(pre.square().mean()) == pytest.approx(2 * float(patches.square().mean()), rel=1e-4)


@pytest.mark.parametrize("padding", ["circular", "zeros"])
def test_a_deep_convolutional_network_holds_its_variance(padding):
    model = initialised(models.vanilla_cnn(image_size=8, channels=24, depth=12), math.sqrt(2))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.padding_mode = padding
    x, y = torch.randn(30, 1, 8, 8), torch.randint(0, 10, (30,))
    mask = prune(model, 0.7, "snip", (x, y), functional.cross_entropy)
    done = rescale(model, mask, data=(x, y))
    found = [layer.variance for layer in done.layers]
    low = 0.5 if padding == "circular" else 0.02  # zero borders take variance from the unpruned network too
    assert low < found[-2] / found[0] < 1.5
    assert padding == "circular" or found[-2] < 0.9 * found[0]


def test_units_without_weights_stay_finite_and_silent():
    model = deep("relu", math.sqrt(2), depth=3, width=20)
    mask = Mask({name: torch.rand_like(w) > 0.3 for name, w in prunable(model).items()})
    tensors = dict(mask)
    tensors["hidden2.weight"][:5] = False
    mask = Mask(tensors).apply(model)
    for data in (None, batch()):
        done = rescale(model, mask, data=data)
        assert all(torch.isfinite(p).all() for p in model.parameters())
        assert [layer.empty for layer in done.layers] == [0, 5, 0, 0]
        assert not model.hidden2.weight[:5].any()
        assert "5 units without a weight" in str(done)


def test_a_layer_that_hears_nothing_is_left_as_the_closed_rule_has_it():
    model = deep("relu", math.sqrt(2), depth=2, width=20)
    mask = Mask({name: torch.ones_like(w, dtype=torch.bool) for name, w in prunable(model).items()})
    tensors = dict(mask)
    tensors["hidden1.weight"][:] = False
    done = rescale(model, Mask(tensors).apply(model), data=batch())
    assert [layer.variance for layer in done.layers] == [0.0, 0.0, 0.0]
    assert all(torch.isfinite(p).all() for p in model.parameters())


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), sparsity=st.floats(0.1, 0.9), measured=st.booleans(), dtype=st.sampled_from([32, 64]))
def test_rescaling_again_changes_nothing_and_dead_weights_stay_dead(seed, sparsity, measured, dtype):
    torch.manual_seed(seed)
    precision = torch.float32 if dtype == 32 else torch.float64
    model = initialised(models.mlp(6, 3, width=8, depth=2), 1.0).to(precision)
    mask = Mask({name: torch.rand_like(w) > sparsity for name, w in prunable(model).items()}).apply(model)
    data = torch.randn(10, 6, dtype=precision) if measured else None
    rescale(model, mask, data=data)
    again = rescale(model, mask, data=data)
    for layer in again.layers:
        torch.testing.assert_close(layer.factors, torch.ones_like(layer.factors), rtol=1e-4, atol=1e-4)
    for name, weight in prunable(model).items():
        assert not weight[~mask[name]].any()
        assert torch.isfinite(weight).all()


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1e15])
def test_weights_of_any_size_are_brought_back(scale):
    model = deep("relu", math.sqrt(2), depth=4, width=30)
    mask = pruned(model, 0.5, "random")
    with torch.no_grad():
        for weight in prunable(model).values():
            weight.mul_(scale)
    done = rescale(model, mask, data=batch())
    assert [layer.variance for layer in done.layers] == pytest.approx([2.0] * 5, rel=0.05)


def test_data_may_be_a_batch_a_loader_or_inputs_alone():
    x, y = batch()
    results = []
    for data in ((x, y), [(x, y), (x * math.nan, y)], iter([(x, y)]), x):
        torch.manual_seed(0)
        model = deep("relu", math.sqrt(2), depth=3)
        rescale(model, pruned(model, 0.5, "snip"), data=data)
        results.append(model.output.weight)
    assert all(torch.equal(one, results[0]) for one in results)


def test_the_closed_rule_can_be_asked_for_beside_data():
    model = deep("relu", math.sqrt(2), depth=3)
    mask = pruned(model, 0.5, "snip")
    assert rescale(model, mask, rule="closed", data=batch()).rule == "closed"


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.again, self.norm = nn.Linear(6, 6), nn.Linear(6, 6), nn.BatchNorm1d(6)
        self.table, self.unused, self.drop = nn.Embedding(3, 6), nn.Linear(6, 6), nn.Dropout(0.5)

    def forward(self, x):
        x = self.norm(torch.tanh(self.first(x)) + self.table.weight[0])
        return self.drop(self.again(torch.tanh(self.again(x))))


def test_a_layer_used_twice_is_scaled_once_and_what_is_not_run_is_left_and_told():
    model = initialised(Twice(), 1.0)
    model.norm.eval()
    model.norm.num_batches_tracked.fill_(1)
    model.norm.running_mean.fill_(0.25)
    mask = prune(model, 0.5, "random")
    x = torch.randn(50, 6)
    flags = {name: module.training for name, module in model.named_modules()}
    done = rescale(model, mask, "tanh", data=x)
    assert [layer.name for layer in done.layers] == ["first.weight", "again.weight"]
    assert set(done.left) == {"table.weight", "unused.weight"}
    assert "unused.weight: left alone" in str(done)
    assert flags == {name: module.training for name, module in model.named_modules()}
    assert not any(module._forward_hooks for module in model.modules())
    seen = model.norm(torch.tanh(model.first(x)) + model.table.weight[0]).detach()
    torch.testing.assert_close(
        float((model.again(seen) - model.again.bias).detach().square().mean()),
        float(seen.square().mean()),
        rtol=1e-4,
        atol=0,
    )


def test_the_report_is_a_table():
    model = deep("relu", math.sqrt(2), depth=2, width=20)
    done = rescale(model, pruned(model, 0.5, "random"), data=batch())
    assert isinstance(done, Rescaled)
    lines = str(done).splitlines()
    assert lines[0] == f"measured rule, sigma_w = 1.41421, gradient x {done.gradient:.3g} from last to first layer"
    assert len(lines) == 4
    assert lines[1].startswith("  hidden1.weight: x ")
    assert "variance 2" in lines[1] or "variance 1.9" in lines[1]


def fitted(**layers: nn.Module) -> tuple[nn.Module, Mask]:
    model = nn.Sequential(nn.Linear(4, 4), *layers.values(), nn.Linear(4, 2))
    return model, Mask.dense(model).apply(model)


@pytest.mark.parametrize(
    ("layers", "arguments", "error", "message"),
    [
        ({}, {}, InputError, "activation: the model has no module that is a known activation; name the one .* relu"),
        ({"a": nn.ReLU(), "b": nn.Tanh()}, {}, InputError, "activation: the model has relu, tanh; name"),
        ({"a": nn.ReLU()}, {"activation": "relo"}, InputError, "did you mean 'relu'"),
        ({"a": nn.ReLU()}, {"rule": "open"}, InputError, "rule: got 'open', allowed are auto, closed, measured"),
        ({"a": nn.ReLU()}, {"rule": "measured"}, InputError, "data: got None, but the measured rule needs a batch"),
        ({"a": nn.ReLU()}, {"sigma_b": -1.0}, InputError, "sigma_b: got -1"),
        ({"a": nn.ReLU()}, {"sigma_w": 0.0}, InputError, "sigma_w: got 0"),
        ({"a": nn.ReLU()}, {"sigma_w": "1"}, InputTypeError, "sigma_w: got '1'"),
        ({"a": nn.ReLU()}, {"sigma_b": 0.5}, InputError, "edge"),
        ({"a": nn.ReLU()}, {"data": 3}, InputTypeError, "data: got int"),
        ({"a": nn.ReLU()}, {"data": torch.zeros(0, 4)}, InputError, "at least one example"),
        ({"a": nn.ReLU()}, {"data": torch.full((2, 4), math.nan)}, InputError, "'0.weight' are NaN or infinite"),
    ],
)
def test_bad_input_is_named_and_changes_nothing(layers, arguments, error, message):
    model, mask = fitted(**layers)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(error, match=message):
        rescale(model, mask, **arguments)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_weights_that_are_not_finite_are_named():
    model, mask = fitted(a=nn.ReLU())
    with torch.no_grad():
        model[2].weight[0, 0] = math.nan
    with pytest.raises(InputError, match=r"model: '2\.weight': 1 of 8 values are NaN or infinite"):
        rescale(model, mask)


def test_weights_that_layers_share_are_scaled_once():
    model, mask = fitted(a=nn.Tanh(), b=nn.Linear(4, 4), c=nn.Tanh())
    model[2].weight = model[0].weight
    mask = Mask.dense(model)
    x = torch.randn(40, 4)
    done = rescale(model, mask, data=x)
    assert [layer.name for layer in done.layers] == ["0.weight", "4.weight"]
    pre = (model[0](x) - model[0].bias).detach()
    torch.testing.assert_close(float(pre.square().mean()), float(x.square().mean()), rtol=1e-4, atol=0)


def test_an_error_half_way_changes_nothing():
    model, mask = fitted(a=nn.ReLU(), b=nn.BatchNorm1d(4))
    with torch.no_grad():
        model[2].bias.fill_(math.inf)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InputError, match=r"'3\.weight' are NaN or infinite"):
        rescale(model, mask, data=torch.rand(5, 4) + 1)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_masks_that_do_not_fit_or_are_not_in_force_are_refused():
    model, mask = fitted(a=nn.ReLU())
    with pytest.raises(InputError, match="mask: got other names or shapes"):
        rescale(model, Mask({"0.weight": mask["0.weight"]}))
    tensors = dict(mask)
    tensors["2.weight"][0] = False
    with pytest.raises(InputError, match=r"mask: is not in force, '2\.weight' has weights that it removes"):
        rescale(model, Mask(tensors))
    with pytest.raises(InputTypeError, match="mask: got {}"):
        rescale(model, {})
    embedding = nn.Embedding(3, 3)
    with pytest.raises(InputError, match="no linear or convolutional layer"):
        rescale(embedding, Mask.dense(embedding), "relu")


@pytest.mark.slow
def test_a_rescaled_deep_network_learns_digits_where_the_pruned_one_does_not():
    splits = data_sets.split(data_sets.load("digits"), validation=0.0)
    networks, dead = [], []
    for rescaled in (False, True):
        model = models.mlp(64, 10, width=64, depth=30, activation="tanh")
        init.gaussian_(model, 1.0, generator=torch.Generator().manual_seed(0))
        mask = prune(model, 0.8, "snip", splits.train, functional.cross_entropy)
        if rescaled:
            rescale(model, mask, data=splits.train)
        networks.append(model)
        dead.append({name: ~alive for name, alive in mask.items()})
    family, objective = Family(networks, dead), objective_for("classification")
    train(family, splits.train, TrainConfig(epochs=40, batch_size=50, lr=0.03), objective, seeds=[0, 0])
    plain, trained = evaluate(family, splits.test, objective).tolist()
    assert plain < 0.25
    assert trained > 0.6


@pytest.mark.parametrize(
    ("activation", "sigma_b", "method", "own"),
    [("elu", 0.2, "snip", True), ("elu", 0.2, "magnitude", False), ("relu", 0.0, "random", False)],
)
def test_the_measured_rule_keeps_gradients_too(activation, sigma_b, method, own):
    model = models.mlp(50, 10, width=100, depth=50, activation=activation)
    init.edge_of_chaos_(model, sigma_b=sigma_b, generator=torch.Generator().manual_seed(0))
    mask = pruned(model, 0.9, method)
    done = rescale(model, mask, data=batch(), sigma_b=sigma_b)
    assert (done.own > 0) is own
    assert 0.02 < done.gradient < 10
    model.zero_grad()
    (model(batch()[0]) * torch.randn(200, 10)).sum().backward()
    norms = [float(weight.grad.norm()) for weight in prunable(model).values()]
    assert 0.03 < norms[1] / norms[-2] < 30  # 0.005 for the first of these if units are scaled by all inputs alike


def test_without_gradients_units_are_scaled_by_all_inputs_alike():
    class Wrapped(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return iter([self.inner(x)])

    plain = deep("relu", math.sqrt(2), depth=4, width=30)
    mask = pruned(plain, 0.5, "random")
    frozen, odd = copy.deepcopy(plain).requires_grad_(False), Wrapped(copy.deepcopy(plain))
    expected = rescale(plain, mask, data=batch())
    for model in (frozen, odd):
        done = rescale(model, Mask.of(model), data=batch())
        assert (done.own, done.gradient) == (0, None)
        for mine, other in zip(done.layers, expected.layers, strict=True):
            torch.testing.assert_close(mine.factors, other.factors)
