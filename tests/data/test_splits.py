from __future__ import annotations

import numpy as np
import pytest
import torch
from data_cases import one_line
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from widthwise.data import Dataset, load, split
from widthwise.errors import DataError, InputError, InputTypeError

SHARES = st.floats(0, 0.45)


def table(n: int = 60, d: int = 3, classes: int = 3) -> Dataset:
    """Rows that can be told apart: the first column is the row's number."""
    x = torch.randn(n, d)
    x[:, 0] = torch.arange(n)
    return Dataset("table", x, torch.arange(n) % classes, "classification")


def regression(n: int = 50) -> Dataset:
    x = torch.randn(n, 3)
    x[:, 0] = torch.arange(n)
    return Dataset("regression", x, torch.randn(n, 2) * 7 + 3, "regression")


def rows(part) -> list[int]:
    return part[0].flatten(1)[:, 0].long().tolist()


@settings(deadline=None, max_examples=80)
@given(
    counts=st.lists(st.integers(1, 40), min_size=2, max_size=6),
    validation=SHARES,
    test=SHARES,
    seed=st.integers(0, 2**63 - 1),
)
def test_parts_are_disjoint_complete_and_stratified(counts, validation, test, seed):
    y = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    n = len(y)
    data = Dataset("d", torch.arange(float(n))[:, None], y, "classification")
    try:
        parts = split(data, validation=validation, test=test, seed=seed, standardize="none")
    except DataError as error:
        one_line(error, "d")
        assert round(validation * n) == 0 or round(test * n) == 0 or max(counts) < 3
        return
    assert sorted(rows(parts.train) + rows(parts.validation) + rows(parts.test)) == list(range(n))
    assert all(torch.equal(part[1], y[rows(part)]) for part in (parts.train, parts.validation, parts.test))
    assert torch.bincount(parts.train[1], minlength=len(counts)).min() >= 1
    for part, share in ((parts.validation, validation), (parts.test, test)):
        got = torch.bincount(part[1], minlength=len(counts))
        assert len(part[1]) <= round(share * n)
        for count, size in zip(got.tolist(), counts, strict=True):
            assert count <= size * share + 1
            assert count >= min(int(size * share), size - 1 - round(test * size) - 1)


def test_exact_totals_where_classes_allow():
    parts = split(load("digits"), validation=0.15, test=0.25)
    assert len(parts.test[0]) == round(0.25 * 1797)
    assert len(parts.validation[0]) == round(0.15 * 1797)


def test_a_known_split_never_changes():
    """The indices of a seed are part of every published result."""
    parts = split(table(), standardize="none", seed=5)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(5)).tolist()
    test = sorted(rows(parts.test))
    for label in range(3):  # of each class, the first fifth in the drawn order
        drawn = [i for i in order if i % 3 == label]
        assert set(drawn[:4]) == {i for i in test if i % 3 == label}


def test_the_same_seed_gives_the_same_parts():
    data = load("digits")
    one, two, other = split(data, seed=3), split(data, seed=3), split(data, seed=4)
    assert torch.equal(one.train[0], two.train[0])
    assert torch.equal(one.test[1], two.test[1])
    assert not torch.equal(one.test[0], other.test[0])
    assert one.fingerprint() == two.fingerprint() != other.fingerprint()


def test_the_global_generator_is_left_alone():
    data = table()
    state = torch.get_rng_state()
    split(data)
    assert torch.equal(state, torch.get_rng_state())


def test_threads_do_not_change_a_bit():
    data = load("digits")
    threads = torch.get_num_threads()
    prints = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            prints.append(split(data).fingerprint())
    finally:
        torch.set_num_threads(threads)
    assert prints[0] == prints[1]


def test_the_official_test_set_is_used_whole():
    data = table()
    x = torch.randn(7, 3)
    official = Dataset("o", data.x, data.y, "classification", test=(x, torch.arange(7) % 3))
    parts = split(official, test=0.9, standardize="none")
    assert torch.equal(parts.test[0], x)
    assert len(parts.train[0]) == 48
    assert len(parts.validation[0]) == 12


