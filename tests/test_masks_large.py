"""Masks in large files: read layer by layer, to the same end as those read whole."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from widthwise import DataError, Mask, _lazymask, _maskfile, models


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch):
    monkeypatch.setattr(_maskfile, "_LARGE", 0)
    monkeypatch.setattr(_lazymask, "_CHUNK", 8)


shapes = st.lists(st.lists(st.integers(1, 17), min_size=1, max_size=3), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(shapes, st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.integers(0, 5))
def test_it_is_the_mask_that_was_saved(tmp_path_factory, shapes, density, seed):
    generator = torch.Generator().manual_seed(seed)
    mask = Mask({f"layer{i}.weight": torch.rand(*s, generator=generator) < density for i, s in enumerate(shapes)})
    path = tmp_path_factory.mktemp("masks") / "mask.safetensors"
    mask.save(path)
    found = Mask.load(path)
    assert isinstance(found._tensors, _lazymask.Unread)
    assert found.layers() == mask.layers()
    assert found.report() == mask.report()
    assert list(found) == list(mask)
    assert all(torch.equal(found[name], mask[name]) for name in mask)
    assert found == mask
    assert mask == found
    assert found & mask == mask | found == mask
    assert pickle.loads(pickle.dumps(found)) == copy.deepcopy(found) == mask


def test_it_applies_and_saves_as_any_other(tmp_path):
    model = models.mlp(20, 3, width=9)
    mask = Mask({n: torch.rand_like(p) < 0.3 for n, p in model.named_parameters() if p.dim() > 1})
    mask.save(tmp_path / "a")
    found = Mask.load(tmp_path / "a").apply(model)
    assert Mask.of(model) == mask
    found.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_replaced_or_deleted_is_read_all_the_same(tmp_path):
    mask, path = Mask({"a": torch.rand(30, 30) < 0.5}), tmp_path / "mask"
    mask.save(path)
    found = Mask.load(path)
    Mask({"a": torch.ones(30, 30, dtype=torch.bool)}).save(path)
    assert found == mask
    path.unlink()
    assert found == mask


def test_a_file_cut_short_meanwhile_is_an_error_not_a_crash(tmp_path):
    path = tmp_path / "mask"
    Mask({"a": torch.ones(30, 30, dtype=torch.bool), "b": torch.ones(300, 300, dtype=torch.bool)}).save(path)
    found = Mask.load(path)
    with path.open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(DataError, match="has been cut short since it was opened, 'b' is not whole"):
        found.kept  # noqa: B018


def test_stray_bits_are_found_when_it_is_opened(tmp_path):
    path = tmp_path / "mask"
    Mask({"a": torch.ones(3, 3, dtype=torch.bool)}).save(path)
    path.write_bytes(path.read_bytes()[:-1] + b"\x03")
    with pytest.raises(DataError, match="'a' has stray bits after its last weight"):
        Mask.load(path)


def test_sizes_that_do_not_fit_are_found_when_it_is_opened(tmp_path):
    path = tmp_path / "mask"
    _maskfile.write_tensors(
        path, "widthwise.mask", 1, {"shapes": {"a": [3, 30]}}, {"a": torch.zeros(2, dtype=torch.uint8)}
    )
    with pytest.raises(DataError, match="names and shapes disagree"):
        Mask.load(path)
    with safe_open(path, "pt") as file:
        assert list(file.keys()) == ["a"]
