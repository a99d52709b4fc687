from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from widthwise.data import Dataset, load
from widthwise.errors import DataError, InputError, InputTypeError

X = torch.arange(12.0).reshape(6, 2)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
TARGETS = torch.arange(6.0)[:, None]


def refused(what: str, error: type[Exception] = DataError, **changes) -> None:
    fields = {"name": "toy", "x": X, "y": LABELS, "task": "classification", **changes}
    with pytest.raises(error, match=what) as caught:
        Dataset(**fields)
    assert "\n" not in str(caught.value)
    if error is DataError:
        assert str(caught.value).startswith("toy: ")


def test_valid_ones():
    assert Dataset("toy", X, LABELS, "classification").n_outputs == 3
    assert Dataset("toy", X, LABELS, "classification", ("a", "b", "c")).n_outputs == 3
    assert Dataset("toy", X, TARGETS.expand(6, 4), "regression").n_outputs == 4
    with_test = Dataset("toy", X, LABELS, "classification", test=(X[:1], LABELS[:1]))
    assert dataclasses.replace(with_test, name="other").test is with_test.test


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("x is torch.float64", {"x": X.double()}),
        ("must be float32", {"x": X[:, 0]}),
        ("y is torch.int32", {"y": LABELS.int()}),
        (r"must be float32 \(n, k\)", {"task": "regression"}),
        (r"must be float32 \(n, k\)", {"task": "regression", "y": TARGETS[:, 0]}),
        ("6 examples but 5 targets", {"y": LABELS[:5]}),
        ("empty", {"x": X[:0], "y": LABELS[:0]}),
        ("empty", {"x": X[:, :0]}),
        ("keep both on the CPU", {"x": X.to("meta")}),
        (r"x: 1 of 12 values are NaN or infinite, first at \(2, 1\)", {"x": X.where(X != 5, torch.nan)}),
        ("infinite", {"x": X / 0}),
        ("y: 6 of 6 values", {"task": "regression", "y": TARGETS * torch.inf * torch.nan}),
        ("example 3 has label -1", {"y": torch.tensor([0, 1, 2, -1, 1, 2])}),
        ("class 1 has no example although labels run to 5", {"y": torch.tensor([0, 2, 3, 0, 2, 5])}),
        ("class 0 has no example", {"y": LABELS + 1}),
        (r"class 3 \('d'\) has no example", {"classes": ("a", "b", "c", "d")}),
        ("example 2 has label 2; the labels are 0 to 1", {"classes": ("a", "b")}),
        ("same name", {"classes": ("a", "b", "a")}),
        ("one class", {"y": LABELS * 0}),
        ("target 1 never varies", {"task": "regression", "y": torch.cat([TARGETS, TARGETS * 0], 1)}),
        ("regression has no classes", {"task": "regression", "y": TARGETS, "classes": ("a",)}),
        ("test example 0 has label 3", {"test": (X[:1], LABELS[:1] + 3)}),
        ("both must have the same", {"test": (X[:1, :1], LABELS[:1])}),
        ("test x: 2 of 2", {"test": (X[:1] / 0, LABELS[:1])}),
        ("1 test examples but 2 targets", {"test": (X[:1], LABELS[:2])}),
    ],
)  # fmt: skip
def test_no_invalid_data_set_exists(what, changes):
    refused(what, **changes)


@pytest.mark.parametrize(
    "changes",
    [{"name": 3}, {"x": [[1.0]]}, {"y": None}, {"classes": ["a"]}, {"classes": (1, 2, 3)}, {"test": X}, {"task": 1}],
)
def test_wrong_types(changes):
    refused("got", InputTypeError, **changes)


def test_unknown_task():
    refused("classification, regression", InputError, task="ranking")


def test_a_pair_of_anything():
    for x in (X, X.double(), X.numpy(), X.tolist(), X.requires_grad_(), X.half(), X.bfloat16(), X.int()):
        for y in (LABELS, LABELS.to(torch.uint8), LABELS.numpy(), LABELS.tolist(), LABELS[:, None]):
            data = load((x, y))
            assert torch.equal(data.x, X.detach())
            assert data.y.tolist() == LABELS.tolist()
    X.requires_grad_(False)


def test_a_pair_is_copied():
    x = X.clone()
    data = load((x, LABELS))
    x.zero_()
    assert torch.equal(data.x, X)


def test_truth_values_and_text_are_classes():
    assert load((X, LABELS > 0)).y.tolist() == [0, 1, 1, 0, 1, 1]
    for labels in (list("bcabca"), np.array(list("bcabca"), dtype=object)):
        data = load((X, labels))
        assert data.classes == ("a", "b", "c")
        assert data.y.tolist() == [1, 2, 0, 1, 2, 0]


def test_floating_targets_are_regression():
    assert load((X, TARGETS[:, 0].double())).y.tolist() == TARGETS.tolist()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((6, 4, 5), (6, 1, 4, 5)),
        ((6, 4, 5, 3), (6, 3, 4, 5)),
        ((6, 3, 4, 5), (6, 3, 4, 5)),
        ((6, 3, 4, 3), (6, 3, 4, 3)),
    ],
)
def test_bytes_with_three_dimensions_are_pixels(shape, expected):
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8)
    data = load((pixels, LABELS))
    assert data.x.shape == expected
    assert data.x.max() <= 1
    moved = pixels.movedim(3, 1) if len(shape) == 4 and shape[1] != 3 else pixels.reshape(expected)
    assert torch.equal((data.x * 255).round().to(torch.uint8), moved)


def test_bytes_in_a_table_keep_their_scale():
    table = torch.tensor([[0, 255]] * 6, dtype=torch.uint8)
    assert load((table, LABELS)).x[0].tolist() == [0, 255]


@pytest.mark.parametrize(
    "pair",
    [
        ([[1, 2], [3]], [0, 1]),
        (X.to_sparse(), LABELS),
        (X.to("meta"), LABELS),
        (object(), LABELS),
        (None, LABELS),
        (["a"] * 6, LABELS),
        (X, None),
        (X, [None] * 6),
        (X, np.array(["a", 1] * 3, dtype=object)),
        (X, TARGETS * 1j),
        (np.array(["2020-01-01"] * 6, dtype="datetime64[D]")[:, None], LABELS),
        (3.0, LABELS),
        (X, 3),
    ],
)
def test_pairs_that_hold_no_data(pair):
    with pytest.raises(DataError, match="^data: "):
        load(pair)
