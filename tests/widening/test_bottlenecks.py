"""Linear and non-linear bottlenecks: their weights, their rank, their initial scale, and what they cannot do."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from widening_cases import FACTORIES, IMAGES, OwnResNet, convnet, weights

from widthwise.errors import InputError, InputTypeError
from widthwise.models import build as build_again
from widthwise.models import by_width, mlp, recipe_of
from widthwise.weights import prunable
from widthwise.widening import LinearBottleneck, plan, widen
from widthwise.widening.pairs import pairs
from widthwise.widening.sizes import Inner, _ratio, solve

BOTTLENECKS = ("linear_bottleneck", "nonlinear_bottleneck")


def shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize(("name", "method"), list(itertools.product(FACTORIES, BOTTLENECKS)))
def test_the_module_has_the_planned_weights_and_runs(name, method):
    build = FACTORIES[name]
    for factor in (1, 1.5):
        found = plan(build, 4, factor, method)
        model, mask = widen(build, 4, factor, method)
        assert mask is None
        again = recipe_of(model) and build_again(recipe_of(model))
        assert again is None or shapes(again) == shapes(model)
        assert weights(model) == found.weights
        assert abs(found.error) <= found.unit / 2
        output = model(torch.randn(3, *IMAGES))
        output.square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", FACTORIES)
def test_without_widening_the_nonlinear_bottleneck_is_the_network_itself(name):
    found = plan(FACTORIES[name], 4, 1, "nonlinear_bottleneck")
    torch.manual_seed(0)
    plain = FACTORIES[name](4)
    model, _ = widen(FACTORIES[name], 4, 1, "nonlinear_bottleneck", seed=0)
    assert found.error == 0
    assert found.budget == weights(plain)
    x = torch.randn(2, *IMAGES)
    torch.testing.assert_close(model.eval()(x), plain.eval()(x))


def test_without_widening_the_linear_bottleneck_has_full_rank_and_more_weights():
    found = plan(by_width("resnet18"), 8, 1, "linear_bottleneck")
    assert found.error == 0
    assert found.inner["stage1.0.branch.conv1.weight"] == 8
    assert found.inner["stage2.0.branch.conv1.weight"] == 16  # 3x3 from 8 to 16 channels has rank 16
    assert found.inner["stage2.0.shortcut.conv.weight"] == 8  # 1x1 from 8 to 16 has rank 8
    assert "output.weight" not in found.inner
    plain = by_width("resnet18")(8)
    convs = [m.weight for m in plain.modules() if isinstance(m, nn.Conv2d)]
    ranks = [min(len(w), w[0].numel()) for w in convs]
    by_hand = sum(r * (len(w) + w[0].numel()) for r, w in zip(ranks, convs, strict=True)) + 10 * 64
    assert found.budget == by_hand > weights(plain)


def test_a_bottleneck_of_full_rank_can_be_any_layer():
    layer = nn.Conv2d(3, 5, 3, stride=2, padding=1, padding_mode="circular", dilation=2).double()
    split = LinearBottleneck(copy.deepcopy(layer), 5)
    u, s, v = torch.linalg.svd(layer.weight.detach().flatten(1), full_matrices=False)
    with torch.no_grad():
        split.narrow.weight.copy_((s.sqrt()[:, None] * v).view(5, 3, 3, 3))
        split.widen.weight.copy_((u * s.sqrt()).view(5, 5, 1, 1))
    x = torch.randn(2, 3, 11, 11, dtype=torch.float64)
    torch.testing.assert_close(split(x), layer(x))
    torch.testing.assert_close(split.weight, layer.weight)
    assert split.bias is not None
    assert torch.equal(split.bias, layer.bias)


def test_the_product_of_the_factors_starts_with_the_variance_of_the_layer():
    torch.manual_seed(0)
    for layer in (nn.Linear(400, 300), nn.Conv2d(60, 50, 3)):
        nn.init.kaiming_normal_(layer.weight)
        made = torch.stack([LinearBottleneck(layer, 20).weight.detach() for _ in range(10)])
        assert float(made.var()) == pytest.approx(float(layer.weight.detach().var()), rel=0.05)
    zero = nn.Linear(4, 4)
    nn.init.zeros_(zero.weight)
    split = LinearBottleneck(zero, 2)
    assert not split.weight.any()
    split(torch.randn(5, 4)).sum().backward()
    assert split.widen.weight.grad.any()  # not a dead saddle


def test_the_nonlinear_bottleneck_keeps_the_scale_of_signals():
    """Monte Carlo over draws: the second layer of a pair sees fewer units, each with more weight."""
    build = lambda w: mlp(16, 1, width=w, depth=3, bias=False)  # noqa: E731
    x = torch.randn(64, 16)

    def variance(factor: float) -> float:
        found = []
        for seed in range(60):
            model = widen(build, 64, factor, "nonlinear_bottleneck", seed=seed)[0]
            found.append(float(model[:-1](x).detach().square().mean()))
        return sum(found) / len(found)

    assert variance(4) == pytest.approx(variance(1), rel=0.15)


def test_the_pairs_of_a_users_own_network_are_found_through_functions():
    found = {(p.first, p.second, p.between, p.block) for p in pairs(OwnResNet(3))}
    assert found == {
        ("blocks.0.conv1", "blocks.0.conv2", ("blocks.0.bn1",), 1),
        ("blocks.1.conv1", "blocks.1.conv2", ("blocks.1.bn1",), 1),
    }
    assert [(p.first, p.second, p.block) for p in pairs(convnet(2))] == [("0", "3", 1), ("3", "7", 36), ("7", "10", 1)]
    layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 1, enable_nested_tensor=False)
    assert [(p.first, p.second, p.size) for p in pairs(layers)] == [("layers.0.linear1", "layers.0.linear2", 16)]


def test_units_that_something_else_reads_are_no_pair():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            inner = self.a(x)
            return self.b(inner).softmax(-1) @ self.c(inner).mT

    assert pairs(Twice()) == []


def test_weights_computed_from_others_are_no_pair():
    chain = nn.Sequential(*(nn.Linear(6, 6) for _ in range(4)))
    assert len(pairs(chain)) == 3
    weight_norm(chain[1])
    assert [(p.first, p.second) for p in pairs(chain)] == [("2", "3")]
    nn.utils.spectral_norm(chain[3])
    assert pairs(chain) == []


def test_every_other_group_of_a_chain_shrinks():
    found = plan(lambda w: mlp(5, 3, width=w, depth=5), 16, 2, "nonlinear_bottleneck")
    shapes = {layer.name: (layer.kept, layer.total) for layer in found.layers}
    assert list(found.inner) == ["hidden2.weight", "hidden4.weight"]
    assert shapes["hidden1.weight"] == (160, 160)
    assert shapes["hidden2.weight"][0] == 32 * found.inner["hidden2.weight"]
    model, _ = widen(lambda w: mlp(5, 3, width=w, depth=5), 16, 2, "nonlinear_bottleneck")
    assert model.hidden3.in_features == model.hidden2.out_features == found.inner["hidden2.weight"]
    assert model.hidden3.out_features == 32


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 60), st.integers(0, 9)), min_size=1, max_size=6),
    st.floats(0, 1),
)
def test_sizes_are_as_close_as_rounding_allows(layers, at):
    """Against all choices of rounding each size down or up."""
    inner = {str(i): Inner(ref, {str(i): cost}, ref + more) for i, (ref, cost, more) in enumerate(layers)}
    least, most = sum(i.cost for i in inner.values()), sum(i.cost * i.most for i in inner.values())
    target = round(least + at * (most - least))
    sizes = solve(inner, target)
    assert all(1 <= sizes[name] <= one.most for name, one in inner.items())
    missed = abs(sum(sizes[name] * one.cost for name, one in inner.items()) - target)
    assert missed <= max(one.cost for one in inner.values()) / 2
    ratio = _ratio(inner, target)
    choices = [{one.at(ratio), min(one.at(ratio) + 1, one.most)} for one in inner.values()]
    costs = [one.cost for one in inner.values()]
    sums = (sum(c * s for c, s in zip(costs, choice, strict=True)) for choice in itertools.product(*choices))
    assert missed == min(abs(total - target) for total in sums)


def test_bottlenecks_are_the_same_for_a_seed_and_leave_the_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    for method in BOTTLENECKS:
        a, b, c = (widen(convnet, 4, 1.5, method, seed=s)[0].state_dict() for s in (5, 5, 6))
        assert all(torch.equal(a[n], b[n]) for n in a)
        assert not all(torch.equal(a[n], c[n]) for n in a)
    assert torch.equal(torch.rand(3), expected)


class Tied(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.embed = nn.Embedding(11, width)
        self.inner = nn.Linear(width, width)
        self.head = nn.Linear(width, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(self.inner(self.embed(x)))


def test_layers_that_cannot_be_split_are_named_and_may_stay_whole():
    grouped = lambda w: nn.Sequential(nn.Conv2d(1, w, 1), nn.Conv2d(w, w, 3, groups=w), nn.Conv2d(w, 2 * w, 3))  # noqa: E731
    with pytest.raises(InputError, match=r"cannot split '1.weight' of Conv2d; whole="):
        plan(grouped, 4, 2, "linear_bottleneck")
    assert list(plan(grouped, 4, 2, "linear_bottleneck", whole=("1",)).inner) == ["0.weight", "2.weight"]
    with pytest.raises(InputError, match="original1' of "):
        plan(lambda w: nn.Sequential(nn.Linear(9, w), weight_norm(nn.Linear(w, w))), 4, 2, "linear_bottleneck")
    with pytest.raises(InputError, match="in_proj_weight' of MultiheadAttention"):
        plan(lambda w: nn.TransformerEncoderLayer(4 * w, 2), 4, 2, "linear_bottleneck")
    model, _ = widen(Tied, 8, 1.2, "linear_bottleneck")  # as many rows at every width: an embedding stays whole
    assert isinstance(model.inner, LinearBottleneck)
    assert model.head.weight is model.embed.weight


def test_torchs_own_transformer_layer_runs_with_split_feed_forward():
    build = lambda w: nn.TransformerEncoderLayer(8 * w, 2, 16 * w, batch_first=True)  # noqa: E731
    model, _ = widen(build, 2, 1.2, "linear_bottleneck", whole=("self_attn",))
    x = torch.randn(2, 5, model.linear2.bias.numel())
    trained = model.train()(x) if not model.dropout.p else model.eval()(x)
    assert trained.shape == x.shape
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x), trained)  # the fast path reads linear1.weight


@pytest.mark.parametrize(
    ("build", "base", "factor", "chosen", "message"),
    [
        (lambda w: nn.Linear(4, 4), 2, 2, {"method": "linear_bottleneck"}, "must grow with width"),
        (convnet, 4, 60, {"method": "linear_bottleneck"}, r"factor: got 60 with linear_bottleneck, allowed is at most"),
        (convnet, 4, 60, {"method": "nonlinear_bottleneck"}, r"is at most \d+(\.\d+)? \(width \d+\)"),
        (lambda w: mlp(9, 2, width=w), 4, 2, {"method": "nonlinear_bottleneck"}, "the network has none"),
        (convnet, 4, 2, {"method": "linear_bottleneck", "whole": ("12",)}, "whole: got '12'"),
        (convnet, 4, 2, {"method": "sparse", "whole": ("0",)}, "allowed with method 'linear_bottleneck' only"),
        (convnet, 4, 2, {"method": "linear_bottleneck", "granularity": "io"}, "allowed with method 'sparse' only"),
        (convnet, 4, 2, {"method": "nonlinear_bottleneck", "distribution": "erk"}, "allowed with method 'sparse' only"),
        (convnet, 4, 2, {"method": "bottleneck"}, "method: got 'bottleneck', allowed are linear_bottleneck"),
    ],
)  # fmt: skip
def test_bad_input_of_bottlenecks_is_named(build, base, factor, chosen, message):
    with pytest.raises(InputError, match=message):
        widen(build, base, factor, **chosen)


@pytest.mark.parametrize("method", [*BOTTLENECKS, "sparse"])
def test_the_largest_factor_named_is_possible_and_the_next_is_not(method):
    with pytest.raises(InputError) as error:
        plan(convnet, 4, 4000, method)
    most = int(str(error.value).partition("(width ")[2].partition(")")[0])
    assert plan(convnet, 4, most / 4, method).width == most
    with pytest.raises(InputError, match=f"width {most}"):
        plan(convnet, 4, (most + 1) / 4, method)


def test_hostile_arguments_are_named():
    for call, message in (
        (lambda: plan(3, 4, 2), "build: got 3"),
        (lambda: plan(lambda w: 3, 4, 2), "build: got 3 at width 4"),
        (lambda: plan(convnet, 4, 2, "linear_bottleneck", whole="0"), "whole: got '0'"),
        (lambda: widen(convnet, 4, 2, seed=-1), "seed: got -1"),
        (lambda: widen(convnet, 4, 2, "linear_bottleneck", seed=0.5), "seed: got 0.5"),
        (lambda: plan(convnet, 4, 1e18), "build: cannot make a network of width 4000000000000000000"),
        (lambda: plan(convnet, 4, 2, budget=0), "budget: got 0"),
        (lambda: plan(convnet, 4, 2, budget=10**9), "budget: got 1000000000"),
        (lambda: plan(convnet, 4, 2, "linear_bottleneck", budget=10**9), "budget: got 1000000000"),
        (lambda: plan(convnet, 4, 2, "linear_bottleneck", budget=20), "at width 8 layers left whole need"),
        (lambda: plan(lambda w: mlp(4, 2, width=w, depth=w), 4, 2), "have other layers, not wider ones"),
    ):
        with pytest.raises((InputError, InputTypeError), match=message):
            call()


def test_a_forward_pass_that_cannot_be_followed_says_so():
    class Odd(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)

        def forward(self, x):
            return self.b(x) if x.sum() > 0 else self.a(x)

    with pytest.raises(InputError, match="cannot follow the forward pass"):
        plan(Odd, 4, 2, "nonlinear_bottleneck")


def test_prunable_weights_after_a_bottleneck_can_be_masked():
    import widthwise as ww

    model, _ = widen(convnet, 4, 1.5, "linear_bottleneck")
    mask = ww.prune(model, 0.5, method="magnitude")
    assert mask.kept == round(sum(w.numel() for w in prunable(model).values()) / 2)
