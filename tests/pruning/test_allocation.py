"""Counts are exact, fair, monotone and blind to the layers' order."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from widthwise.errors import InputError, InputTypeError
from widthwise.pruning.allocation import SCOPES, allocate, balanced, erk, keep_count, uniform

SHAPES = st.lists(st.lists(st.integers(0, 12), min_size=2, max_size=4).map(tuple), min_size=1, max_size=7)


def named(items):
    return {f"layer{i}": item for i, item in enumerate(items)}


def size_of(shapes):
    return {name: math.prod(shape) for name, shape in shapes.items()}


@st.composite
def problems(draw):
    shapes = named(draw(SHAPES))
    return shapes, draw(st.integers(0, sum(size_of(shapes).values())))


@pytest.mark.parametrize("scope", [scope for scope in SCOPES if scope != "global"])
@settings(deadline=None, max_examples=60)
@given(problem=problems())
def test_every_rule_meets_the_total_within_the_sizes(scope, problem):
    shapes, keep = problem
    counts = allocate(scope, shapes, keep, size_of(shapes))
    assert list(counts) == list(shapes)
    assert sum(counts.values()) == keep
    assert all(0 <= counts[name] <= size for name, size in size_of(shapes).items())


def greedy_webster(shares, room, keep):
    """Deal one seat after the other: the definition, slowly."""
    counts = dict.fromkeys(shares, 0)
    for _ in range(keep):
        free = [name for name in shares if counts[name] < room[name]]
        counts[max(free, key=lambda n: Fraction(shares[n], 2 * counts[n] + 1))] += 1
    return counts


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 30)), min_size=1, max_size=6), st.data())
def test_uniform_and_erk_are_webster_seat_by_seat(layers, data):
    shapes = named(layers)
    sizes = size_of(shapes)
    keep = data.draw(st.integers(0, sum(sizes.values())))
    assert uniform(sizes, keep) == greedy_webster(sizes, sizes, keep)
    assert erk(shapes, keep) == greedy_webster({n: sum(s) for n, s in shapes.items()}, sizes, keep)


@settings(deadline=None, max_examples=60)
@given(problem=problems())
def test_uniform_and_erk_never_take_a_weight_back(problem):
    shapes, keep = problem
    for scope in ("uniform", "erk") if keep else ():
        less = allocate(scope, shapes, keep - 1, size_of(shapes))
        more = allocate(scope, shapes, keep, size_of(shapes))
        assert all(less[name] <= more[name] for name in shapes)


def test_uniform_stays_within_one_weight_of_its_share():
    sizes = {"a": 784 * 300, "b": 300 * 100, "c": 1000}
    for keep in (1, 10, 999, 26620, 200_000):
        counts = uniform(sizes, keep)
        assert all(abs(counts[n] - size * keep / sum(sizes.values())) < 1 for n, size in sizes.items())


def test_erk_caps_at_one_and_redistributes_exactly():
    shapes = {"big": (100, 100, 3, 3), "thin": (10, 10), "wide": (1000, 10)}
    keep = 60_000
    counts = erk(shapes, keep)
    share = {name: sum(shape) for name, shape in shapes.items()}
    assert counts["thin"] == 100
    assert counts["wide"] == 10_000
    assert counts["big"] == keep - 10_100
    open_counts = erk(shapes, 500)
    assert all(abs(open_counts[n] - 500 * share[n] / sum(share.values())) <= 0.5 + 1e-9 for n in shapes)


def level_reached_weight_by_weight(sizes, keep):
    """Take one weight at a time from a largest layer; the most that a layer then has."""
    counts = dict(sizes)
    for _ in range(sum(sizes.values()) - keep):
        counts[max(counts, key=counts.__getitem__)] -= 1
    return max(counts.values())


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.data())
def test_balanced_is_water_filling_and_the_largest_pay_the_odd_weights(sizes, data):
    sizes = named(sizes)
    keep = data.draw(st.integers(0, sum(sizes.values())))
    counts, level = balanced(sizes, keep), level_reached_weight_by_weight(sizes, keep)
    largest_first = sorted(sizes, key=sizes.__getitem__, reverse=True)
    paid = [min(sizes[name], level) - counts[name] for name in largest_first]
    assert sum(paid) < len(sizes)
    for name, later in zip(largest_first, range(1, len(paid) + 1), strict=True):
        assert counts[name] == 0 or not any(paid[later:])


def figure_4(sizes, remove):
    """The paper's procedure, for targets within its bins; layers sorted, largest first."""
    differences = [a - b for a, b in itertools.pairwise(sizes)]
    limits = [sum((i + 1) * d for i, d in enumerate(differences[:k])) for k in range(1, len(sizes))]
    reached = next(k for k, limit in enumerate(limits) if limit >= remove)
    frozen = [sum(differences[i:reached]) for i in range(reached)] + [0]
    rest, odd = divmod(remove - sum(frozen), reached + 1)
    frozen = [f + rest for f in frozen] + [0] * (len(sizes) - reached - 1)
    frozen[0] += odd
    return [size - f for size, f in zip(sizes, frozen, strict=True)]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 60), min_size=2, max_size=6, unique=True), st.data())
