"""The whole of pruning: exact counts, reproducible, nested, gentle with the model, clear when it refuses."""

from __future__ import annotations

import copy
import warnings
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from widthwise.errors import CollapseError, CollapseWarning, InputError, InputTypeError
from widthwise.masks import Mask
from widthwise.pruning import critical_sparsity, prune, register_score, score_names, scores
from widthwise.pruning.allocation import SCOPES, balanced, erk, uniform
from widthwise.pruning.scores import registry
from widthwise.weights import prunable


def mlp(*widths, act=nn.Tanh):
    layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), act())]
    return nn.Sequential(*layers[:-1])


def batch(n=24, width=6, classes=3):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(n, width, generator=generator), torch.arange(n) % classes


@pytest.fixture
def model():
    return mlp(6, 20, 10, 3)


LOSS = functional.cross_entropy


def state(model):
    return (
        copy.deepcopy(model.state_dict()),
        [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        [module.training for module in model.modules()],
        torch.get_rng_state(),
        Mask.of(model),
    )


def same(first, second):
    return (
        list(first[0]) == list(second[0])
        and all(torch.equal(v, second[0][k]) for k, v in first[0].items())
        and all(a is b is None or torch.equal(a, b) for a, b in zip(first[1], second[1], strict=True))
        and first[2] == second[2]
        and torch.equal(first[3], second[3])
        and first[4] == second[4]
    )


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("method", ["random", "magnitude", "snip"])
@pytest.mark.parametrize("rounds", [1, 3])
def test_exactly_as_many_weights_as_asked(model, method, scope, rounds):
    mask = prune(model, budget=77, method=method, data=batch(), loss=LOSS, scope=scope, rounds=rounds)
    assert mask.kept == 77 == sum(int((p != 0).sum()) for p in prunable(model).values())
    assert Mask.of(model) == mask


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=5),
    st.sampled_from(SCOPES),
    st.sampled_from(["random", "magnitude", "snip"]),
    st.integers(1, 3),
    st.data(),
)
def test_budgets_are_met_on_any_network(widths, scope, method, rounds, data):
    torch.manual_seed(0)
    model = mlp(*widths)
    total = sum(a * b for a, b in pairwise(widths))
    budget = data.draw(st.integers(1, total))
    sample = torch.randn(4, widths[0]), torch.randn(4, widths[-1])
    mask = prune(
        model,
        budget=budget,
        method=method,
        data=sample,
        loss=functional.mse_loss,
        scope=scope,
        rounds=min(rounds, total),
        on_collapse="allow",
    )
    assert mask.kept == budget


def test_scopes_follow_their_rules(model):
    shapes = {n: tuple(p.shape) for n, p in prunable(model).items()}
    sizes = {n: p.numel() for n, p in prunable(model).items()}
    expected = {"uniform": uniform(sizes, 100), "erk": erk(shapes, 100), "balanced": balanced(sizes, 100)}
    for scope, counts in expected.items():
        mask = prune(copy.deepcopy(model), budget=100, method="magnitude", scope=scope)
        assert {layer.name: layer.kept for layer in mask.layers()} == counts


def test_the_largest_scores_are_kept(model):
    score = scores.snip(model, batch(), LOSS)
    weights = copy.deepcopy(model.state_dict())
    mask = prune(model, 0.7, "snip", batch(), LOSS)
    kept = torch.cat([score[n][mask[n]] for n in mask])
    dropped = torch.cat([score[n][~mask[n]] for n in mask])
    assert kept.min() >= dropped.max()
    assert all(torch.equal(p, weights[n] * mask[n]) for n, p in prunable(model).items())


@pytest.mark.parametrize("method", ["random", "magnitude", "snip"])
@pytest.mark.parametrize("scope", ["global", "uniform", "erk"])
def test_masks_are_nested_over_sparsities(model, method, scope):
    previous = Mask.dense(model)
    for sparsity in (0.1, 0.3, 0.5, 0.7, 0.8):
        twin = copy.deepcopy(model)
        mask = prune(twin, sparsity, method, batch(), LOSS, scope=scope, seed=3, on_collapse="allow")
        assert mask & previous == mask
        previous = mask


def test_the_same_seed_gives_the_same_mask_whatever_the_global_generator(model):
    masks = []
    for noise, seed in ((1, 7), (2, 7), (3, 8)):
        torch.manual_seed(noise)
        masks.append(prune(copy.deepcopy(model), 0.5, "random", seed=seed))
    assert masks[0] == masks[1] != masks[2]


def test_random_masks_never_change():
    mask = prune(nn.Linear(4, 4), budget=6, method="random", seed=0)
    assert mask["weight"].flatten().nonzero().flatten().tolist() == [0, 1, 5, 7, 9, 15]


