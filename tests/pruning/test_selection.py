"""Exactly so many weights, the same ones every time, smaller choices within larger ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from widthwise.errors import InputError, InputTypeError
from widthwise.pruning.selection import random_masks, select, tie_order


@st.composite
def tied_scores(draw):
    shapes = draw(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)), min_size=1, max_size=4))
    if not any(a * b for a, b in shapes):
        shapes.append((2, 2))
    values = st.sampled_from([-1.0, -0.0, 0.0, 0.5, 2.0])
    return {
        f"l{i}": torch.tensor(draw(st.lists(values, min_size=a * b, max_size=a * b))).reshape(a, b)
        for i, (a, b) in enumerate(shapes)
    }


def kept(masks):
    return sum(int(mask.sum()) for mask in masks.values())


@settings(deadline=None, max_examples=50)
@given(tied_scores(), st.integers(0, 3), st.data())
def test_exact_counts_and_the_best_first(scores, seed, data):
    total = sum(score.numel() for score in scores.values())
    keep = data.draw(st.integers(0, total))
    masks = select(scores, keep, seed=seed)
    assert kept(masks) == keep
    chosen = torch.cat([scores[n][masks[n]] for n in scores])
    dropped = torch.cat([scores[n][~masks[n]] for n in scores])
    if len(chosen) and len(dropped):
        assert chosen.min() >= dropped.max()


@settings(deadline=None, max_examples=50)
@given(tied_scores(), st.integers(0, 3))
def test_smaller_choices_lie_within_larger_ones(scores, seed):
    total = sum(score.numel() for score in scores.values())
    previous = select(scores, 0, seed=seed)
    for keep in range(1, total + 1):
        masks = select(scores, keep, seed=seed)
        assert all(not (previous[n] & ~masks[n]).any() for n in scores)
        previous = masks


def naive(scores, keep, seed):
    """Sort Python tuples."""
    entries = [(n, i, v) for n, score in scores.items() for i, v in enumerate(score.flatten().tolist())]
    equals = {}
    for at, (_, _, value) in enumerate(entries):
        equals.setdefault(value, []).append(at)
    place = {
        at: p for group in equals.values() for at, p in zip(group, tie_order(len(group), seed).tolist(), strict=True)
    }
    best = sorted(range(len(entries)), key=lambda at: (-entries[at][2], place[at]))[:keep]
    masks = {n: torch.zeros(score.numel(), dtype=torch.bool) for n, score in scores.items()}
    for at in best:
        masks[entries[at][0]][entries[at][1]] = True
    return {n: mask.view(scores[n].shape) for n, mask in masks.items()}


@settings(deadline=None, max_examples=50)
@given(tied_scores(), st.integers(0, 5), st.data())
def test_global_choice_equals_a_plain_sort(scores, seed, data):
    keep = data.draw(st.integers(0, sum(score.numel() for score in scores.values())))
    fast, slow = select(scores, keep, seed=seed), naive(scores, keep, seed)
    assert all(torch.equal(fast[n], slow[n]) for n in scores)


@settings(deadline=None, max_examples=60)
@given(tied_scores(), st.data())
def test_counts_by_layer(scores, data):
    counts = {n: data.draw(st.integers(0, score.numel())) for n, score in scores.items()}
    masks = select(scores, counts)
    assert {n: int(mask.sum()) for n, mask in masks.items()} == counts
    for name, mask in masks.items():
        if 0 < counts[name] < mask.numel():
            assert scores[name][mask].min() >= scores[name][~mask].max()


@settings(deadline=None, max_examples=60)
@given(tied_scores(), st.data())
def test_the_dead_are_never_chosen(scores, data):
    draw = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    alive = {n: torch.rand(score.shape, generator=draw) > 0.5 for n, score in scores.items()}
    keep = data.draw(st.integers(0, kept(alive)))
    masks = select(scores, keep, alive=alive)
    assert kept(masks) == keep
    assert not any((masks[n] & ~alive[n]).any() for n in scores)


def test_more_than_the_living_is_refused():
    scores = {"a": torch.ones(2, 2)}
    alive = {"a": torch.tensor([[True, False], [False, False]])}
    with pytest.raises(InputError, match="keep: got 2 weights .* at most 1"):
        select(scores, 2, alive=alive)
    with pytest.raises(InputError, match="keep: got 5 weights of a"):
        select(scores, {"a": 5})


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_scores_that_are_no_numbers_are_refused(bad):
    with pytest.raises(InputError, match=r"scores\['b'\]: 1 of 2 values are NaN or infinite, first at \(1,\)"):
        select({"a": torch.ones(2, 2), "b": torch.tensor([[1.0, bad]])}, 2)


def test_scores_of_another_type_are_refused():
    for bad in (torch.ones(2, dtype=torch.complex64), [1.0, 2.0], None):
        with pytest.raises(InputTypeError, match="scores: 'a'"):
            select({"a": bad}, 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8])
def test_any_real_dtype(dtype):
    assert select({"a": torch.tensor([3, 1, 2], dtype=dtype)}, 2)["a"].tolist() == [True, False, True]


def test_scores_are_left_alone():
    score = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    select({"a": score}, 1, alive={"a": torch.tensor([True, True, False])})
    assert score.tolist() == [1.0, 2.0, 3.0]


def test_random_masks_are_exact_reproducible_and_differ_by_layer_and_seed():
    shapes, counts = {"a": (8, 8), "b": (8, 8), "c": (3, 2, 2)}, {"a": 20, "b": 20, "c": 5}
    masks = random_masks(shapes, counts, seed=3)
    assert {n: (tuple(m.shape), int(m.sum())) for n, m in masks.items()} == {n: (shapes[n], counts[n]) for n in shapes}
    again, other = random_masks(shapes, counts, seed=3), random_masks(shapes, counts, seed=4)
    assert all(torch.equal(masks[n], again[n]) for n in shapes)
    assert not torch.equal(masks["a"], other["a"])
    assert not torch.equal(masks["a"], masks["b"])


def test_random_masks_choose_every_weight_equally_often():
    often = sum(random_masks({"a": (5, 4)}, {"a": 5}, seed=s)["a"].double() for s in range(1000))
    # 1000 draws with p = 1/4: standard deviation 13.7, twenty cells
    assert (often - 250).abs().max() < 4 * 13.7


def test_the_mask_of_a_seed_never_changes():
    mask = random_masks({"a": (4, 4)}, {"a": 6}, seed=0)["a"]
    assert mask.flatten().nonzero().flatten().tolist() == [7, 8, 11, 12, 13, 15]


def test_bad_seeds_are_refused():
    with pytest.raises(InputTypeError, match="seed"):
        random_masks({"a": (2, 2)}, {"a": 1}, seed=1.5)
    with pytest.raises(InputError, match="seed"):
        random_masks({"a": (2, 2)}, {"a": 1}, seed=-1)
