"""Sparse models on disk: small, the same again, readable by anybody, and no file can do harm."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from widthwise import checkpoint
from widthwise.errors import DataError, InputError
from widthwise.masks import Mask
from widthwise.models import mlp, resnet20
from widthwise.pruning import prune
from widthwise.sparse import SparseLinear, densify, sparsify
from widthwise.sparse.files import decode, encode
from widthwise.sparse.pattern import row_pointers

matrix = st.tuples(st.integers(0, 40), st.integers(0, 700)).flatmap(
    lambda shape: st.one_of(
        arrays(np.bool_, shape, elements=st.just(False), fill=st.just(False)),
        st.builds(lambda density, seed: np.random.default_rng(seed).random(shape) < density,
                  st.sampled_from([0.0005, 0.004, 0.05, 0.5, 1.0]), st.integers(0, 2**32 - 1)),
    )
)  # fmt: skip


def sparse_mlp(width: int = 32, sparsity: float = 0.9) -> nn.Module:
    model = mlp(in_features=20, out_features=5, width=width, depth=2)
    prune(model, sparsity, "random", on_collapse="allow")
    return sparsify(model, policy="always")


def naive_gaps(places: np.ndarray) -> list[int]:
    """Count zeros one by one."""
    gaps, run = [], 0
    for place in [*places.ravel(), True]:
        if place:
            gaps.append(run)
            run = 0
        else:
            run += 1
            if run == 255:
                gaps.append(255)
                run = 0
    return gaps


@settings(deadline=None, max_examples=150)
@given(matrix)
def test_places_come_back_and_equal_counting_zeros_one_by_one(places):
    pointers, columns = row_pointers(torch.from_numpy(places))
    gaps = encode(pointers, columns, places.shape[1])
    if places.size < 3000:
        assert gaps.tolist() == naive_gaps(places)
    again = decode(gaps, len(columns), places.shape)
    assert torch.equal(again[0], pointers)
    assert torch.equal(again[1], columns)
    assert again[1].dtype == columns.dtype


@pytest.mark.parametrize("zeros", [253, 254, 255, 256, 509, 510, 511, 765])
def test_runs_of_zeros_around_the_escape(zeros):
    places = torch.tensor([[False] * zeros + [True] + [False] * zeros])
    pointers, columns = row_pointers(places)
    gaps = encode(pointers, columns, places.shape[1])
    assert len(gaps) == 2 + 2 * (zeros // 255)
    assert decode(gaps, 1, tuple(places.shape))[1].tolist() == [zeros]


def test_a_column_past_sixteen_bits():
    pointers, columns = torch.tensor([0, 1, 2]), torch.tensor([70_000, 3], dtype=torch.int32)
    again = decode(encode(pointers, columns, 70_001), 2, (2, 70_001))
    assert torch.equal(again[0], pointers)
    assert torch.equal(again[1], columns)


@pytest.mark.parametrize(
    ("gaps", "count", "said"),
    [
        ([], 0, "for -1 values"),
        ([3], 1, "for 0 values, it has 1"),
        ([1, 1, 1], 1, "for 2 values, it has 1"),
        ([1, 255], 1, "it has 1"),
        ([1, 255, 255], 0, "it has 0"),
        ([1, 1], 1, "for 3 places, it has 6"),
        ([1, 5], 1, "for 7 places, it has 6"),
        ([255, 0, 0], 1, "places, it has 6"),
        ([6, 0], 1, "for 7 places"),
    ],
)
def test_gaps_of_another_matrix_are_refused(gaps, count, said):
    with pytest.raises(ValueError, match=said):
        decode(torch.tensor(gaps, dtype=torch.uint8), count, (2, 3))


@pytest.mark.parametrize("gaps", [torch.zeros(1, dtype=torch.int64), torch.zeros(1, 1, dtype=torch.uint8)])
def test_gaps_of_another_type_or_shape_are_refused(gaps):
    with pytest.raises(ValueError, match="not bytes in a row"):
        decode(gaps, 0, (0, 0))


def test_a_built_in_model_comes_back_sparse(tmp_path):
    model = sparse_mlp()
    checkpoint.save(model, tmp_path / "m", about={"classes": ["a"]})
    again = checkpoint.load(tmp_path / "m")
    assert isinstance(again.hidden1, SparseLinear)
    assert str(again) == str(model)
    state = model.state_dict()
    assert state.keys() == again.state_dict().keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.state_dict().items())
    x = torch.randn(7, 20)
    assert torch.equal(again(x), model(x))
    assert checkpoint.about(tmp_path / "m") == {"classes": ["a"]}
    dense = densify(checkpoint.load(tmp_path / "m"))
    assert torch.equal(dense.hidden1.weight, model.hidden1.dense())


@pytest.mark.parametrize("sparse", [False, True])
def test_a_users_model_is_filled_whether_dense_or_sparse(tmp_path, sparse):
    def build() -> nn.Module:
        return nn.Sequential(
            nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 4, bias=False), nn.BatchNorm1d(4), nn.Linear(4, 3)
        )

    model = build()
    model[0].weight.data[torch.rand(8, 9) < 0.7] = 0
    model[2].weight.data[torch.rand(4, 8) < 0.7] = 0
    sparsify(model, policy="always")
    checkpoint.save(model, tmp_path / "m")
    other = build()
    if sparse:  # at other places
        other[0].weight.data[torch.rand(8, 9) < 0.5] = 0
        other[2].weight.data[torch.rand(4, 8) < 0.5] = 0
        sparsify(other, policy="always")
    again = checkpoint.load(tmp_path / "m", other)
    assert again is other
    assert isinstance(again[4], nn.Linear)
    x = torch.randn(5, 9)
    assert torch.equal(again(x), model.eval()(x))
    with pytest.raises(InputError, match=r"load\(path, model="):
        checkpoint.load(tmp_path / "m")


def test_a_layer_for_itself(tmp_path):
    layer = SparseLinear(torch.eye(5, 6), torch.ones(5))
    checkpoint.save(layer, tmp_path / "m")
    again = checkpoint.load(tmp_path / "m", nn.Linear(6, 5))
    assert isinstance(again, SparseLinear)
    assert torch.equal(again(torch.eye(6)), layer(torch.eye(6)))


@pytest.mark.parametrize(
    "other",
    [
        nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 6)),
        nn.Sequential(nn.Linear(6, 6)),
        nn.Sequential(nn.Linear(5, 6), nn.Linear(6, 5)),
        nn.Sequential(nn.Identity(), nn.Linear(5, 6)),
        nn.Sequential(nn.Linear(6, 5, bias=False), nn.Linear(5, 6)),
    ],
)
def test_a_model_of_another_architecture_is_refused(tmp_path, other):
    model = nn.Sequential(SparseLinear(torch.eye(5, 6), torch.ones(5)))
    checkpoint.save(model, tmp_path / "m")
    with pytest.raises(InputError, match="allowed is a model of the same architecture"):
        checkpoint.load(tmp_path / "m", other)


def test_a_layer_that_can_not_be_sparse_is_named(tmp_path):
    checkpoint.save(nn.Sequential(SparseLinear(torch.eye(5, 6), torch.ones(5))), tmp_path / "m")
    other = nn.Sequential(nn.Linear(6, 5))
    other[0].register_forward_hook(lambda *_: None)
    with pytest.raises(InputError, match="'0.weight' can't be sparse here"):
        checkpoint.load(tmp_path / "m", other)


def test_convolutions_with_and_without_groups(tmp_path):
    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(4, 6, 3, padding=1, groups=2), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 2, (1, 3))
        )

    model = build()
    prune(model, 0.6, "random")
    sparsify(model, policy="always").eval()
    checkpoint.save(model, tmp_path / "m")
    again = checkpoint.load(tmp_path / "m", build())
    assert str(again) == str(model)
    x = torch.randn(2, 4, 5, 6)
    assert torch.equal(again(x), model(x))
    with pytest.raises(InputError, match="same architecture"):
        checkpoint.load(tmp_path / "m", nn.Sequential(nn.Conv2d(4, 6, 3), *list(build())[1:]).append(nn.Linear(1, 1)))


def test_a_weight_between_groups_is_refused(tmp_path):
    model = nn.Sequential(nn.Conv2d(2, 2, 1, groups=2))
    model[0].weight.data[1] = 0
    checkpoint.save(sparsify(model, policy="always"), tmp_path / "m")

    def hurt(tensors, header):
        tensors["0.gaps"] = torch.tensor([1, 2], dtype=torch.uint8)  # row 0, column 1 of a 2 x 2 matrix

    rewrite(tmp_path / "m", model, hurt)
    with pytest.raises(InputError):
        checkpoint.load(tmp_path / "m", nn.Sequential(nn.Conv2d(2, 2, 1, groups=2)))


def test_a_built_in_convolutional_model(tmp_path):
    model = resnet20(width=4)
    prune(model, 0.9, "random", on_collapse="allow")
    sparsify(model, policy="always").eval()
    checkpoint.save(model, tmp_path / "m")
    again = checkpoint.load(tmp_path / "m")
    assert str(again) == str(model)
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(again(x), model(x))


def test_layers_without_a_weight_or_an_output(tmp_path):
    model = nn.Sequential(SparseLinear(torch.zeros(4, 3), torch.ones(4)), SparseLinear(torch.zeros(0, 4)))
    checkpoint.save(model, tmp_path / "m")
    again = checkpoint.load(tmp_path / "m", nn.Sequential(nn.Linear(3, 4), SparseLinear(torch.zeros(0, 4))))
    assert again[0].nnz == 0
    assert again(torch.ones(2, 3)).shape == (2, 0)


def test_at_95_percent_a_file_takes_few_bytes_more_than_its_values(tmp_path):
    dense = mlp(in_features=784, out_features=10, width=512, depth=2)
    checkpoint.save(dense, tmp_path / "dense")
    prune(dense, 0.95, "random")
    checkpoint.save(sparsify(dense, policy="always"), tmp_path / "sparse")
    full, small = ((tmp_path / name).stat().st_size for name in ("dense", "sparse"))
    assert small <= 1.3 * 0.05 * full


def test_equal_models_give_equal_files(tmp_path):
    model = sparse_mlp()
    for name in "ab":
        checkpoint.save(model, tmp_path / name)
    checkpoint.save(checkpoint.load(tmp_path / "a"), tmp_path / "c")
    assert len({(tmp_path / name).read_bytes() for name in "abc"}) == 1


def test_the_file_is_read_without_this_package(tmp_path):
    model = sparse_mlp()
    checkpoint.save(model, tmp_path / "m")
    with safe_open(tmp_path / "m", "np") as file:
        shape = json.loads(file.metadata()["widthwise.model"])["sparse"]["hidden1."]
        gaps, values = file.get_tensor("hidden1.gaps"), file.get_tensor("hidden1.values")
    ends = np.flatnonzero(gaps != 255)[:-1]
    dense = np.zeros(shape, dtype=values.dtype)
    dense.flat[np.cumsum(gaps, dtype=np.int64)[ends] + np.arange(len(ends))] = values
    assert np.array_equal(dense, model.hidden1.dense().detach().numpy())


def test_a_trained_sparse_model_among_dense_masked_layers(tmp_path):
    model = mlp(in_features=20, out_features=5, width=16, depth=2)
    mask = prune(model, 0.6, "random")
    sparsify(model, Mask({"hidden1.weight": mask["hidden1.weight"]}), policy="always")
    assert isinstance(model.hidden2, nn.Linear) == (Mask.of(model) is not None)
    checkpoint.save(model, tmp_path / "m")
    again = checkpoint.load(tmp_path / "m")
    assert Mask.of(again) == Mask.of(model)
    assert str(again) == str(model)


@pytest.mark.parametrize(
    "shapes",
    [
        [], "hidden1.", {"hidden1.": None}, {"hidden1.": [32]}, {"hidden1.": [32, 20.0]}, {"hidden1.": [32, -20]},
        {"hidden1.": [32, 19]}, {"hidden1.": [20, 32]}, {"hidden1.": [10**18, 0]}, {"hidden1.": [10**12, 10**12]},
        {"hidden1.": [True, 640]}, {"hidden9.": [32, 20]}, {"output.bias": [1, 1]}, {},
    ],
)  # fmt: skip
def test_hostile_shapes_are_refused(tmp_path, shapes):
    def hurt(tensors, header):
        header["sparse"] = {**header["sparse"], **shapes} if isinstance(shapes, dict) and shapes else shapes

    rewrite(tmp_path / "m", sparse_mlp(), hurt)
    with pytest.raises((DataError, InputError)):
        checkpoint.load(tmp_path / "m")


@pytest.mark.parametrize(
    "change",
    [
        lambda gaps: gaps[:-1],
        lambda gaps: torch.cat([gaps, torch.tensor([255], dtype=torch.uint8)]),
        lambda gaps: torch.cat([gaps, torch.tensor([0], dtype=torch.uint8)]),
        lambda gaps: gaps + torch.eye(1, len(gaps), dtype=torch.uint8)[0],
        lambda gaps: gaps.int(),
        lambda gaps: gaps[None],
        lambda gaps: gaps[:0],
        lambda gaps: torch.full_like(gaps, 255),
    ],
)
def test_hostile_gaps_are_refused(tmp_path, change):
    def hurt(tensors, header):
        tensors["hidden1.gaps"] = change(tensors["hidden1.gaps"])

    rewrite(tmp_path / "m", sparse_mlp(), hurt)
    with pytest.raises(DataError, match="hidden1"):
        checkpoint.load(tmp_path / "m")


@pytest.mark.parametrize("values", [torch.ones(3), torch.ones(64, 1), torch.ones(64, dtype=torch.int64)])
def test_hostile_values_are_refused(tmp_path, values):
    rewrite(tmp_path / "m", sparse_mlp(), lambda tensors, header: tensors.update({"hidden1.values": values}))
    with pytest.raises(DataError, match="hidden1"):
        checkpoint.load(tmp_path / "m")


def rewrite(path, model, change):
    """Save ``model``, and the file again with something changed."""
    checkpoint.save(model, path)
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["widthwise.model"])
    change(tensors, header)
    save_file(tensors, path, {"widthwise.model": json.dumps(header)})


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_damaged_files_are_refused_or_load_a_whole_model(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "m"
    checkpoint.save(sparse_mlp(width=8, sparsity=0.7), path)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw)))]
    path.write_bytes(raw)
    with contextlib.suppress(DataError, InputError):
        again = checkpoint.load(path)
        assert again(torch.ones(1, 20)).shape == (1, 5)
        for layer in again.modules():
            if isinstance(layer, SparseLinear):
                assert layer.nnz == int(layer.mask().sum())
