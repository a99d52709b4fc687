from __future__ import annotations

import json
import struct
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from data_cases import image_bytes, refused

from widthwise.data import load
from widthwise.data.cifar import CIFAR10_CLASSES

RNG = np.random.default_rng(5)


def pixels(n: int = 6, shape: tuple[int, ...] = (4, 5, 3)) -> np.ndarray:
    return RNG.integers(0, 256, (n, *shape)).astype(np.uint8)


def write(path, blobs, labels, *, image="img", label="label", struct_column=True, names=None, **more):
    """Write a file in the hubs' layout."""
    column = [{"bytes": blob, "path": None} for blob in blobs] if struct_column else list(blobs)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if struct_column else pa.binary()
    table = pa.table({image: pa.array(column, kind), label: pa.array(labels), **more})
    if names is not None:
        info = {"info": {"features": {label: {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(table, path)
    return path


def test_real_cifar_slice(shared_data, tmp_path):
    """A slice of the lossy copy: its names, its labels, and pixels as the hubs' own decoder gives them."""
    file = pq.ParquetFile(shared_data / "cifar-10" / "test.parquet")
    rows = next(file.iter_batches(batch_size=300))
    pq.write_table(pa.Table.from_batches([rows]), tmp_path / "slice.parquet")
    seen = []
    data = load(tmp_path / "slice.parquet", progress=lambda done, total: seen.append((done, total)))
    assert data.x.shape == (300, 3, 32, 32)
    assert data.classes == CIFAR10_CLASSES
    assert data.y.tolist() == rows.column("label").to_pylist()
    assert data.x.mean((0, 2, 3)).tolist() == pytest.approx([0.491, 0.482, 0.447], abs=0.03)
    assert seen == [(300, 300)]


@pytest.mark.slow
def test_real_cifar_whole(shared_data):
    data = load(shared_data / "cifar-10" / "*.parquet")
    assert data.x.shape == (50000, 3, 32, 32)
    assert data.test is not None
    assert data.test[0].shape == (10000, 3, 32, 32)
    assert torch.bincount(data.y).tolist() == [5000] * 10
    assert data.x.mean((0, 2, 3), dtype=torch.float64).tolist() == pytest.approx([0.4913, 0.4821, 0.4465], abs=1e-4)
    assert data.x.double().std((0, 2, 3)).tolist() == pytest.approx([0.2452, 0.2428, 0.2606], abs=1e-4)


@pytest.mark.parametrize("struct_column", [True, False])
def test_lossless_pixels_come_back(tmp_path, struct_column):
    images = pixels()
    write(tmp_path / "a.parquet", map(image_bytes, images), [0, 1, 0, 1, 2, 2], struct_column=struct_column)
    data = load(tmp_path / "a.parquet")
    np.testing.assert_array_equal((data.x * 255).round().numpy(), images.transpose(0, 3, 1, 2))
    assert data.x.is_contiguous()  # some convolutions of PyTorch's crash on channels that lie last
    assert data.y.tolist() == [0, 1, 0, 1, 2, 2]
    assert data.name == "a"


def test_many_row_groups_and_files_keep_their_order(tmp_path):
    images = pixels(3000, (2, 2, 3))
    labels = list(np.arange(3000) % 7)
    blobs = [image_bytes(image, "BMP") for image in images]
    for part in range(2):
        rows = slice(1500 * part, 1500 * (part + 1))
        write(tmp_path / f"train-{part}.parquet", blobs[rows], labels[rows])
    write(tmp_path / "test-0.parquet", blobs[:20], labels[:20])
    seen = []
    data = load(tmp_path, progress=lambda done, total: seen.append((done, total)))
    np.testing.assert_array_equal((data.x * 255).round().numpy(), images.transpose(0, 3, 1, 2))
    assert data.y.tolist() == labels
    assert data.test is not None
    assert data.test[1].tolist() == labels[:20]
    assert seen[-1] == (3020, 3020)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_gray_and_colour_mixed_become_colour(tmp_path):
    gray, colour = pixels(1, (4, 4))[0], pixels(1, (4, 4, 3))[0]
    write(tmp_path / "a.parquet", [image_bytes(gray), image_bytes(colour)], [0, 1])
    data = load(tmp_path / "a.parquet")
    assert data.x.shape == (2, 3, 4, 4)
    for channel in range(3):
        np.testing.assert_array_equal((data.x[0, channel] * 255).round().numpy(), gray)


def test_gray_stays_gray(tmp_path):
    write(tmp_path / "a.parquet", [image_bytes(image) for image in pixels(2, (4, 4))], [0, 1])
    assert load(tmp_path / "a.parquet").x.shape == (2, 1, 4, 4)


def test_names_from_the_hub_and_text_labels(tmp_path):
    blobs = [image_bytes(image) for image in pixels(4)]
    write(tmp_path / "a.parquet", blobs, [1, 0, 1, 0], names=["cat", "dog"])
    assert load(tmp_path / "a.parquet").classes == ("cat", "dog")
    write(tmp_path / "b.parquet", blobs, ["dog", "cat", "dog", "cat"])
    data = load(tmp_path / "b.parquet")
    assert data.classes == ("cat", "dog")
    assert data.y.tolist() == [1, 0, 1, 0]


def test_malformed_hub_metadata_is_passed_over(tmp_path):
    path = write(tmp_path / "a.parquet", map(image_bytes, pixels(2)), [0, 1])
    for value in ("{", "[]", '{"info": null}', '{"info": {"features": {"label": 3}}}', "[" * 100_000):
        pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": value}), path)
        assert load(path).classes == ()


def test_choosing_among_labels(tmp_path):
    more = {"coarse": pa.array([0, 0, 1, 1])}
    path = write(tmp_path / "a.parquet", map(image_bytes, pixels(4)), [3, 0, 1, 2], label="fine", **more)
    assert "choose one with target: fine, coarse" in refused(path)
    assert load(path, target="coarse").y.tolist() == [0, 0, 1, 1]
    assert load(path, target="fine").y.tolist() == [3, 0, 1, 2]
    assert "did you mean 'coarse'" in refused(path, target="course")


def test_bytes_that_are_no_image(tmp_path):
    blobs = [image_bytes(image) for image in pixels(4)]
    blobs[2] = b"GIF89a, or so it says"
    message = refused(write(tmp_path / "a.parquet", blobs, [0, 1, 0, 1]))
    assert "row 2" in message
    assert "no sound PNG" in message


def test_row_numbers_go_on_across_batches(tmp_path):
    blobs = [image_bytes(pixels(1, (1, 1))[0])] * 2100
    blobs[2050] = b"?"
    assert "row 2050" in refused(write(tmp_path / "a.parquet", blobs, list(np.arange(2100) % 2)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_truncated_image(tmp_path, kind):
    blob = image_bytes(pixels(1, (40, 40, 3))[0], kind)
    assert "row 1" in refused(write(tmp_path / "a.parquet", [blob, blob[: len(blob) // 2]], [0, 1]))


def test_different_sizes(tmp_path):
    blobs = [image_bytes(pixels(1, shape)[0]) for shape in ((4, 5, 3), (5, 4, 3))]
    message = refused(write(tmp_path / "a.parquet", blobs, [0, 1]))
    assert "images of 4 x 5 and of 5 x 4 pixels" in message


def test_test_images_of_another_size(tmp_path):
    for name, shape in (("train", (4, 4)), ("test", (4, 5))):
        write(tmp_path / f"{name}.parquet", map(image_bytes, pixels(2, shape)), [0, 1])
    assert "both must have the same" in refused(tmp_path)


def png(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [3000, 12_000, 2**31 - 1])
def test_declared_pixels_are_not_allocated(tmp_path, side):
    message = refused(write(tmp_path / "a.parquet", [png(side, side)] * 2, [0, 1]))
    assert "row 0" in message


def test_too_many_pixels_in_all(tmp_path, monkeypatch):
    monkeypatch.setattr("widthwise.data.images.MAX_BYTES", 100)
    path = write(tmp_path / "a.parquet", map(image_bytes, pixels(2)), [0, 1])
    assert "2 images of 5 x 4 pixels are too many" in refused(path)


def test_sixteen_bits(tmp_path):
    blobs = [image_bytes(np.full((3, 3), 1000, np.uint16))] * 2
    assert "8 bits" in refused(write(tmp_path / "a.parquet", blobs, [0, 1]))


@pytest.mark.parametrize("hole", ["image", "bytes", "label"])
def test_holes(tmp_path, hole):
    blob = image_bytes(pixels(1)[0])
    images = [{"bytes": blob, "path": None}, {"bytes": blob, "path": None}]
    labels: list[int | None] = [0, 1]
    if hole == "label":
        labels[1] = None
    else:
        images[1] = None if hole == "image" else {"bytes": None, "path": "gone.png"}
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"img": pa.array(images, kind), "label": labels}), path)
    assert "missing" in refused(path)


def test_without_the_columns(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"label": [0, 1], "score": [0.5, 1.5]}), path)
    assert "0 columns of image bytes among label, score" in refused(path)
    pq.write_table(pa.table({"img": [b"1", b"2"], "score": [0.5, 1.5]}), path)
    assert "no column 'label'" in refused(path)


def test_second_file_without_the_columns(tmp_path):
    write(tmp_path / "train-0.parquet", map(image_bytes, pixels(2)), [0, 1])
    write(tmp_path / "train-1.parquet", map(image_bytes, pixels(2)), [0, 1], label="digit")
    assert "no column label" in refused(tmp_path)


def test_no_rows(tmp_path):
    path = write(tmp_path / "a.parquet", [], pa.array([], pa.int64()))
    assert "no rows" in refused(path)


def test_label_outside_the_hubs_names(tmp_path):
    path = write(tmp_path / "a.parquet", map(image_bytes, pixels(3)), [0, 1, 2], names=["cat", "dog"])
    assert "example 2 has label 2; the labels are 0 to 1" in refused(path)


def test_text_label_that_training_does_not_know(tmp_path):
    write(tmp_path / "train.parquet", map(image_bytes, pixels(2)), ["a", "b"])
    write(tmp_path / "test.parquet", map(image_bytes, pixels(2)), ["a", "c"])
    assert "'c' is no training class" in refused(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"not parquet at all"])
def test_no_parquet(tmp_path, content):
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    assert "no readable parquet file" in refused(path)


def test_truncated_file(tmp_path):
    path = write(tmp_path / "a.parquet", map(image_bytes, pixels(2)), [0, 1])
    path.write_bytes(path.read_bytes()[:-20])
    assert "no readable parquet file" in refused(path)
