import itertools
import threading

import pytest
import torch

import widthwise as ww
from widthwise import _maskfile, _tensorfile
from widthwise._tensorfile import read_tensors, write_tensors
from widthwise.errors import DataError

KIND = ("widthwise.test", 1)


def written(path, number):
    write_tensors(path, *KIND, {"number": number}, {"all": torch.full((1000,), float(number))})


def test_a_file_replaced_at_any_moment_is_read_as_one(tmp_path):
    path, new, over = tmp_path / "file", tmp_path / "new", threading.Event()
    contents = []
    for number in (0, 1):
        written(path, number)
        contents.append(path.read_bytes())

    def write():
        for content in itertools.cycle(contents):
            new.write_bytes(content)
            new.replace(path)
            if over.is_set():
                return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(2000):
            header, tensors = read_tensors(path, *KIND, {"number": int})
            assert (tensors["all"] == header["number"]).all()
    finally:
        over.set()
        writer.join()


def replacing(monkeypatch, replace, times):
    """Have the file replaced whenever the library has opened it, so many times."""
    real, left = _tensorfile.safe_open, [times]

    def opened(*arguments, **options):
        file = real(*arguments, **options)
        if left[0]:
            left[0] -= 1
            replace(left[0])
        return file

    monkeypatch.setattr(_tensorfile, "safe_open", opened)


def test_what_replaces_a_file_while_it_is_opened_is_what_is_read(tmp_path, monkeypatch):
    path = tmp_path / "file"
    written(path, 7)
    replacing(monkeypatch, lambda number: written(path, number), times=3)
    header, tensors = read_tensors(path, *KIND, {"number": int})
    assert header["number"] == 0
    assert (tensors["all"] == 0).all()


def test_a_file_that_never_rests_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "file"
    written(path, 7)
    replacing(monkeypatch, lambda number: written(path, number), times=10**6)
    with pytest.raises(DataError, match="again and again"):
        read_tensors(path, *KIND, {"number": int})


def test_a_file_deleted_while_it_is_opened_is_missing(tmp_path, monkeypatch):
    path = tmp_path / "file"
    written(path, 7)
    replacing(monkeypatch, lambda number: path.unlink(), times=1)
    with pytest.raises(DataError, match="cannot be opened"):
        read_tensors(path, *KIND, {"number": int})


def test_a_large_mask_replaced_while_it_is_opened_is_read_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr(_maskfile, "_LARGE", 0)
    masks = [ww.Mask({"weight": torch.rand(shape) < 0.5}) for shape in ((24, 10), (10, 24))]
    masks[0].save(tmp_path / "mask")
    replacing(monkeypatch, lambda _: masks[1].save(tmp_path / "mask"), times=1)
    assert ww.Mask.load(tmp_path / "mask") == masks[1]