def test_a_loader_gives_the_mask_of_the_whole_batch(model):
    x, y = batch(24)
    loader = DataLoader(TensorDataset(x, y), batch_size=7, shuffle=True)
    whole = prune(copy.deepcopy(model).double(), 0.5, "snip", (x.double(), y), LOSS)
    parts = prune(copy.deepcopy(model).double(), 0.5, "snip", [(a.double(), b) for a, b in loader], LOSS)
    assert whole == parts
    assert prune(copy.deepcopy(model), 0.5, "snip", loader, LOSS, rounds=3, seed=1) == prune(
        copy.deepcopy(model), 0.5, "snip", loader, LOSS, rounds=3, seed=1
    )


def test_a_generator_serves_all_rounds(model):
    x, y = batch()
    batches = [(x[i : i + 8], y[i : i + 8]) for i in (0, 8, 16)]
    listed = prune(copy.deepcopy(model), 0.5, "snip", batches, LOSS, rounds=3)
    assert prune(model, 0.5, "snip", (b for b in batches), LOSS, rounds=3) == listed


def test_examples_per_class_are_the_first_of_each(model):
    x, y = batch(30)
    y = y[torch.randperm(30)]
    rows = sorted(i for c in range(3) for i in (y == c).nonzero().flatten()[:4].tolist())
    expected = prune(copy.deepcopy(model), 0.5, "snip", (x[rows], y[rows]), LOSS)
    loader = [(x[:11], y[:11]), (x[11:], y[11:])]
    assert prune(copy.deepcopy(model), 0.5, "snip", (x, y), LOSS, examples_per_class=4) == expected
    assert prune(copy.deepcopy(model), 0.5, "snip", loader, LOSS, examples_per_class=4) == expected


@pytest.mark.parametrize("labels", [torch.rand(24), torch.zeros(24, 2).long(), torch.zeros(3).long(), [0] * 24])
def test_examples_per_class_need_classes(model, labels):
    with pytest.raises(InputError, match="examples_per_class: got labels"):
        prune(model, 0.5, "snip", (batch()[0], labels), LOSS, examples_per_class=1)


def test_too_few_examples_of_a_class(model):
    with pytest.raises(InputError, match="examples_per_class: got 9, allowed are at most 8, class 0"):
        prune(model, 0.5, "snip", batch(), LOSS, examples_per_class=9)
    with pytest.raises(InputError, match="data: got None, but examples_per_class"):
        prune(model, 0.5, "magnitude", examples_per_class=1)


def test_rounds_score_the_network_that_is_left(model):
    """Three rounds by hand: zero, score, keep the best of the living."""
    hand = copy.deepcopy(model).double()
    data = batch()[0].double(), batch()[1]
    weights = prunable(hand)
    original = {n: p.detach().clone() for n, p in weights.items()}
    alive = {n: torch.ones_like(p, dtype=torch.bool) for n, p in weights.items()}
    total = sum(p.numel() for p in weights.values())
    for keep in (round(total * (60 / total) ** (1 / 3)), round(total * (60 / total) ** (2 / 3)), 60):
        gradients = torch.autograd.grad(LOSS(hand(data[0]), data[1]), list(weights.values()))
        score = {n: (p * g).abs().detach() for (n, p), g in zip(weights.items(), gradients, strict=True)}
        bar = torch.cat([s[alive[n]] for n, s in score.items()]).sort(descending=True).values[keep - 1]
        for n, p in weights.items():
            alive[n] = alive[n] & (score[n] >= bar)
            p.data = original[n] * alive[n]
    mask = prune(model.double(), budget=60, method="snip", data=data, loss=LOSS, rounds=3)
    assert mask == Mask(alive)
    assert all(torch.equal(p, original[n] * alive[n]) for n, p in prunable(model).items())


def test_pruning_again_goes_on_from_the_mask_in_force(model):
    first = prune(model, 0.5, "magnitude")
    with pytest.raises(InputError, match=f"sparsity: got 0.31, which keeps 241 weights, but .* {first.kept};"):
        prune(model, 0.31, "random")
    with pytest.raises(InputError, match="budget: got 241, which keeps 241"):
        prune(model, budget=241, method="random")
    second = prune(model, 0.7, "random")
    assert second & first == second
    assert Mask.of(model) == second


def test_other_parameters_and_the_mode_are_left_alone():
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 3))
    model[0].bias.grad = torch.ones(8)
    before = state(model)
    loader = DataLoader(TensorDataset(*batch()), batch_size=8, shuffle=True)
    mask = prune(copy.deepcopy(model), 0.5, "snip", loader, LOSS, rounds=2)
    mask.apply(model)
    after = state(model)
    assert torch.equal(before[3], after[3])
    for key, value in before[0].items():
        assert torch.equal(after[0][key], value * mask[key] if key in mask else value)


