from __future__ import annotations

import ast
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from data_cases import cifar_records, refused, write_idx

from widthwise.data import Dataset, load, loading, names, register, registry
from widthwise.errors import InputError, InputTypeError


@pytest.fixture
def own_names(monkeypatch):
    monkeypatch.setattr(registry, "_LOADERS", dict(registry._LOADERS))


def toy() -> Dataset:
    return load((torch.arange(6.0)[:, None], [0, 1] * 3))


def test_digits():
    data = load("digits")
    assert data.x.shape == (1797, 1, 8, 8)
    assert (data.x.min(), data.x.max()) == (0, 1)
    assert (data.x * 16).frac().abs().max() == 0
    assert data.classes == tuple("0123456789")
    assert torch.bincount(data.y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_names():
    assert {"digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "svhn"} <= set(names())
    assert list(names()) == sorted(names())


def test_a_data_set_passes_through():
    data = toy()
    assert load(data) is data


def test_a_users_own_data_set(own_names):
    @register("mine")
    def mine() -> Dataset:
        return toy()

    assert "mine" in names()
    assert load("mine").n_outputs == 2
    assert mine().name == "data"


def test_what_may_be_registered(own_names):
    with pytest.raises(InputError, match="taken"):
        register("mnist")
    with pytest.raises(InputError, match="letters"):
        register("my/set")
    with pytest.raises(InputTypeError, match="str"):
        register(3)
    register("wrong")(lambda: 3)
    assert "allowed is Dataset" in refused("wrong", InputTypeError)


def test_unknown_names_list_the_known_and_the_nearest():
    message = refused("fashion_mnist")
    assert all(name in message for name in names())
    assert "did you mean 'fashion-mnist'?" in message
    assert "path" in message
    assert "did you mean" not in refused("zzz")
    assert "allowed are" in refused("")
    assert "allowed are" in refused("nul\0byte")


def test_a_name_wins_over_a_path(tmp_path, monkeypatch):
    write_idx(tmp_path / "digits")
    monkeypatch.chdir(tmp_path)
    assert len(load("digits").x) == 1797
    assert len(load("./digits").x) == 30
    assert len(load(Path("digits")).x) == 30
    assert load(Path("digits")).name == "digits"


def test_a_folder_of_any_name_is_found(tmp_path, monkeypatch):
    write_idx(tmp_path / "plain")
    monkeypatch.chdir(tmp_path)
    assert load("plain").name == "plain"
    monkeypatch.chdir(tmp_path / "plain")
    assert load(".").name == "plain"


@pytest.mark.parametrize("spec", ["nowhere/at/all", "none.csv", "x" * 5000, "*.parquet.not", Path("nul\0")])
def test_paths_to_nothing(spec):
    assert str(spec)[:20] in refused(spec)


def test_special_files_are_not_read():
    assert "neither a file nor a folder" in refused("/dev/zero")


def test_empty_folder_and_unknown_formats(tmp_path):
    assert "holds no data file" in refused(tmp_path)
    (tmp_path / "README.md").write_text("hello")
    (tmp_path / "inner").mkdir()
    (tmp_path / ".hidden.csv").write_text("x,y")
    assert ".parquet" in refused(tmp_path)
    assert "is in no known format" in refused(tmp_path / "README.md")


def test_several_formats_in_one_folder(tmp_path):
    (tmp_path / "data_batch_1.bin").write_bytes(cifar_records(20).tobytes())
    np.savez(tmp_path / "other.npz", x=np.ones((4, 1)), y=np.arange(4) % 2)
    message = refused(tmp_path)
    assert "CIFAR (data_batch_1.bin) and npz (other.npz)" in message
    pattern = f"{tmp_path}/*.bin"
    assert pattern in message
    chosen = load(pattern)
    assert (len(chosen.x), chosen.name) == (20, tmp_path.name)


def test_several_tables_in_one_folder(tmp_path):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("x,y\n1,2.5\n3,4.5\n")
    assert "holds 2 CSV files, a.csv, b.csv; give the path of one" in refused(tmp_path, target="y")
    (tmp_path / "b.csv").unlink()
    assert load(tmp_path, target="y").task == "regression"


def test_one_idx_file_is_not_enough(tmp_path):
    write_idx(tmp_path)
    assert "train-labels-idx1-ubyte" in refused(str(tmp_path / "train-images-idx3-ubyte"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(tmp_path):
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes(cifar_records(20).tobytes())
    path.chmod(0)
    assert "permissions" in refused(path)


def test_target_without_columns(tmp_path):
    write_idx(tmp_path)
    for spec in ("digits", tmp_path, toy(), (torch.ones(2, 1), [0, 1])):
        assert "target: got 'y'" in refused(spec, InputError, target="y")
    refused("digits", InputTypeError, target=3)
    with pytest.raises(InputTypeError, match=r"target: got ndarray .*; arrays go in as a pair, load\(\(x, y\)\)"):
        load(np.ones((3, 2)), np.ones(3))


def test_the_target_may_come_second(tmp_path):
    (tmp_path / "table.csv").write_text("size,price\n1,2.5\n2,3.5\n3,4.5\n")
    assert torch.equal(load(tmp_path / "table.csv", "price").y, load(tmp_path / "table.csv", target="price").y)


@pytest.mark.parametrize("spec", [None, 3, b"digits", ["digits"], torch.ones(2), {}])
def test_what_is_no_spec(spec):
    assert "a name, a path, a pair" in refused(spec, InputTypeError)


def test_a_triple():
    assert "pair" in refused((1, 2, 3))


def test_libraries_for_one_format_are_imported_where_they_are_used():
    for file in Path(loading.__file__).parent.glob("*.py"):
        for node in ast.parse(file.read_text()).body:
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not {"pyarrow", "PIL", "sklearn"} & {module.split(".")[0] for module in modules}, file


@pytest.mark.parametrize("pattern", ["a**.csv", "**a"])
def test_a_pattern_that_is_none_is_refused(tmp_path, pattern):
    """Newer Pythons take it for a pattern that matches nothing."""
    said = refused(tmp_path / pattern)
    assert "allowed are such as" in said or "holds no data file" in said
