"""OpenML cannot be asked in tests: its answers are made up here, and all that follows them is real."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from widthwise.data import load, openml
from widthwise.errors import DataError

RNG = np.random.default_rng(11)

GRAY = openml.Source(1, (1, 28, 28), (4, 5, 3), (2, 1, 3), ("a", "b", "c"))
COLOUR = openml.Source(2, (3, 32, 32), (3,) * 10, (1,) * 10, tuple("0123456789"))


def labels_of(counts) -> np.ndarray:
    return RNG.permutation(np.repeat(np.arange(len(counts)), counts))


def answer(source: openml.Source) -> SimpleNamespace:
    """What OpenML's file of a set holds: numbers, labels as text in an object array, official order."""
    labels = np.concatenate([labels_of(source.train), labels_of(source.test)])
    pixels = RNG.integers(0, 256, (len(labels), int(np.prod(source.shape)))).astype(float)
    return SimpleNamespace(data=pixels, target=labels.astype(str).astype(object))


@pytest.fixture
def served(monkeypatch):
    """Serve a made-up answer under the name ``mnist``; returns the calls."""

    def serve(source: openml.Source, bunch) -> list[dict]:
        calls: list[dict] = []

        def fetch(data_id, path, rows):
            calls.append({"data_id": data_id, "path": path, "rows": rows})
            if isinstance(bunch, Exception):
                raise bunch
            return bunch.data, bunch.target

        monkeypatch.setattr(openml, "arrays_of", fetch)
        monkeypatch.setitem(openml.SOURCES, "mnist", source)
        return calls

    return serve


def refused(cache) -> str:
    with pytest.raises(DataError) as caught:
        load("mnist", cache=cache)
    assert "\n" not in str(caught.value)
    assert not list(cache.glob("**/*")) if cache.is_dir() else True  # nothing half-made is kept
    return str(caught.value)


def test_first_fetched_then_read_from_the_cache(served, tmp_path):
    bunch = answer(GRAY)
    calls = served(GRAY, bunch)
    first = load("mnist", cache=tmp_path / "new" / "cache")
    second = load("mnist", cache=tmp_path / "new" / "cache")
    assert len(calls) == 1
    assert calls[0] == {"data_id": 1, "path": tmp_path / "new" / "cache" / "mnist.arff", "rows": 18}
    for data in (first, second):
        assert (data.name, data.classes) == ("mnist", ("a", "b", "c"))
        assert data.x.shape == (12, 1, 28, 28)
        assert data.test is not None
        assert data.test[0].shape == (6, 1, 28, 28)
        pixels = torch.cat([data.x, data.test[0]]).flatten(1)
        np.testing.assert_array_equal((pixels * 255).round().numpy(), bunch.data)
        assert torch.cat([data.y, data.test[1]]).tolist() == [int(label) for label in bunch.target]


def test_another_order_has_no_official_test_set(served, tmp_path):
    bunch = answer(GRAY)
    order = np.argsort(bunch.target.astype(int), kind="stable")
    served(GRAY, SimpleNamespace(data=bunch.data[order], target=bunch.target[order]))
    data = load("mnist", cache=tmp_path)
    assert data.test is None
    assert len(data.x) == 18


def test_the_recorded_hash(served, tmp_path):
    bunch = answer(GRAY)
    good = openml.hashlib.sha256(
        bunch.data.astype(np.uint8).tobytes() + bunch.target.astype(np.uint8).tobytes()
    ).hexdigest()
    served(replace(GRAY, sha256=good), bunch)
    load("mnist", cache=tmp_path / "good")
    bunch.data[3, 3] = 255 - bunch.data[3, 3]
    served(replace(GRAY, sha256=good), bunch)
    assert "other pixels or another order" in refused(tmp_path / "bad")


def test_the_hash_of_mnist_is_that_of_the_published_files(shared_data):
    data = load(shared_data / "mnist")
    assert data.test is not None
    digest = openml.hashlib.sha256()
    for part in (data.x, data.test[0], data.y, data.test[1]):
        scale = 255 if part.is_floating_point() else 1
        digest.update((part * scale).round().to(torch.uint8).numpy().tobytes())
    source = openml.SOURCES["mnist"]
    assert digest.hexdigest() == source.sha256
    assert torch.bincount(data.y).tolist() == list(source.train)
    assert torch.bincount(data.test[1]).tolist() == list(source.test)