class Failing:
    def __call__(self, output, y):
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls == 3:
            raise RuntimeError("the loss fails in the third round")
        return LOSS(output, y)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"sparsity": 0.5, "loss": Failing(), "rounds": 4}, InputError),
        ({"sparsity": 0.995}, CollapseError),
        ({"sparsity": 0.995, "rounds": 5}, CollapseError),
        ({"sparsity": 0.5, "data": (batch()[0] * float("nan"), batch()[1])}, InputError),
        (
            {"sparsity": 0.5, "method": lambda m, d, f: {n: p * float("nan") for n, p in prunable(m).items()}},
            InputError,
        ),
    ],
)
def test_on_an_error_the_model_is_untouched(arguments, error):
    model = nn.Sequential(nn.Linear(6, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 3))
    Mask({n: torch.rand_like(p) > 0.1 for n, p in prunable(model).items()}).apply(model)
    before = state(model)
    with pytest.raises(error):
        prune(model, **{"method": "snip", "data": batch(), "loss": LOSS, **arguments})
    assert same(before, state(model))


def test_a_user_score_works_everywhere(model):
    @register_score("test-largest-index", rounds=2)
    def largest_index(model, data, loss):
        return {n: torch.arange(p.numel()).view(p.shape) for n, p in prunable(model).items()}

    try:
        assert "test-largest-index" in score_names()
        mask = prune(model, 0.5, "test-largest-index", scope="uniform")
        for tensor in mask.values():
            flat = tensor.flatten()
            assert not flat[: len(flat) // 2].any()
            assert flat[len(flat) // 2 :].all()
        assert prune(mlp(6, 20, 10, 3), 0.5, largest_index, scope="uniform") == mask
        register_score("test-largest-index")(largest_index)
        with pytest.raises(InputError, match="'test-largest-index' belongs to another score"):
            register_score("test-largest-index")(lambda model, data, loss: {})
    finally:
        registry._METHODS.pop("test-largest-index")


@pytest.mark.parametrize("taken", ["snip", "magnitude"])
def test_built_in_names_are_taken(taken):
    with pytest.raises(InputError, match=f"name: '{taken}' belongs to another score"):
        register_score(taken)(lambda model, data, loss: {})


@pytest.mark.parametrize(
    ("score", "error", "message"),
    [
        (lambda m, d, f: [1], InputTypeError, "returned list, allowed is a mapping"),
        (lambda m, d, f: {"0.weight": torch.ones(20, 6)}, InputError, "returned None for '2.weight'"),
        (lambda m, d, f: {n: p.T for n, p in prunable(m).items()}, InputError, r"\(6, 20\) for '0.weight'"),
        (lambda m, d, f: {**prunable(m), "extra": torch.ones(2, 2)}, InputError, r"\(2, 2\) for 'extra'"),
        (lambda m, d, f: {n: p.tolist() for n, p in prunable(m).items()}, InputError, "list"),
        (lambda m, d, f: {n: p / 0 for n, p in prunable(m).items()}, InputError, r"scores\['0.weight'\]: 120 of 120"),
    ],
)
def test_bad_scores_of_users_are_refused(model, score, error, message):
    with pytest.raises(error, match=message):
        prune(model, 0.5, score)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, InputError, "sparsity, budget: got None and None, allowed is exactly one"),
        ({"sparsity": 0.5, "budget": 3}, InputError, "sparsity, budget: got 0.5 and 3"),
        ({"sparsity": 1.0}, InputError, r"sparsity: got 1.0, allowed is a number in \[0, 1\)"),
        ({"sparsity": -0.1}, InputError, "sparsity"),
        ({"sparsity": float("nan")}, InputError, "sparsity"),
        ({"sparsity": "0.5"}, InputTypeError, "sparsity"),
        ({"budget": 0}, InputError, "budget: got 0, allowed is a whole number, 1 to 350"),
        ({"budget": 351}, InputError, "budget: got 351"),
        ({"budget": 3.0}, InputTypeError, "budget"),
        ({"sparsity": 0.5, "method": "snap"}, InputError, "method: got 'snap', allowed are .*did you mean 'snip'"),
        ({"sparsity": 0.5, "method": 3}, InputTypeError, "method: got int"),
        ({"sparsity": 0.5, "scope": "local"}, InputError, "scope: got 'local', allowed are balanced, erk"),
        ({"sparsity": 0.5, "rounds": 0}, InputError, "rounds: got 0"),
        ({"sparsity": 0.5, "seed": -1}, InputError, "seed"),
        ({"sparsity": 0.5, "seed": 2**64}, InputError, "seed"),
        ({"sparsity": 0.5, "on_collapse": "ignore"}, InputError, "got 'ignore', allowed are allow, raise, warn"),
        ({"sparsity": 0.5, "examples_per_class": 0}, InputError, "examples_per_class"),
        ({"sparsity": 0.5, "data": None}, InputError, "data: got None, but method 'snip' needs"),
        ({"sparsity": 0.5, "loss": None}, InputError, "loss: got None, but method 'snip' needs"),
        ({"sparsity": 0.5, "loss": 3}, InputTypeError, "loss: got 3 of type int"),
        ({"sparsity": 0.5, "data": torch.ones(3, 6)}, InputTypeError, "data: got Tensor"),
        ({"sparsity": 0.5, "data": 7}, InputTypeError, "data: got int"),
        ({"sparsity": 0.5, "data": []}, InputError, "data: got no batches"),
        ({"sparsity": 0.5, "data": [torch.ones(3, 6)]}, InputTypeError, "data: got a batch of type Tensor"),
        ({"sparsity": 0.5, "data": (torch.ones(0, 6), torch.ones(0).long())}, InputError, r"x of shape \(0, 6\)"),
        ({"sparsity": 0.5, "data": (torch.ones(3, 6, device="meta"), torch.zeros(3))}, InputError, "x on meta"),
    ],
)
def test_bad_arguments_are_refused(model, arguments, error, message):
    before = state(model)
    with pytest.raises(error, match=message):
        prune(model, **{"data": batch(), "loss": LOSS, **arguments})
    assert same(before, state(model))


