"""How sparsity shares out weights among layers: rules, a function of one's own, whole kernels, pictures."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from widening_cases import FACTORIES, convnet

from widthwise.errors import InputError, InputTypeError
from widthwise.models import by_width, mlp
from widthwise.pruning.allocation import balanced, erk, uniform
from widthwise.report import distribution
from widthwise.weights import prunable
from widthwise.widening import LastLayer, plan, sparsify_randomly, weights_at, widen
from widthwise.widening.distribution import counts_of

PAPER = {8: 1.8e5, 12: 4.0e5, 18: 9.0e5, 40: 4.4e6, 64: 1.1e7}


@pytest.mark.parametrize(("width", "count"), PAPER.items())
def test_resnet18_has_the_papers_weights(width, count):
    assert float(f"{weights_at(by_width('resnet18', num_classes=100), width):.1e}") == count
    shapes = {n: tuple(p.shape) for n, p in prunable(by_width("resnet18")(8)).items()}
    assert [shapes[f"stage{i}.1.branch.conv2.weight"][0] for i in range(1, 5)] == [8, 16, 32, 64]


def test_biases_and_batchnorm_stay_whole():
    model, mask = widen(convnet, 4, 3)
    assert {name for name, p in model.named_parameters() if p.dim() < 2}.isdisjoint(mask)
    assert all(model.get_parameter(n).count_nonzero() == len(model.get_parameter(n)) for n in ("1.weight", "3.bias"))


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("rule", ["balanced", "uniform", "erk"])
def test_counts_are_those_of_the_rule_and_exact(name, rule):
    build = FACTORIES[name]
    found = plan(build, 4, 2, distribution=rule)
    model, mask = widen(build, 4, 2, distribution=rule)
    assert found.error == 0
    assert mask.kept == weights_at(build, 4) == found.weights
    shapes = {n: tuple(p.shape) for n, p in prunable(model).items()}
    sizes = {n: math.prod(s) for n, s in shapes.items()}
    wanted = {"balanced": balanced, "uniform": uniform}.get(rule)
    counts = erk(shapes, mask.kept) if wanted is None else wanted(sizes, mask.kept)
    assert {layer.name: layer.kept for layer in mask.layers()} == counts
    assert mask.layers() == found.layers


@settings(deadline=None, max_examples=15)
@given(st.sampled_from(["resnet18", "convnet", "vgg16"]), st.sampled_from((1, 1.25, 1.5, 2)), st.integers(0, 3))
def test_whole_kernels_stay_or_go_together_and_the_count_is_exact(name, factor, seed):
    build = FACTORIES[name]
    model, mask = widen(build, 4, factor, granularity="io", seed=seed)
    assert mask.kept == weights_at(build, 4)
    for name, weight in prunable(model).items():
        alive = mask[name].flatten(2) if weight.dim() > 2 else mask[name].unsqueeze(-1)
        assert torch.equal(alive.any(-1), alive.all(-1))


def test_many_layers_without_single_weights_round_to_whole_kernels():
    shapes = {f"conv{i}": (8, 8, 3, 3) for i in range(40)} | {"short": (2, 2, 1, 1), "stem": (3, 3, 11, 11)}
    for keep in range(4000, 4100, 11):
        whole = counts_of(shapes, keep, "balanced", "io")
        assert sum(whole.values()) == keep
        assert all(count % (shapes[n][2] ** 2) == 0 and count > 0 for n, count in whole.items() if n != "stem")


def test_whole_kernels_are_as_near_as_can_be_to_the_rule():
    shapes = {"a": (8, 8, 3, 3), "b": (4, 4, 5, 5), "c": (6, 10)}
    for keep in range(100, 900, 7):
        free = counts_of(shapes, keep, "balanced", "weight")
        whole = counts_of(shapes, keep, "balanced", "io")
        assert sum(whole.values()) == keep
        assert whole["a"] % 9 == whole["b"] % 25 == 0
        assert all(abs(whole[n] - free[n]) <= 60 for n in shapes)
    with pytest.raises(
        InputError, match="100 weights, which whole kernels of 9 cannot add up to; allowed near it are multiples of 9"
    ):
        counts_of({"a": (8, 8, 3, 3)}, 100, "balanced", "io")


def test_a_layer_in_whole_kernels_starts_at_the_scale_of_its_effective_fan_in():
    torch.manual_seed(0)
    build = lambda w: torch.nn.Sequential(torch.nn.Conv2d(3, 8 * w, 3), torch.nn.Conv2d(8 * w, 64, 3))  # noqa: E731
    model, mask = widen(build, 4, 8, granularity="io")
    for name, weight in prunable(model).items():
        alive, layer = weight.detach()[mask[name]], {x.name: x for x in mask.layers()}[name]
        fan_in = weight[0].numel() * layer.connectivity
        assert float(alive.square().mean()) == pytest.approx(1 / (3 * fan_in), rel=0.1)


def test_a_function_of_ones_own_shares_out_the_weights():
    def first_dense(shapes, keep):
        first, second = shapes
        return {first: keep - 40, second: 40}

    model, mask = widen(lambda w: mlp(20, 10, width=w), 4, 2, distribution=first_dense)
    assert [layer.kept for layer in mask.layers()] == [80, 40]
    assert plan(lambda w: mlp(20, 10, width=w), 4, 2, distribution=first_dense).layers == mask.layers()
    assert model.output.weight.count_nonzero() == 40


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda shapes, keep: [keep], InputTypeError, "the function gave a list"),
        (lambda shapes, keep: {"hidden1.weight": keep}, InputError, "'output.weight'"),
        (lambda shapes, keep: dict.fromkeys(shapes, 1), InputError, "gave 2 weights in all, allowed is 120"),
        (lambda shapes, keep: dict(zip(shapes, (keep + 1, -1), strict=True)), InputError, "allowed is a whole number"),
        (lambda shapes, keep: dict(zip(shapes, (0.5, keep - 0.5), strict=True)), InputTypeError, "a whole number"),
        ("global", InputError, "distribution: got 'global', allowed are balanced, erk, uniform"),
    ],
)
def test_a_distribution_that_is_none_is_refused(function, error, message):
    with pytest.raises(error, match=message):
        widen(lambda w: mlp(20, 10, width=w), 4, 2, distribution=function)
    model = mlp(20, 10, width=8)
    before = model.hidden1.weight.clone()
    with pytest.raises(error, match=message):
        sparsify_randomly(model, 120, distribution=function)
    assert torch.equal(model.hidden1.weight, before)


def test_the_last_layers_connectivity_is_a_distribution():
    build = lambda w: mlp(784, 10, width=w)  # noqa: E731
    for connectivity, last in ((1.0, 800), (0.5, 400), (0.1, 80)):
        _, mask = widen(build, 5, 16, distribution=LastLayer(connectivity))
        assert [layer.kept for layer in mask.layers()] == [3970 - last, last]
    with pytest.raises(InputError, match=r"allowed is 0\.000156 to 0\.62 for 3970 weights"):
        widen(build, 5, 128, distribution=LastLayer(1.0))
    with pytest.raises(InputError, match="last_layer_connectivity: got 0"):
        LastLayer(0)


def test_too_few_weights_for_the_units_names_the_largest_factor():
    build = lambda w: mlp(784, 10, width=w)  # noqa: E731
    with pytest.raises(InputError, match=r"factor: got 500 with sparse, allowed is at most 397 \(width 1985\)"):
        widen(build, 5, 500)
    assert all(layer.kept >= 10 for layer in widen(build, 5, 397)[1].layers())
    with pytest.raises(InputError, match="'output.weight' has 10 units and would keep 5 weights"):
        widen(build, 5, 16, distribution=lambda shapes, keep: dict(zip(shapes, (keep - 5, 5), strict=True)))


def test_the_report_tells_every_layer():
    found = plan(by_width("resnet18"), 8, 4)
    text = found.report()
    assert len(text.splitlines()) == 21 + 2
    assert text.endswith("sparse, width 8 to 32, 175,192 weights met: exactly")
    assert "inner size" in plan(by_width("resnet18"), 8, 2, "linear_bottleneck").report()


def test_the_picture_has_a_line_for_each_width(tmp_path):
    plans = [plan(by_width("resnet18"), 8, factor) for factor in (1, 4)]
    figure = distribution(plans)
    top, foot = figure.axes
    assert [len(line.get_ydata()) for line in foot.lines] == [21, 21]
    assert foot.lines[1].get_ydata()[0] == 100
    assert min(foot.lines[1].get_ydata()) == pytest.approx(100 * min(x.connectivity for x in plans[1].layers))
    assert {text.get_text() for text in top.get_legend().get_texts()} == {"width 8, sparse", "width 32, sparse"}
    figure.savefig(tmp_path / "a.svg")
    assert (tmp_path / "a.svg").stat().st_size > 1000
    for wrong in ([], [plans[0], plan(convnet, 2, 2)]):
        with pytest.raises(InputError, match="plans: got"):
            distribution(wrong)


def test_every_built_in_network_has_a_width():
    for name in ("resnet20", "residual_mlp", "gpt", "vanilla_cnn"):
        given = {"in_features": 5, "out_features": 2} if name == "residual_mlp" else {}
        build = by_width(name, **given)
        assert weights_at(build, 2) < weights_at(build, 3)
        assert widen(build, 4, 1.5)[1].kept == weights_at(build, 4)
    for call, message in (
        (lambda: by_width("resnet19"), "did you mean"),
        (lambda: by_width("mlp", in_features=3), "got no out_features"),
        (lambda: by_width("vit", width=3), "argument of vit"),
        (lambda: by_width("vit")(0), "width: got 0"),
    ):
        with pytest.raises(InputError, match=message):
            call()