def test_sizes_of_the_sets():
    sizes = {name: (sum(source.train), sum(source.test)) for name, source in openml.SOURCES.items()}
    assert sizes == {
        "mnist": (60000, 10000),
        "fashion-mnist": (60000, 10000),
        "cifar10": (50000, 10000),
        "cifar100": (50000, 10000),
        "svhn": (73257, 26032),
    }
    for source in openml.SOURCES.values():
        assert len(source.train) == len(source.test) == len(source.classes)


def test_ten_stands_for_the_digit_zero(served, tmp_path):
    bunch = answer(COLOUR)
    bunch.target[bunch.target == "0"] = "10"
    served(COLOUR, bunch)
    assert torch.bincount(load("mnist", cache=tmp_path).y).tolist() == [3] * 10


@pytest.mark.parametrize("interleaved", [False, True])
def test_colour_planes_are_told_from_colour_pixels(served, tmp_path, interleaved):
    """Smooth images, as natural ones are: digits blown up, tinted by channel."""
    digits = np.kron(load_digits().images[:40], np.ones((4, 4)))
    smooth = sum(np.roll(digits, (i, j), (1, 2)) for i in range(4) for j in range(4)) / 16
    images = np.stack([smooth * 15, smooth * 10, smooth * 5], 1).round()
    bunch = answer(COLOUR)
    bunch.data = (images.transpose(0, 2, 3, 1) if interleaved else images).reshape(40, -1)
    served(COLOUR, bunch)
    data = load("mnist", cache=tmp_path)
    np.testing.assert_array_equal((data.x * 255).round().numpy(), images[:30])


def test_real_colour_images_are_told_too(shared_data):
    lossless = load(shared_data / "cifar-10" / "data_batch_1-first-4000-lossless.bin.xz")
    images = (lossless.x[:1000] * 255).round().to(torch.uint8).numpy()
    for start in range(0, 1000, 10):  # ten images are enough
        some = images[start : start + 10]
        for stored in (some, some.transpose(0, 2, 3, 1)):
            assert np.array_equal(openml._planes(stored.reshape(10, -1)), some)


def spoil(bunch, **changes):
    return SimpleNamespace(**{**vars(bunch), **changes})


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda b: spoil(b, data=b.data[:-1]), "shape (17, 784)"),
        (lambda b: spoil(b, data=b.data[:, :-1]), "shape (18, 783)"),
        (lambda b: spoil(b, target=b.target[:-1]), "(17,) labels"),
        (lambda b: spoil(b, data=b.data + 1000), "no pixels 0 to 255"),
        (lambda b: spoil(b, data=b.data * np.nan), "no pixels 0 to 255"),
        (lambda b: spoil(b, data=b.data / 255), "no whole numbers"),
        (lambda b: spoil(b, target=np.array(["cat"] * 18, object)), "labels such as 'cat'"),
        (lambda b: spoil(b, target=np.array(["7"] * 18, object)), "labels outside 0 to 2"),
        (lambda b: spoil(b, target=np.array(["1"] * 18, object)), "other numbers of examples"),
    ],
)
def test_what_came_is_checked(served, tmp_path, change, what):
    served(GRAY, change(answer(GRAY)))
    message = refused(tmp_path / "cache")
    assert what in message
    assert "path of a folder" in message


@pytest.mark.parametrize(
    "error", [URLError("Name or service not known"), TimeoutError(), ValueError("no data set 1\nsorry"), OSError()]
)
def test_offline(served, tmp_path, error):
    served(GRAY, error)
    message = refused(tmp_path / "cache")
    assert message.startswith("mnist: cannot be downloaded from OpenML")
    assert "give the path of a folder with its files" in message


def test_an_unwritable_cache_shows_before_the_download(served, tmp_path):
    calls = served(GRAY, answer(GRAY))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="the cache folder cannot be used"):
        load("mnist", cache=tmp_path / "file")
    assert calls == []


def test_a_damaged_cache_file_is_named(served, tmp_path):
    served(GRAY, answer(GRAY))
    load("mnist", cache=tmp_path)
    path = tmp_path / "mnist.npz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=str(path)):
        load("mnist", cache=tmp_path)


def test_the_cache_folder_follows_the_system(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert openml.cache_folder() == tmp_path / "widthwise"
    monkeypatch.setenv("XDG_CACHE_HOME", "")  # as good as unset
    monkeypatch.setenv("HOME", str(tmp_path))
    for system, folder in (("linux", ".cache"), ("darwin", "Library/Caches"), ("win32", "AppData/Local")):
        monkeypatch.setattr("sys.platform", system)
        monkeypatch.delenv("LOCALAPPDATA", raising=False)
        assert openml.cache_folder() == tmp_path / folder / "widthwise"
