"""The mask as a value: counts, algebra, files, and what it refuses."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from torch import nn

from widthwise.errors import DataError, InputError, InputTypeError
from widthwise.masks import LayerCount, Mask
from widthwise.weights import prunable


@pytest.fixture
def model():
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 5))


@st.composite
def masks(draw):
    shapes = draw(st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=4).map(tuple), min_size=1, max_size=4))
    shapes.append((draw(st.integers(1, 9)), 3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    return Mask({f"l{i}": torch.rand(shape, generator=generator) > 0.6 for i, shape in enumerate(shapes)})


def same_names(first, seed):
    generator = torch.Generator().manual_seed(seed)
    return Mask({name: torch.rand(t.shape, generator=generator) > 0.5 for name, t in first.items()})


def test_prunable_are_parameters_of_two_or_more_dimensions(model):
    assert {n: tuple(p.shape) for n, p in prunable(model).items()} == {"0.weight": (3, 2, 3, 3), "3.weight": (5, 12)}
    assert all(p is dict(model.named_parameters())[n] for n, p in prunable(model).items())


def test_tied_parameters_count_once():
    model = nn.ModuleDict({"encode": nn.Embedding(7, 4), "decode": nn.Linear(4, 7, bias=False)})
    model["decode"].weight = model["encode"].weight
    assert list(prunable(model)) == ["encode.weight"]
    assert Mask.dense(model).total == 28


def test_prunable_looks_inside_compiled_models(model):
    assert list(prunable(torch.compile(model, backend="eager"))) == ["0.weight", "3.weight"]


def test_models_without_weights_are_refused():
    with pytest.raises(InputError, match="model: got no weights to prune"):
        prunable(nn.BatchNorm1d(3))
    with pytest.raises(InputTypeError, match="model: got 3 of type int"):
        prunable(3)


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_lazy_layers_are_refused():
    with pytest.raises(InputError, match=r"'weight' has no shape yet"):
        prunable(nn.LazyLinear(3))


@settings(deadline=None)
@given(masks())
def test_counts_are_those_of_the_tensors(mask):
    assert mask.kept == sum(int(t.sum()) for t in mask.values())
    assert mask.total == sum(t.numel() for t in mask.values())
    assert mask.sparsity == pytest.approx(1 - mask.connectivity)
    assert mask.layers() == tuple(LayerCount(n, tuple(t.shape), int(t.sum()), t.numel()) for n, t in mask.items())
    assert [line.split()[0] for line in mask.report().splitlines()] == ["layer", *mask, "total"]


def test_report_says_what_is_dead_and_pictures_what_units_keep():
    alternating = torch.arange(100)[:, None].expand(100, 4) % 2 == 0
    half = torch.arange(4)[:, None] < torch.tensor([4, 2, 0])
    table = Mask({"a": torch.zeros(2, 3) > 0, "b": half.T, "c": alternating, "none": torch.zeros(0, 2) > 0}).report()
    assert table.splitlines() == [
        "layer  shape  kept   of  connectivity  kept by units, @ = 100.0%",
        "a        2x3     0    6          dead",
        "b        3x4     6   12        50.00%  @+",
        "c      100x4   200  400        50.00%  " + "".join(["+"] * 32),
        "none     0x2     0    0       100.00%",
        "total          206  418        49.28%",
    ]


@settings(deadline=None)
@given(masks(), st.integers(0, 99))
def test_algebra(first, seed):
    second = same_names(first, seed)
    both, either = first & second, first | second
    assert both.kept + either.kept == first.kept + second.kept
    assert first & first == first == first | first
    assert both | first == first == either & first
    assert (first == second) == all(torch.equal(first[n], second[n]) for n in first)
    assert first != {n: first[n] for n in first}


def test_masks_of_different_models_do_not_combine():
    first, second = Mask({"a": torch.ones(2, 2) > 0}), Mask({"a": torch.ones(3, 2) > 0})
    with pytest.raises(InputError, match=r"'a' has shape \(2, 2\) in the mask and \(3, 2\) in the other"):
        first & second
    with pytest.raises(InputError, match=r"'b' has shape none in the mask and \(2, 2\)"):
        first | Mask({"b": torch.ones(2, 2) > 0})
    with pytest.raises(InputTypeError, match="other"):
        first & {"a": torch.ones(2, 2) > 0}
    assert first != second


def test_a_mask_cannot_be_changed_from_outside(model):
    tensor = torch.ones(2, 2, dtype=torch.bool)
    mask = Mask({"a": tensor})
    tensor[0] = False
    mask["a"][0, 0] = False
    assert mask["a"].all()
    assert mask.kept == 4
    with pytest.raises(TypeError):
        mask["a"] = tensor
    with pytest.raises(TypeError):
        hash(mask)


@pytest.mark.parametrize(
    ("tensors", "error", "message"),
    [
        ({}, InputError, "no entries"),
        ({"a": torch.zeros(0, 2, dtype=torch.bool)}, InputError, "no entries"),
        ({"a": torch.ones(2)}, InputTypeError, r"'a' is torch.float32, allowed is a boolean tensor"),
        ({"a": [True]}, InputTypeError, "'a' is list"),
        ({1: torch.ones(2) > 0}, InputTypeError, "name: got 1 of type int"),
        ([("a", torch.ones(2) > 0)], InputTypeError, "tensors: got"),
        (None, InputTypeError, "tensors: got None"),
    ],
)
def test_what_is_no_mask_is_refused(tensors, error, message):
    with pytest.raises(error, match=message):
        Mask(tensors)


def test_apply_refuses_a_mask_of_another_model_and_touches_nothing(model):
    before = copy.deepcopy(model.state_dict())
    good = {n: torch.zeros_like(p, dtype=torch.bool) for n, p in prunable(model).items()}
    for bad in (
        {"0.weight": good["0.weight"]},
        {**good, "9.weight": torch.ones(2, 2) > 0},
        {**good, "3.weight": torch.zeros(12, 5) > 0},
    ):
        with pytest.raises(InputError, match=r"mask: '[039].weight' has shape"):
            Mask(bad).apply(model)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert Mask.of(model) is None


def test_of_gives_back_what_was_applied(model):
    assert Mask.of(model) is None
    mask = same_names(Mask.dense(model), 1)
    assert mask.apply(model) is mask
    assert Mask.of(model) == mask
    assert list(Mask.of(model)) == list(mask)
    second = same_names(mask, 2).apply(model)
    assert Mask.of(model) == second
    model[3] = nn.Linear(12, 5)
    assert Mask.of(model)["3.weight"].all()
    assert torch.equal(Mask.of(model)["0.weight"], second["0.weight"])
    Mask.remove(model)
    Mask.remove(model)
    assert Mask.of(model) is None


def test_copies_and_devices():
    mask = Mask({"a": torch.rand(3, 4) > 0.5})
    assert copy.deepcopy(mask) == mask
    assert pickle.loads(pickle.dumps(mask)) == mask
    assert mask.to("cpu") == mask


@settings(deadline=None, max_examples=50)
@given(masks())
def test_files_round_trip_and_are_reproducible(tmp_path_factory, mask):
    folder = tmp_path_factory.mktemp("masks")
    mask.save(folder / "mask.safetensors")
    mask.save(str(folder / "again.safetensors"))
    loaded = Mask.load(folder / "mask.safetensors")
    assert loaded == mask
    assert list(loaded) == list(mask)
    assert (folder / "mask.safetensors").read_bytes() == (folder / "again.safetensors").read_bytes()


def test_files_hold_eight_weights_a_byte(tmp_path):
    Mask({"a": torch.rand(1000, 800) > 0.5}).save(tmp_path / "mask")
    assert (tmp_path / "mask").stat().st_size < 1000 * 800 / 8 + 500


def test_a_truncated_file_is_refused_at_every_length(tmp_path):
    path = tmp_path / "mask"
    Mask({"a": torch.rand(5, 7) > 0.5, "b": torch.rand(3, 3) > 0.5}).save(path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="mask"):
            Mask.load(path)


def test_saving_over_a_file_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "mask"
    old = Mask({"a": torch.ones(2, 2) > 0})
    old.save(path)

    def full_disk(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("widthwise._tensorfile.save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        Mask({"a": torch.zeros(2, 2) > 0}).save(path)
    assert Mask.load(path) == old
    assert [entry.name for entry in tmp_path.iterdir()] == ["mask"]


def header(shapes, version=1):
    return {"widthwise.mask": json.dumps({"version": version, "shapes": shapes})}


GOOD = header({"a": [3, 3]})
BITS = {"a": np.array([0b10101010, 1], dtype=np.uint8)}


def test_the_good_file_is_good(tmp_path):
    save_file(BITS, tmp_path / "mask", GOOD)
    assert Mask.load(tmp_path / "mask")["a"].int().tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 1]]


@pytest.mark.parametrize(
    ("tensors", "metadata", "message"),
    [
        (BITS, None, "have no 'widthwise.mask'"),
        (BITS, {"widthwise.model": "{}"}, "have no 'widthwise.mask'"),
        (BITS, header({"a": [3, 3]}, version=2), "does not give version 1"),
        (BITS, {"widthwise.mask": "{"}, "header is no JSON"),
        (BITS, {"widthwise.mask": "[1]"}, "does not give version 1"),
        (BITS, {"widthwise.mask": '{"version": 1}'}, "gives shapes as None"),
        (BITS, header([3]), "gives shapes as"),
        (BITS, header({"a": [3, -3]}), "not a table"),
        (BITS, header({"a": [3, 3.0]}), "not a table"),
        (BITS, header({"a": [3, True]}), "not a table"),
        (BITS, header({"a": [3, 3], "b": [1]}), "names and shapes disagree"),
        (BITS, header({"a": [3, 6]}), "does not hold the 18 bits"),
        (BITS, header({"a": [2**62, 4]}), "does not hold the"),
        (BITS, header({"a": [0, 3]}), "does not hold the 0 bits"),
        ({"a": np.array([255, 2], dtype=np.uint8)}, GOOD, "stray bits"),
        ({"a": np.array([255, 1], dtype=np.uint16)}, GOOD, "does not hold"),
        ({"a": np.array([[255, 1]], dtype=np.uint8)}, GOOD, "does not hold"),
    ],
)
def test_damaged_files_are_refused(tmp_path, tensors, metadata, message):
    save_file(tensors, tmp_path / "mask", metadata)
    with pytest.raises(DataError, match=message):
        Mask.load(tmp_path / "mask")


def test_files_that_are_no_masks_are_refused(tmp_path):
    with pytest.raises(DataError, match="absent: cannot be opened"):
        Mask.load(tmp_path / "absent")
    with pytest.raises(DataError, match="is a folder"):
        Mask.load(tmp_path)
    (tmp_path / "pickle").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(DataError, match="written by torch.save"):
        Mask.load(tmp_path / "pickle")


def test_a_mask_of_nothing_on_disk_is_refused(tmp_path):
    save_file({}, tmp_path / "mask", header({}))
    with pytest.raises(InputError, match="no entries"):
        Mask.load(tmp_path / "mask")