def test_balanced_is_figure_4_where_that_is_defined(sizes, data):
    sizes = sorted(sizes, reverse=True)
    last_bin = sum(size - sizes[-1] for size in sizes)
    remove = data.draw(st.integers(0, last_bin))
    expected = figure_4(sizes, remove)
    assume(min(expected) >= 0)  # it may take more from the largest layer than that has left
    assert list(balanced(named(sizes), sum(sizes) - remove).values()) == expected


def test_balanced_beyond_the_last_bin_cuts_all_layers_alike():
    assert balanced({"a": 50, "b": 30, "c": 20}, 30) == {"a": 10, "b": 10, "c": 10}
    assert balanced({"a": 50, "b": 30, "c": 20}, 29) == {"a": 9, "b": 10, "c": 10}
    assert balanced({"a": 50, "b": 30, "c": 20}, 1) == {"a": 0, "b": 0, "c": 1}
    assert balanced({"a": 50, "b": 30, "c": 20}, 0) == {"a": 0, "b": 0, "c": 0}


@settings(deadline=None, max_examples=60)
@given(problem=problems(), order=st.randoms(use_true_random=False))
def test_the_order_of_layers_matters_only_between_equals(problem, order):
    shapes, keep = problem
    sizes = size_of(shapes)
    names = order.sample(list(shapes), len(shapes))
    for scope in ("uniform", "erk", "balanced"):
        first = allocate(scope, shapes, keep, sizes)
        second = allocate(scope, {name: shapes[name] for name in names}, keep, {name: sizes[name] for name in names})
        if scope != "balanced":
            assert all(abs(first[name] - second[name]) <= 1 for name in names)
        elif len(set(sizes.values())) == len(sizes):
            assert first == second


@settings(deadline=None, max_examples=60)
@given(problem=problems(), data=st.data())
def test_room_is_respected(problem, data):
    shapes, _ = problem
    room = {name: data.draw(st.integers(0, size)) for name, size in size_of(shapes).items()}
    keep = data.draw(st.integers(0, sum(room.values())))
    for scope in ("uniform", "erk", "balanced"):
        counts = allocate(scope, shapes, keep, room)
        assert sum(counts.values()) == keep
        assert all(counts[name] <= room[name] for name in shapes)


def test_global_leaves_the_choice_to_the_scores():
    assert allocate("global", {"a": (3, 3)}, 4, {"a": 9}) == 4


@settings(deadline=None)
@given(st.integers(1, 10**7), st.data())
def test_keep_count_inverts_a_fraction_removed(total, data):
    kept = data.draw(st.integers(1, total))
    assert keep_count(total, 1 - kept / total) == kept


def test_keep_count_rounds_to_the_nearest():
    assert keep_count(10, 0.0) == 10
    assert keep_count(10, 0.94) == 1
    assert keep_count(10, 0.96) == 0
    assert keep_count(266_200, 0.9) == 26_620


@pytest.mark.parametrize("sparsity", [1.0, -0.1, math.nan, math.inf, 2])
def test_sparsity_outside_its_interval_is_refused(sparsity):
    with pytest.raises(InputError, match="sparsity"):
        keep_count(10, sparsity)


def test_impossible_totals_are_refused():
    for rule in (uniform, balanced):
        with pytest.raises(InputError, match=r"keep: got 4, allowed .* 0 to 3"):
            rule({"a": 2, "b": 1}, 4)
        with pytest.raises(InputError, match="keep"):
            rule({"a": 2}, -1)
    with pytest.raises(InputTypeError, match="keep"):
        erk({"a": (2, 2)}, 1.5)
    with pytest.raises(InputError, match=r"scope: got 'erkk', allowed are .*did you mean 'erk'"):
        allocate("erkk", {"a": (1, 1)}, 1, {"a": 1})
