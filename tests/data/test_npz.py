from __future__ import annotations

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from data_cases import one_line, refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from widthwise.data import load
from widthwise.errors import DataError

RNG = np.random.default_rng(3)


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_classification_with_an_official_test_set(tmp_path):
    x, y = RNG.normal(size=(12, 4)), np.arange(12) % 3
    data = load(save(tmp_path / "toy.npz", x=x, y=y, x_test=x[:5] + 1, y_test=y[:5]))
    assert (data.name, data.task, data.n_outputs) == ("toy", "classification", 3)
    torch.testing.assert_close(data.x, torch.tensor(x, dtype=torch.float32))
    assert data.test is not None
    assert data.test[1].tolist() == [0, 1, 2, 0, 1]


def test_kerass_names_and_channels_last(tmp_path):
    x, y = RNG.integers(0, 256, (6, 8, 9, 3)).astype(np.uint8), np.arange(6)[:, None] % 2
    data = load(save(tmp_path / "keras.npz", x_train=x, y_train=y, x_test=x, y_test=y))
    assert data.x.shape == (6, 3, 8, 9)
    np.testing.assert_allclose(data.x.numpy(), x.transpose(0, 3, 1, 2) / np.float32(255), rtol=1e-6)


def test_regression(tmp_path):
    data = load(save(tmp_path / "r.npz", x=RNG.normal(size=(7, 2)), y=RNG.normal(size=7)))
    assert data.task == "regression"
    assert data.y.shape == (7, 1)


def test_text_labels_and_compressed_and_big_endian(tmp_path):
    path = tmp_path / "t.npz"
    np.savez_compressed(path, x=np.arange(8.0).reshape(4, 2).astype(">f8"), y=np.array(["b", "a", "b", "a"]))
    data = load(path)
    assert data.classes == ("a", "b")
    assert data.y.tolist() == [1, 0, 1, 0]
    assert data.x[3].tolist() == [6, 7]


def test_objects_are_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    message = refused(save(tmp_path / "o.npz", x=np.array([Bomb(), Bomb()], dtype=object), y=np.arange(2)))
    assert "Python objects" in message


@pytest.mark.parametrize("keys", [("x",), ("y",), ("a", "b"), ("x", "y", "x_test"), ("x_train", "y")])
def test_missing_arrays(tmp_path, keys):
    message = refused(save(tmp_path / "m.npz", **{key: np.arange(4) for key in keys}))
    assert "it needs the arrays x and y" in message


def test_nan_names_the_place(tmp_path):
    x = RNG.normal(size=(5, 3))
    x[2, 1] = np.nan
    assert "(2, 1)" in refused(save(tmp_path / "n.npz", x=x, y=np.arange(5) % 2))


def test_too_large_for_float32(tmp_path):
    assert "infinite" in refused(save(tmp_path / "n.npz", x=np.full((4, 1), 1e300), y=np.arange(4) % 2))


@pytest.mark.parametrize(
    ("x", "y", "what"),
    [
        (np.ones((4, 2)), np.arange(3) % 2, "4 examples but 3 targets"),
        (np.ones((4, 2)), np.array([0, 1, 3, 3]), "class 2 has no example"),
        (np.ones((4, 2)), np.array([0, 1, -1, 0]), "label -1"),
        (np.ones((4, 2)), np.zeros(4, int), "one class"),
        (np.ones((4, 2)), np.zeros(4), "never varies"),
        (np.ones((4, 2)), np.eye(4, dtype=int), "one for each example"),
        (np.ones((0, 2)), np.zeros(0, int), "empty"),
        (np.ones(4), np.arange(4) % 2, "float32 (n, ...)"),
        (np.ones((4, 2)) * 1j, np.arange(4) % 2, "numbers"),
        (np.array([["a"]] * 4), np.arange(4) % 2, "numbers"),
        (np.ones((2, 2)), np.array([0, 2**63], dtype=np.uint64), "too large"),
        (np.ones((2, 2)), np.array([0, 2**62]), "class 1 has no example"),
    ],
)
def test_arrays_that_are_no_data_set(tmp_path, x, y, what):
    assert what in refused(save(tmp_path / "bad.npz", x=x, y=y))


def npy_header(shape: tuple[int, ...], descr: str = "<f8") -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": descr, "fortran_order": False, "shape": shape})
    return out.getvalue()


@pytest.mark.parametrize("shape", [(2**40, 8), (-2, -4), (3,)])
def test_a_declared_shape_that_does_not_fit_allocates_nothing(tmp_path, shape):
    path = tmp_path / "huge.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", npy_header(shape) + bytes(64))
        archive.writestr("y.npy", npy_header((2,)) + bytes(16))
    tracemalloc.start()
    try:
        assert "x cannot be read" in refused(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_an_entry_that_lies_about_its_size(tmp_path):
    path = tmp_path / "lie.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", npy_header((4, 2)) + bytes(64))
        archive.writestr("y.npy", npy_header((4,)) + bytes(32))
        archive.getinfo("x.npy").file_size = 2**31 - 1  # goes into the central directory
    assert "x declares more bytes" in refused(path)


def test_another_packing(tmp_path):
    path = tmp_path / "bz2.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("x.npy", npy_header((1,)) + bytes(8))
        archive.writestr("y.npy", npy_header((1,)) + bytes(8))
    assert "numpy.savez" in refused(path)


def test_entries_that_are_no_arrays(tmp_path):
    path = tmp_path / "raw.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", b"1")
        archive.writestr("y", b"2")
    assert "holds none; it needs the arrays x and y" in refused(path)


def test_no_archive(tmp_path):
    path = tmp_path / "no.npz"
    path.write_bytes(b"nothing of the kind")
    assert "no readable .npz archive" in refused(path)


def _valid() -> bytes:
    out = io.BytesIO()
    np.savez(out, x=np.arange(24.0).reshape(8, 3), y=np.arange(8) % 2)
    return out.getvalue()


VALID = _valid()


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.dictionaries(st.integers(0, len(VALID) - 1), st.integers(0, 255), max_size=6), cut=st.integers(0, 400)
)
def test_damaged_archives_give_the_data_or_a_data_error(tmp_path, changes, cut):
    data = bytearray(VALID)
    for place, value in changes.items():
        data[place] = value
    path = tmp_path / "fuzz.npz"
    path.write_bytes(data[: len(data) - cut] if cut > 200 else data)
    try:
        loaded = load(path)
    except DataError as error:
        one_line(error, path)
    else:
        assert loaded.x.shape[0] == loaded.y.shape[0]


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=st.binary(max_size=80), body=st.binary(max_size=40))
def test_random_headers_in_a_sound_archive(tmp_path, header, body):
    path = tmp_path / "fuzz.npz"
    magic = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", magic + header + body)
        archive.writestr("y.npy", header)
    refused(path)
