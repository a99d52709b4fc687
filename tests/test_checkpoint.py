"""Models on disk come back as they were, with their masks, and damaged files are refused."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from widthwise import checkpoint
from widthwise.errors import DataError, InputError, InputTypeError
from widthwise.masks import Mask
from widthwise.models import mlp
from widthwise.widening import widen


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x):
        return self.head(self.norm(self.embed(x)))


def test_a_built_in_model_and_its_mask_come_back_in_a_fresh_process(tmp_path):
    model, mask = widen(lambda w: mlp(8, 3, width=w, activation="tanh"), 3, 4)
    path = tmp_path / "m.safetensors"
    checkpoint.save(model, path, about={"classes": ["a", "b", "c"]})
    again = checkpoint.load(path)
    x = torch.randn(5, 8)
    assert torch.equal(again(x), model(x))
    assert Mask.of(again) == mask
    assert checkpoint.about(path) == {"classes": ["a", "b", "c"]}
    code = f"import torch; from widthwise.checkpoint import load; print(load({str(path)!r})(torch.ones(1, 8)).tolist())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(other.stdout) == again(torch.ones(1, 8)).tolist()


def test_the_mask_of_a_loaded_model_is_in_force(tmp_path):
    model, mask = widen(lambda w: mlp(8, 3, width=w), 3, 4)
    checkpoint.save(model, tmp_path / "m")
    again = checkpoint.load(tmp_path / "m").train()
    optimizer = torch.optim.Adam(again.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        again(torch.randn(16, 8)).square().sum().backward()
        optimizer.step()
    assert not again.hidden1.weight[~mask["hidden1.weight"]].any()
    assert again.hidden1.weight[mask["hidden1.weight"]].all()


def test_a_users_own_model_with_tied_weights_and_buffers(tmp_path):
    model = Tied()
    model.train()(torch.arange(7))
    model.eval()
    checkpoint.save(model, tmp_path / "m")
    again = checkpoint.load(tmp_path / "m", Tied())
    assert again.head.weight is again.embed.weight
    x = torch.arange(7)
    assert torch.equal(again(x), model(x))
    with pytest.raises(InputError, match=r"load\(path, model="):
        checkpoint.load(tmp_path / "m")
    with pytest.raises(InputError, match=r"'0\.weight' has shape \(2, 2\)"):
        checkpoint.load(tmp_path / "m", nn.Sequential(nn.Linear(2, 2)))


def test_an_old_mask_on_the_model_to_fill_goes_away(tmp_path):
    dense = mlp(8, 3, width=12)
    checkpoint.save(dense, tmp_path / "m")
    other, _ = widen(lambda w: mlp(8, 3, width=w), 3, 4)
    assert Mask.of(checkpoint.load(tmp_path / "m", other)) is None
    assert torch.equal(other.hidden1.weight, dense.hidden1.weight)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_damaged_files_are_refused_in_one_line(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    path = folder / "m"
    model, _ = widen(lambda w: mlp(4, 2, width=w), 1, 3)
    checkpoint.save(model, path)
    raw = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    else:
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(raw)
    with contextlib.suppress(DataError, InputError):  # a changed weight is no damage anyone could see
        checkpoint.load(path)


GOOD = {"version": 1, "model": None, "aliases": {}, "about": {}}


@pytest.mark.parametrize(
    "header",
    [
        None,
        "not JSON",
        "[" * 100_000,
        json.dumps({"version": 99}),
        json.dumps({"version": 1}),
        json.dumps({**GOOD, "model": []}),
        json.dumps({**GOOD, "model": ["os.system", {}]}),
        json.dumps({**GOOD, "model": ["mlp", 3]}),
        json.dumps({**GOOD, "model": ["mlp", {"no": 1}]}),
        json.dumps({**GOOD, "model": ["mlp", {"in_features": 10**12, "out_features": 10}]}),
        json.dumps({**GOOD, "model": ["mlp", {"in_features": 1, "out_features": 1, "depth": 10**9}]}),
        json.dumps({**GOOD, "aliases": [1]}),
    ],
)
def test_hostile_headers_are_refused(tmp_path, header):
    save_file({"a": torch.zeros(2)}, tmp_path / "m", {} if header is None else {"widthwise.model": header})
    with pytest.raises(DataError, match="m: "):
        checkpoint.load(tmp_path / "m")


def test_equal_models_give_equal_files(tmp_path):
    model = mlp(4, 2, width=3)
    for name in "ab":
        checkpoint.save(model, tmp_path / name, about={"z": 1, "a": 2})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_full_disk_is_an_oserror_and_the_old_file_stays(tmp_path, monkeypatch):
    checkpoint.save(mlp(4, 2, width=3), tmp_path / "m")
    before = (tmp_path / "m").read_bytes()

    def full(*arguments):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("widthwise._tensorfile.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(mlp(4, 2, width=4), tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_a_missing_file_and_wrong_types(tmp_path):
    with pytest.raises(DataError, match="cannot be opened"):
        checkpoint.load(tmp_path / "none")
    with pytest.raises(DataError, match="is a folder, allowed is a file"):
        checkpoint.load(tmp_path)
    with pytest.raises(InputTypeError, match="model: got 3"):
        checkpoint.save(3, tmp_path / "m")
    with pytest.raises(InputTypeError, match="about: got 'mine' of type str, allowed is Mapping"):
        checkpoint.save(mlp(4, 2, width=3), tmp_path / "m", about="mine")
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_plain_safetensors(tmp_path):
    model = mlp(4, 2, width=3)
    checkpoint.save(model, tmp_path / "m")
    assert torch.equal(load_file(tmp_path / "m")["output.weight"], model.output.weight)