@pytest.mark.parametrize("standardize", ["global", "pixel"])
def test_columns_against_scikit_learn(standardize):
    data = table(500)
    parts = split(data, standardize=standardize)
    raw = split(data, standardize="none")
    scaler = StandardScaler().fit(raw.train[0].double().numpy())
    for mine, theirs in ((parts.train, raw.train), (parts.validation, raw.validation), (parts.test, raw.test)):
        expected = scaler.transform(theirs[0].double().numpy())
        np.testing.assert_allclose(mine[0].numpy(), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(parts.mean.numpy(), scaler.mean_, rtol=1e-5)
    np.testing.assert_allclose(parts.scale.numpy(), scaler.scale_, rtol=1e-5)


def test_images_have_one_mean_and_one_deviation():
    data = load("digits")
    parts, raw = split(data), split(data, standardize="none")
    mean, std = raw.train[0].double().mean(), raw.train[0].double().std(correction=0)
    torch.testing.assert_close(parts.test[0], ((raw.test[0].double() - mean) / std).float())
    assert parts.mean.shape == (1, 1, 1)
    assert parts.mean.item() == pytest.approx(mean.item())
    assert parts.scale.item() == pytest.approx(std.item())


def test_pixels_each_have_their_own_and_dead_ones_become_zero():
    data = load("digits")
    parts, raw = split(data, standardize="pixel"), split(data, standardize="none")
    dead = raw.train[0].amax(0) == raw.train[0].amin(0)
    assert dead.any()
    live = ~dead
    assert parts.train[0][:, dead].abs().max() == 0
    assert parts.train[0].mean(0)[live].abs().max() < 1e-5
    torch.testing.assert_close(parts.train[0].std(0, correction=0)[live], torch.ones(int(live.sum())))
    assert (parts.scale[dead] == 0).all()


def test_a_feature_constant_in_training_is_zero_everywhere():
    """0.1 is no binary fraction: its sums do not come out even, its deviation is not exactly 0."""
    data = table(100)
    x = data.x.clone()
    x[:, 1] = 0.1
    train = split(data, standardize="none").train
    x[[i for i in range(100) if i not in rows(train)], 1] = 5.0
    parts = split(Dataset("c", x, data.y, "classification"))
    for part in (parts.train, parts.validation, parts.test):
        assert part[0][:, 1].abs().max() == 0


def test_regression_targets_are_standardised_by_the_training_part():
    data = regression()
    parts, raw = split(data), split(data, standardize="none")
    mean, std = raw.train[1].double().mean(0), raw.train[1].double().std(0, correction=0)
    torch.testing.assert_close(parts.validation[1], ((raw.validation[1].double() - mean) / std).float())
    torch.testing.assert_close(parts.test[1] * parts.target_scale + parts.target_mean, raw.test[1])
    assert parts.n_outputs == 2
    assert sorted(rows(raw.train) + rows(raw.validation) + rows(raw.test)) == list(range(50))


@pytest.mark.parametrize("standardize", ["none", "global", "pixel"])
@pytest.mark.parametrize("make", [table, regression, lambda: load("digits")])
def test_mean_and_scale_lead_back_to_the_data(make, standardize):
    data = make()
    parts, raw = split(data, standardize=standardize), split(data, standardize="none")
    back = parts.test[0] * parts.scale + parts.mean
    live = (parts.scale != 0).expand_as(back[0])
    torch.testing.assert_close(back[:, live], raw.test[0][:, live])


def test_none_leaves_everything_as_it_is():
    data = regression()
    parts = split(data, standardize="none")
    assert torch.equal(parts.train[0], data.x[rows(parts.train)])
    assert torch.equal(parts.train[1], data.y[rows(parts.train)])


def test_large_values_do_not_lose_the_variance():
    """Mean 1e6, deviation 1: the sum of squares would cancel."""
    x = torch.randn(400, 1) + 1e6
    data = Dataset("far", x, torch.arange(400) % 2, "classification")
    train = split(data).train[0]
    assert train.mean().abs().item() < 1e-5
    assert train.std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_values_too_far_apart():
    x = torch.full((100, 1), 1e-30) * torch.arange(100)[:, None]
    data = Dataset("wide", x, torch.arange(100) % 2, "classification")
    held = split(data, standardize="none")
    x = x.clone()
    x[int((held.test[0][0, 0] / 1e-30).round())] = 3e38
    with pytest.raises(DataError, match="too far apart"):
        split(Dataset("wide", x, data.y, "classification"))


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_targets_must_vary_in_the_training_part_and_nowhere_else(part):
    """Who judges by the other parts looks for himself: ``objective_of``."""
    x, y = torch.rand(10, 3), torch.stack([torch.arange(10.0), torch.zeros(10)], 1)
    last = split(Dataset("table", x, torch.arange(10.0)[:, None], "regression"), standardize="none")
    y[getattr(last, part)[1][0].long(), 1] = 1.0  # in this part only
    if part == "train":
        assert len(split(Dataset("table", x, y, "regression")).validation[0]) == 2
        return
    with pytest.raises(DataError, match="table: target 1 is the same in all of the 6 training examples"):
        split(Dataset("table", x, y, "regression"))


def test_no_validation_part():
    parts = split(table(), validation=0)
    assert parts.validation[0].shape == (0, 3)
    assert len(parts.train[0]) == 48


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"validation": 1}, InputError),
        ({"validation": -0.1}, InputError),
        ({"test": float("nan")}, InputError),
        ({"validation": 0.5, "test": 0.5}, InputError),
        ({"standardize": "globl"}, InputError),
        ({"seed": -1}, InputError),
        ({"seed": 0.5}, InputTypeError),
        ({"test": "0.2"}, InputTypeError),
        ({"standardize": None}, InputTypeError),
        ({"validation": 0.001}, DataError),
    ],
)
def test_bad_arguments(options, error):
    with pytest.raises(error):
        split(table(), **options)


def test_only_data_sets():
    with pytest.raises(InputTypeError, match="Dataset"):
        split("digits")
