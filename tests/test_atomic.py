"""Files written whole or not at all; what killed processes leave is cleared, what living ones write is not."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from widthwise._atomic import _clear, atomic_path, check_folder, write_text
from widthwise._locks import alone, shared
from widthwise._tensorfile import write_tensors

WRITING = (
    "import sys, time; from widthwise._atomic import atomic_path\n"
    "with atomic_path(sys.argv[1]) as part:\n"
    "    part.write_text('half'); print('writing', flush=True); time.sleep(1000)\n"
)


@pytest.fixture(autouse=True)
def _as_a_new_process():
    _clear.cache_clear()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def writer(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", WRITING, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    return process


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    write_text(tmp_path / "a", "old")
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "a") as part:  # noqa: PT012  # what was written counts
        part.write_text("half")
        raise RuntimeError
    assert (tmp_path / "a").read_text() == "old"
    write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"
    assert names(tmp_path) == {"a"}


def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(tmp_path):
    alive = writer(tmp_path / "b")
    try:
        killed = writer(tmp_path / "a")
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        assert len(names(tmp_path)) == 2
        write_text(tmp_path / "c", "text")
        (theirs,) = names(tmp_path) - {"c"}
        assert theirs.startswith(".b.")
        assert (tmp_path / theirs / "b").read_text() == "half"
    finally:
        alive.kill()
        alive.communicate()
    _clear.cache_clear()
    write_text(tmp_path / "c", "text")
    assert names(tmp_path) == {"c"}


def test_only_what_is_ours_is_cleared(tmp_path):
    (tmp_path / ".a.abcdefgh.part").write_text("another program's")
    write_text(tmp_path / "a", "text")
    assert names(tmp_path) == {"a", ".a.abcdefgh.part"}


def test_a_libraries_own_temporary_files_lie_apart(tmp_path, monkeypatch):
    """A safetensors file is written to a temporary one of the library, which a kill leaves behind."""
    seen = []

    def interrupted(tensors: object, path: Path, metadata: object) -> None:
        (path.parent / ".tmpABCDEF").write_text("half")
        seen.append(path.parent)
        raise KeyboardInterrupt

    monkeypatch.setattr("widthwise._tensorfile.save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_tensors(tmp_path / "a.safetensors", "kind", 1, {}, {"x": torch.ones(1)})
    assert seen != [tmp_path]
    assert names(tmp_path) == set()


def test_an_error_names_the_file_the_user_knows(tmp_path, monkeypatch):
    def full(**_: object) -> str:
        raise OSError(28, "No space left on device", str(tmp_path / ".a.xyz.widthwise-part"))

    monkeypatch.setattr("tempfile.mkdtemp", full)
    with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path / 'a'}'"):
        write_text(tmp_path / "a", "text")
    with pytest.raises(OSError, match=rf"out: got '{tmp_path / 'b'}', where nothing can .* \(No space left on device"):
        check_folder(tmp_path / "b")
    monkeypatch.undo()
    check_folder(tmp_path / "b" / "c")
    assert names(tmp_path) == set()
    (tmp_path / "b").write_text("")
    with pytest.raises(NotADirectoryError, match="out: got"):
        check_folder(tmp_path / "b" / "c")


def test_the_last_of_those_who_share_a_file_is_alone(tmp_path):
    path = tmp_path / "lock"
    with shared(path) as first:
        with shared(path) as second:
            assert not first()
            assert second()
        assert not path.exists()
    with shared(path) as again:
        assert again()
    assert names(tmp_path) == set()


def test_one_after_another_holds_a_file(tmp_path):
    """The second waits for the first, and is told so once; the file goes with the last."""
    first, told = alone(tmp_path / "lock", lambda: told.append("first")), []
    first.__enter__()

    def wait() -> None:
        told.append("second")
        threading.Timer(0.3, first.__exit__, (None, None, None)).start()

    with alone(tmp_path / "lock", wait):
        assert told == ["second"]
        assert names(tmp_path) == {"lock"}
    assert names(tmp_path) == set()


def test_a_file_whose_holder_was_killed_is_free(tmp_path):
    code = "import os, sys; from widthwise._locks import alone; from pathlib import Path\n"
    code += "with alone(Path(sys.argv[1]), print): os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "lock")], check=False)
    assert names(tmp_path) == {"lock"}
    with alone(tmp_path / "lock", pytest.fail):
        pass
    assert names(tmp_path) == set()


def test_who_stops_waiting_leaves_the_file_to_its_holder(tmp_path):
    def stop() -> None:
        raise KeyboardInterrupt

    with alone(tmp_path / "lock", pytest.fail):
        with pytest.raises(KeyboardInterrupt), alone(tmp_path / "lock", stop):
            pass
        assert names(tmp_path) == {"lock"}
