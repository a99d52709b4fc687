from __future__ import annotations

import gzip
import hashlib
import struct
import tracemalloc

import numpy as np
import pytest
import torch
from data_cases import idx_bytes, one_line, refused, write_idx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from widthwise.data import load
from widthwise.data.idx import read_array
from widthwise.errors import DataError

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"


def test_real_mnist_is_the_published_one(shared_data):
    data = load(shared_data / "mnist")
    assert data.name == "mnist"
    assert data.x.shape == (60000, 1, 28, 28)
    assert data.x.dtype == torch.float32
    assert data.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert data.x.mean(dtype=torch.float64).item() == pytest.approx(0.1307, abs=5e-5)
    assert data.x.std().item() == pytest.approx(0.3081, abs=5e-5)
    assert data.test is not None
    assert data.test[0].shape == (10000, 1, 28, 28)
    pixels = (data.test[0] * 255).round().to(torch.uint8).numpy()
    header = struct.pack(">IIII", 0x803, 10000, 28, 28)
    assert hashlib.md5(header + pixels.tobytes()).hexdigest() == "2646ac647ad5339dbf082846283269ea"
    assert data.n_outputs == 10


@pytest.mark.parametrize("packed", [False, True])
def test_pixels_and_labels_come_back(tmp_path, packed):
    arrays = write_idx(tmp_path, packed=packed)
    data = load(tmp_path)
    np.testing.assert_array_equal((data.x[:, 0] * 255).round().numpy(), arrays[IMAGES])
    assert data.y.tolist() == arrays[LABELS].tolist()
    assert data.test is not None
    assert data.test[1].tolist() == arrays[TEST_LABELS].tolist()
    assert data.name == tmp_path.name


def test_dotted_names_and_a_plain_copy_beside_the_packed_one(tmp_path):
    arrays = write_idx(tmp_path)
    (tmp_path / f"{IMAGES}.gz").write_bytes(b"never read")
    for name in (LABELS, TEST_LABELS):
        (tmp_path / name).rename(tmp_path / name.replace("-idx", ".idx"))
    assert load(tmp_path).y.tolist() == arrays[LABELS].tolist()


def test_without_test_files_there_is_no_official_test_set(tmp_path):
    write_idx(tmp_path)
    for file in tmp_path.glob("t10k*"):
        file.unlink()
    assert load(tmp_path).test is None


def damaged(tmp_path, name: str, change) -> str:
    """Load after ``change`` was applied to the bytes of one file; return the one-line message."""
    write_idx(tmp_path)
    path = tmp_path / name
    path.write_bytes(change(path.read_bytes()))
    return refused(tmp_path)


def test_truncated(tmp_path):
    message = damaged(tmp_path, IMAGES, lambda data: data[:-1])
    assert IMAGES in message
    assert "599 of 600 bytes" in message  # 30 images of 5 x 4
    assert "copy the file again" in message


def test_truncated_within_the_header(tmp_path):
    assert "header" in damaged(tmp_path, LABELS, lambda data: data[:6])


def test_empty_file(tmp_path):
    assert LABELS in damaged(tmp_path, LABELS, lambda data: b"")


def test_truncated_gzip(tmp_path):
    message = damaged(tmp_path, IMAGES, lambda data: gzip.compress(data)[:-200])
    assert "truncated" in message


def test_flipped_bit_in_gzip_fails_its_checksum(tmp_path):
    def flip(data: bytes) -> bytes:
        packed = bytearray(gzip.compress(data, compresslevel=0))
        packed[100] ^= 1
        return bytes(packed)

    assert "damaged" in damaged(tmp_path, IMAGES, flip)


def test_more_than_declared(tmp_path):
    assert "longer" in damaged(tmp_path, IMAGES, lambda data: data + b"\0")


def test_wrong_magic(tmp_path):
    message = damaged(tmp_path, IMAGES, lambda data: b"\0\0\x0d\x03" + data[4:])
    assert "00000d03" in message
    assert "00000803" in message


def test_labels_in_the_place_of_images(tmp_path):
    assert "00000801" in damaged(tmp_path, IMAGES, lambda data: idx_bytes(np.zeros(30)))


def test_counts_differ(tmp_path):
    message = damaged(tmp_path, LABELS, lambda data: idx_bytes(np.arange(29) % 3))
    assert "30 images" in message
    assert "29 labels" in message


def test_empty_class(tmp_path):
    message = damaged(tmp_path, LABELS, lambda data: idx_bytes(np.arange(30) % 3 * 2))
    assert "class 1 has no example" in message


def test_test_label_that_training_does_not_know(tmp_path):
    message = damaged(tmp_path, TEST_LABELS, lambda data: idx_bytes(np.arange(20)))
    assert "test example 3 has label 3" in message
    assert "0 to 2" in message


def test_no_images_declared(tmp_path):
    write_idx(tmp_path)
    (tmp_path / IMAGES).write_bytes(idx_bytes(np.zeros((0, 5, 4))))
    (tmp_path / LABELS).write_bytes(idx_bytes(np.zeros(0)))
    with pytest.raises(DataError, match="empty"):
        load(tmp_path)


@pytest.mark.parametrize("missing", [IMAGES, LABELS, TEST_LABELS])
def test_missing_file_is_named(tmp_path, missing):
    write_idx(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(DataError, match=missing):
        load(tmp_path)


@pytest.mark.parametrize("packed", [False, True])
def test_a_huge_declared_size_allocates_nothing(tmp_path, packed):
    data = struct.pack(">BBBBIII", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1)
    path = tmp_path / IMAGES
    path.write_bytes(gzip.compress(data) if packed else data)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="more than a file of its size can hold"):
            read_array(path, 3)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_gzip_bomb_is_read_no_further_than_declared(tmp_path):
    header = struct.pack(">BBBBI", 0, 0, 8, 1, 10)
    path = tmp_path / LABELS
    path.write_bytes(gzip.compress(header + bytes(50_000_000)))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="longer than its header declares"):
            read_array(path, 1)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prefix=st.sampled_from(
        [b"", b"\0\0\x08\x01", b"\0\0\x08\x03", b"\0\0\x08\x01\0\0\0", b"\x1f\x8b\x08", b"\xfd7zXZ\0"]
    ),
    noise=st.binary(max_size=200),
    ndim=st.sampled_from([1, 3]),
    packed=st.booleans(),
)
def test_random_bytes_give_an_array_or_a_data_error(tmp_path, prefix, noise, ndim, packed):
    path = tmp_path / IMAGES
    content = gzip.compress(prefix + noise) if packed else prefix + noise
    path.write_bytes(content)
    try:
        array = read_array(path, ndim)
    except DataError as error:
        one_line(error, path)
    else:
        assert array.ndim == ndim
