"""Dead layers, cut paths, and the sparsity at which a layer dies."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from widthwise.errors import CollapseError, InputError
from widthwise.masks import Mask
from widthwise.pruning import critical_sparsity, dead_layers, dead_units, effective_mask, prune, scores
from widthwise.pruning.allocation import keep_count
from widthwise.pruning.collapse import cut_at
from widthwise.pruning.flow import example_input
from widthwise.pruning.selection import select
from widthwise.weights import prunable


@st.composite
def scored_layers(draw):
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    values = st.floats(-3, 3).map(lambda v: round(v, 1))
    return {f"l{i}": torch.tensor(draw(st.lists(values, min_size=n, max_size=n))) for i, n in enumerate(sizes)}


@settings(deadline=None, max_examples=100)
@given(scored_layers(), st.integers(0, 3))
def test_critical_sparsity_by_trying_every_number(scores, seed):
    total = sum(map(len, scores.values()))
    collapsed = [
        kept for kept in range(total + 1) if not all(m.any() for m in select(scores, kept, seed=seed).values())
    ]
    critical = critical_sparsity(scores, seed=seed)
    assert critical == pytest.approx(1 - max(collapsed) / total, abs=1e-12)
    if critical < 1:
        assert keep_count(total, critical) == max(collapsed)


def test_critical_sparsity_of_a_hundred_layers():
    scores = {f"l{i}": torch.full((10, 10), 1.0 / (i + 1)) + torch.rand(10, 10) * 1e-5 for i in range(100)}
    assert critical_sparsity(scores) == pytest.approx(1 - 9900 / 10000)


def test_critical_sparsity_leaves_out_the_dead():
    scores = {"a": torch.tensor([3.0, 2.0]), "b": torch.tensor([1.0, -torch.inf]), "c": torch.tensor([-torch.inf])}
    assert critical_sparsity(scores) == pytest.approx(1 - 2 / 5)
    for bad in ({}, {"a": torch.tensor([])}, {"a": torch.tensor([float("nan")])}, {"a": torch.tensor([-torch.inf])}):
        with pytest.raises(InputError, match="scores: got"):
            critical_sparsity(bad)


def test_dead_layers_are_named():
    mask = Mask({"a": torch.zeros(2, 2) > 0, "b": torch.ones(2, 2) > 0, "empty": torch.zeros(0, 2) > 0})
    assert dead_layers(mask) == ("a",)


def chain(*widths, act=nn.ReLU):
    layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), act())]
    return nn.Sequential(*layers[:-1])


def random_mask(model, density, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Mask({n: torch.rand(p.shape, generator=generator) < density for n, p in prunable(model).items()})


def reachable(masks):
    """Effective weights of a chain of linear layers by products of boolean matrices."""
    forward, backward = (
        [torch.ones(masks[0].shape[1], dtype=torch.bool)],
        [torch.ones(len(masks[-1]), dtype=torch.bool)],
    )
    for mask in masks:
        forward.append((mask & forward[-1]).any(1))
    for mask in reversed(masks):
        backward.append((mask & backward[-1][:, None]).any(0))
    return [mask & f & b[:, None] for mask, f, b in zip(masks, forward, backward[-2::-1], strict=False)]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 6), min_size=3, max_size=6), st.floats(0.1, 0.7), st.integers(0, 50))
def test_effective_weights_of_a_chain_are_those_of_boolean_products(widths, density, seed):
    model = chain(*widths, act=nn.Sigmoid)
    mask = random_mask(model, density, seed)
    expected = reachable(list(mask.values()))
    found = effective_mask(model, mask, torch.ones(1, widths[0]))
    assert all(torch.equal(a, b) for a, b in zip(found.values(), expected, strict=True))
    cut = cut_at(model, mask, torch.ones(1, widths[0]))
    assert (cut is not None) == (found.kept == 0)


def test_the_cut_is_named_where_the_signal_stops():
    model = chain(3, 4, 4, 4, 2)
    mask = dict(Mask.dense(model))
    mask["2.weight"][1:] = False
    mask["4.weight"][:, 0] = False
    assert cut_at(model, Mask(mask), torch.ones(1, 3)) == "4.weight"
    assert effective_mask(model, Mask(mask), torch.ones(1, 3)).kept == 0


@pytest.mark.parametrize("act", [nn.ReLU, nn.Tanh, nn.GELU, nn.Sigmoid, nn.Softplus, nn.LeakyReLU, nn.Hardtanh])
def test_depth_and_activation_do_not_matter(act):
    model = chain(*[64] * 200, act=act)
    mask = random_mask(model, 0.05)
    assert cut_at(model, mask, torch.ones(1, 64)) is None
    found = effective_mask(model, mask, torch.ones(1, 64))
    assert 0.9 < found.kept / mask.kept < 1


class Block(nn.Module):
    """A residual network with a shortcut of 1x1, normalisation and functions of all kinds."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.body, self.shortcut = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = functional.gelu(self.norm(self.stem(x)))
        x = torch.sigmoid(functional.dropout(self.body(x), 0.9) + self.shortcut(x).tanh())
        return functional.softmax(self.head(functional.layer_norm(x.mean((2, 3)), (4,))), -1)


