from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from widthwise.data import examples_per_class
from widthwise.errors import InputError, InputTypeError

X, Y = torch.arange(30.0).reshape(15, 2), torch.arange(15) % 3


@settings(deadline=None, max_examples=60)
@given(counts=st.lists(st.integers(4, 12), min_size=1, max_size=5), k=st.integers(1, 4), seed=st.integers(0, 2**32))
def test_each_class_equally_often_and_no_example_twice(counts, k, seed):
    y = torch.repeat_interleave(torch.arange(len(counts)) * 7 - 3, torch.tensor(counts))
    x = torch.arange(len(y))[:, None]
    picked, labels = examples_per_class(x, y, k, seed)
    assert torch.equal(y[picked[:, 0]], labels)
    assert labels.unique(return_counts=True)[1].tolist() == [k] * len(counts)
    assert len(picked.unique()) == k * len(counts)


def test_seeds():
    one, two = examples_per_class(X, Y, 2, 1), examples_per_class(X, Y, 2, 1)
    assert torch.equal(one[0], two[0])
    assert any(not torch.equal(one[0], examples_per_class(X, Y, 2, seed)[0]) for seed in range(2, 6))
    state = torch.get_rng_state()
    examples_per_class(X, Y, 2)
    assert torch.equal(state, torch.get_rng_state())


def test_classes_are_not_in_order():
    assert examples_per_class(X, Y, 5)[1].tolist() != sorted(Y.tolist())


@pytest.mark.parametrize(
    ("x", "y", "k", "error", "what"),
    [
        (X, Y, 6, InputError, "class 0 has 5 examples"),
        (X, Y, 0, InputError, "at least 1"),
        (X, Y, 1.0, InputTypeError, "whole number"),
        (X[:4], Y, 1, InputError, "shapes"),
        (X[:0], Y[:0], 1, InputError, "shapes"),
        (X, Y[:, None], 1, InputError, "shapes"),
        (X, Y.float(), 1, InputError, "whole number"),
        (X.numpy(), Y, 1, InputTypeError, "Tensor"),
        (X, Y.tolist(), 1, InputTypeError, "Tensor"),
    ],
)
def test_bad_arguments(x, y, k, error, what):
    with pytest.raises(error, match=what):
        examples_per_class(x, y, k)