def test_an_emptied_layer_is_refused_by_name_with_the_critical_sparsity(model):
    with torch.no_grad():
        model[2].weight.mul_(1e-3)
    critical = critical_sparsity(scores.magnitude(model))
    with pytest.raises(
        CollapseError, match=rf"layer '2.weight' keeps none of its 200 weights .* is {critical:.6g}; lower"
    ):
        prune(model, 0.9, "magnitude")
    assert Mask.of(model) is None
    with pytest.warns(CollapseWarning, match=r"layer '2.weight' keeps none"):
        prune(copy.deepcopy(model), 0.9, "magnitude", on_collapse="warn")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mask = prune(copy.deepcopy(model), 0.9, "magnitude", on_collapse="allow")
    assert not mask["2.weight"].any()


def test_the_critical_sparsity_is_exactly_where_pruning_begins_to_fail(model):
    for seed in range(3):
        score = {n: p.detach().abs().round(decimals=1) for n, p in prunable(model).items()}
        critical = critical_sparsity(score, seed=seed)
        kept_then = round(350 * (1 - critical))
        twin = copy.deepcopy(model)
        prune(twin, budget=kept_then + 1, method=lambda m, d, f, s=score: s, seed=seed, on_collapse="allow")
        assert all(layer.kept for layer in Mask.of(twin).layers())
        with pytest.raises(CollapseError):
            prune(copy.deepcopy(model), critical, lambda m, d, f, s=score: s, seed=seed)


def test_cut_paths_are_refused():
    model = mlp(4, 3, 2)
    score = {"0.weight": torch.zeros(3, 4), "2.weight": torch.zeros(2, 3)}
    score["0.weight"][0], score["2.weight"][:, 1:] = 1.0, 1.0
    with pytest.raises(CollapseError, match=r"every path from input to output is cut at '2.weight'"):
        prune(model, budget=8, method=lambda m, d, f: score)
    with pytest.warns(CollapseWarning, match="every path"):
        prune(copy.deepcopy(model), budget=8, method=lambda m, d, f: score, on_collapse="warn")
    assert prune(model, budget=8, method=lambda m, d, f: score, on_collapse="allow").kept == 8


def test_models_of_every_kind_can_be_pruned():
    embedding = nn.Sequential(nn.Embedding(9, 6), nn.Flatten(), nn.Linear(18, 3))
    tokens = torch.randint(0, 9, (24, 3)), torch.arange(24) % 3
    mask = prune(embedding, 0.5, "snip", tokens, LOSS)
    assert mask.kept == 54

    encoder = nn.Sequential(
        nn.Unflatten(1, (3, 2)), nn.TransformerEncoderLayer(2, 1, 4, 0.1, batch_first=True), nn.Flatten()
    )
    assert prune(encoder, 0.5, "snip", batch(), LOSS).sparsity == pytest.approx(0.5, abs=0.02)

    single = nn.Linear(6, 3)
    assert prune(torch.compile(single, backend="eager"), 0.5, "snip", batch(), LOSS) == Mask.of(single)


def test_there_are_no_more_rounds_than_weights():
    assert prune(nn.Linear(4, 3), 0.5, "magnitude", rounds=12).kept == 6
    for rounds in (13, 10**9):
        with pytest.raises(InputError, match=f"rounds: got {rounds}, allowed is a whole number, 1 to 12"):
            prune(nn.Linear(4, 3), 0.5, "magnitude", rounds=rounds)