def test_a_residual_branch_may_die_while_the_other_lives():
    model, x = Block(), torch.ones(1, 1, 5, 5)
    mask = dict(Mask.dense(model))
    mask["body.weight"][:] = False
    assert cut_at(model, Mask(mask), x) is None
    found = effective_mask(model, Mask(mask), x)
    assert found["shortcut.weight"].all()
    mask["shortcut.weight"][:, 2:] = False
    mask["stem.weight"][:2] = False
    assert cut_at(model, Mask(mask), x) == "shortcut.weight"


def test_channels_kept_alive_by_batch_norm_alone_are_not_effective():
    """Slimming's zombies: no weight comes in, the bias of BatchNorm goes out."""
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1))
    nn.init.ones_(model[1].bias)
    mask = dict(Mask.dense(model))
    mask["0.weight"][1] = False
    found = effective_mask(model, Mask(mask), torch.ones(1, 1, 4, 4))
    assert found["3.weight"].flatten(1).any(0).tolist() == [True, False, True]
    assert dead_units(found)["0.weight"].tolist() == [False, True, False]
    assert not dead_units(found)["3.weight"].any()


class Attending(nn.Module):
    def __init__(self, **kwargs):
        super().__init__()
        self.attention, self.read = nn.MultiheadAttention(4, 2, batch_first=True, **kwargs), nn.Linear(4, 2)

    def forward(self, x):
        return self.read(self.attention(x, x, x)[0])


@pytest.mark.parametrize("kwargs", [{}, {"kdim": 4, "vdim": 4}, {"dropout": 0.5}])
def test_attention_lets_queries_keys_and_values_through(kwargs):
    model, x = Attending(**kwargs), torch.ones(1, 3, 4)
    assert effective_mask(model, Mask.dense(model), x) == Mask.dense(model)
    mask = dict(Mask.dense(model))
    mask["attention.out_proj.weight"][:, 0] = False
    mask["attention.out_proj.weight"][:, 2] = False
    found = effective_mask(model, Mask(mask), x)
    values = (
        found["attention.in_proj_weight"][8:]
        if "attention.in_proj_weight" in found
        else found["attention.v_proj_weight"]
    )
    assert values.any(1).tolist() == [False, True, False, True]


class Dotted(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(4, 12)

    def forward(self, x):
        return functional.scaled_dot_product_attention(*self.qkv(x).chunk(3, -1), is_causal=True)


def test_attention_as_a_function():
    model = Dotted()
    assert effective_mask(model, Mask.dense(model), torch.ones(1, 3, 4)) == Mask.dense(model)


class WrittenOut(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.qkv, self.hidden = nn.Linear(4, 12), hidden

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        later = torch.ones(x.shape[1], x.shape[1]).triu(1).bool()
        return (q @ k.mT).masked_fill(later, self.hidden).softmax(-1) @ v


@pytest.mark.parametrize("hidden", [-torch.inf, -1e9])
def test_attention_written_out(hidden):
    model = WrittenOut(hidden)
    data = torch.randn(2, 3, 4), None
    assert effective_mask(model, Mask.dense(model), torch.ones(1, 3, 4)) == Mask.dense(model)
    shares = scores.synflow(model, data)["qkv.weight"]
    assert [part.sum().item() for part in shares.chunk(3)] == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_networks_are_not_cut(kind):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.read = kind(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x):
            return self.read(self.cell(x)[0][:, -1])

    model = Last()
    assert cut_at(model, Mask.dense(model), torch.ones(1, 5, 3)) is None
    mask = dict(Mask.dense(model))
    mask["read.weight"][:] = False
    assert cut_at(model, Mask(mask), torch.ones(1, 5, 3)) == "read.weight"


def test_a_probe_that_says_nothing_accuses_nobody():
    class Difference(nn.Linear):
        def forward(self, x):
            return super().forward(x) - super().forward(x)

    model = Difference(3, 2)
    assert cut_at(model, Mask.dense(model), torch.ones(1, 3)) is None


def test_the_probe_leaves_the_model_alone():
    model = Block()
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    state = torch.get_rng_state()
    effective_mask(model, random_mask(model, 0.5), torch.ones(2, 1, 5, 5))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in model.parameters())


def test_convolutional_networks_are_checked_with_an_example_of_the_data():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 1, 3), nn.Flatten(), nn.Linear(4, 2))
    score = {n: torch.ones_like(p) for n, p in prunable(model).items()}
    score["0.weight"][0], score["2.weight"][:, 1] = 0, 0
    data = torch.randn(3, 1, 6, 6), torch.zeros(3).long()
    with pytest.raises(CollapseError, match=r"cut at '2.weight'"):
        prune(model, budget=26, method=lambda m, d, f: score, data=data)
    assert prune(model, budget=26, method=lambda m, d, f: score).kept == 26


def test_example_inputs():
    assert torch.equal(example_input(nn.Linear(5, 2), None), torch.ones(1, 5))
    assert example_input(nn.Conv2d(1, 2, 3), None) is None
    x = torch.randn(7, 2, 4)
    assert torch.equal(example_input(nn.Conv1d(2, 2, 3), (x, None)), torch.ones(1, 2, 4))
    tokens = torch.randint(0, 9, (7, 4))
    assert torch.equal(example_input(nn.Embedding(9, 2), [(tokens, None)]), tokens[:1])


def test_outputs_may_be_nested():
    class Many(nn.Linear):
        def forward(self, x):
            out = super().forward(x)
            return {"out": out, "aux": [out * 2, (None, out.argmax(-1))]}

    model = Many(3, 2)
    assert effective_mask(model, Mask.dense(model), torch.ones(1, 3)) == Mask.dense(model)
