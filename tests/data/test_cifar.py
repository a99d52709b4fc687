from __future__ import annotations

import gzip
import lzma
import tracemalloc

import numpy as np
import pytest
from data_cases import cifar_records, refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from widthwise.data import load
from widthwise.data.cifar import CIFAR10_CLASSES


def test_real_lossless_images(shared_data):
    path = shared_data / "cifar-10" / "data_batch_1-first-4000-lossless.bin.xz"
    data = load(str(path))
    raw = np.frombuffer(lzma.decompress(path.read_bytes()), np.uint8).reshape(4000, 3073)
    assert data.x.shape == (4000, 3, 32, 32)
    assert data.classes == CIFAR10_CLASSES
    assert data.y.tolist() == raw[:, 0].tolist()
    assert CIFAR10_CLASSES[data.y[0]] == "frog"  # the first image of data_batch_1
    # red, green and blue planes, row by row: one pixel of each looked up by hand
    for channel, row, column in ((0, 0, 0), (1, 3, 5), (2, 31, 31)):
        place = 1 + 1024 * channel + 32 * row + column
        np.testing.assert_array_equal((data.x[:, channel, row, column] * 255).round(), raw[:, place])
    # official means of the whole set; 4000 images come close
    assert data.x.mean((0, 2, 3)).tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=0.01)


@pytest.mark.parametrize("suffix", [".bin", ".bin.gz", ".bin.xz", ".BIN"])
def test_packed_or_not(tmp_path, suffix):
    records = cifar_records(20)
    pack = {".bin.gz": gzip.compress, ".bin.xz": lzma.compress}.get(suffix, bytes)
    path = tmp_path / f"data_batch_1{suffix}"
    path.write_bytes(pack(records.tobytes()))
    data = load(path)
    np.testing.assert_array_equal((data.x.flatten(1) * 255).round().numpy(), records[:, 1:])
    assert data.name == "data_batch_1"
    assert data.test is None


def test_folder_of_batches_keeps_the_official_test_set(tmp_path):
    batches = [cifar_records(10), cifar_records(20), cifar_records(30)]
    for name, records in zip(("data_batch_1", "data_batch_2", "test_batch"), batches, strict=True):
        (tmp_path / f"{name}.bin").write_bytes(records.tobytes())
    (tmp_path / "batches.meta.txt").write_text("airplane\n")
    data = load(tmp_path)
    assert len(data.x) == 30
    assert data.y.tolist() == [*batches[0][:, 0], *batches[1][:, 0]]
    assert data.test is not None
    assert data.test[1].tolist() == batches[2][:, 0].tolist()


def test_cifar100_uses_the_fine_label(tmp_path):
    records = cifar_records(200, labels=2, classes=100)
    (tmp_path / "train.bin").write_bytes(records.tobytes())
    (tmp_path / "test.bin").write_bytes(records[:50].tobytes())
    data = load(tmp_path)
    assert data.n_outputs == 100
    assert data.y.tolist() == [label % 100 for label in range(200)]
    np.testing.assert_array_equal((data.x.flatten(1) * 255).round().numpy(), records[:, 2:])


def test_a_length_that_fits_both_layouts_is_told_by_its_labels(tmp_path):
    for name, labels, count in (("c10", 1, 3074), ("c100", 2, 3073)):
        records = np.zeros((count, labels + 3072), np.uint8)
        records[:, 0] = np.arange(count) % 10
        records[:, labels - 1] = np.arange(count) % (10 if labels == 1 else 100)
        records[:, labels:] = 255  # as a label of the other layout, far outside
        (tmp_path / f"{name}.bin").write_bytes(records.tobytes())
    assert load(tmp_path / "c10.bin").x.shape == (3074, 3, 32, 32)
    assert load(tmp_path / "c100.bin").x.shape == (3073, 3, 32, 32)


def test_truncated(tmp_path):
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes(cifar_records(20).tobytes()[:-1])
    assert "no whole number of CIFAR records" in refused(path)


def test_empty(tmp_path):
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes(b"")
    assert "0 bytes" in refused(path)


@pytest.mark.parametrize("pack", [lzma.compress, gzip.compress])
def test_truncated_while_packed(tmp_path, pack):
    path = tmp_path / "data_batch_1.bin.xz"
    path.write_bytes(pack(cifar_records(20).tobytes())[:-50])
    assert "truncated" in refused(path)


def test_something_after_the_xz_stream(tmp_path):
    path = tmp_path / "data_batch_1.bin.xz"
    path.write_bytes(lzma.compress(cifar_records(20).tobytes()) + b"more")
    assert "follows" in refused(path)


def test_label_outside(tmp_path):
    records = cifar_records(20)
    records[17, 0] = 200
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes(records.tobytes())
    assert "record 17 has label 200, allowed are 0 to 9" in refused(path)


def test_empty_class_is_named(tmp_path):
    records = cifar_records(20)
    records[records[:, 0] == 3, 0] = 2
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes(records.tobytes())
    assert "class 3 ('cat') has no example" in refused(path)


@pytest.mark.parametrize("second", ["data_batch_2.bin", "test_batch.bin"])
def test_both_kinds_in_one_folder(tmp_path, second):
    (tmp_path / "data_batch_1.bin").write_bytes(cifar_records(20).tobytes())
    (tmp_path / second).write_bytes(cifar_records(100, 2, 100).tobytes())
    assert "CIFAR-10 beside CIFAR-100" in refused(tmp_path)


def test_test_files_only(tmp_path):
    for name in ("test.bin", "test_batch.bin"):
        (tmp_path / name).write_bytes(cifar_records(20).tobytes())
    assert "test files only" in refused(tmp_path)


def test_an_xz_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "data_batch_1.bin.xz"
    path.write_bytes(lzma.compress(bytes(3073 * 20_000)))
    tracemalloc.start()
    try:
        assert "holds more than" in refused(path)
        assert tracemalloc.get_traced_memory()[1] < 25 * 2**20  # of 59 MiB
    finally:
        tracemalloc.stop()


def test_an_xz_header_may_not_claim_much_memory(tmp_path):
    path = tmp_path / "data_batch_1.bin.xz"
    greedy = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**29}]
    packer = lzma.LZMACompressor(filters=greedy)
    path.write_bytes(packer.compress(bytes(3073)) + packer.flush())
    assert "emory" in refused(path)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.one_of(
        st.binary(max_size=300),
        st.integers(1, 3).map(lambda n: bytes(3073 * n)),
        st.tuples(st.binary(max_size=40), st.integers(0, 3074 * 2)).map(lambda pair: pair[0] + bytes(pair[1])),
    ),
    pack=st.sampled_from([bytes, gzip.compress, lzma.compress]),
    cut=st.integers(0, 30),
)
def test_random_bytes_give_a_data_error(tmp_path, content, pack, cut):
    path = tmp_path / "random.bin"
    packed = pack(content)
    path.write_bytes(packed[: max(0, len(packed) - cut)])
    refused(path)  # none of these holds all ten classes
