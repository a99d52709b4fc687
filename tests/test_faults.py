"""The command that makes faults: it sees what breaks, and a small campaign of it holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="a source distribution has no benchmarks")


@pytest.fixture
def watcher(tmp_path, monkeypatch):
    """Of a job that has finished what its files named ``done-*`` say, and gives ``result.json``."""
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.faults.held import Watcher
    from benchmarks.faults.jobs import Job

    def finished(folder: Path) -> dict[str, str]:
        return {path.name: path.read_text() for path in folder.glob("done-*")}

    def result(folder: Path) -> dict[str, str]:
        return {"result": (folder / "result.json").read_text()}

    (tmp_path / "result.json").write_text("[1]")
    (tmp_path / "done-a").write_text("1")
    found = Watcher(Job("job", lambda folder: None, finished, result), tmp_path, {"result": "[1]"})
    found.conclude()
    return found


def test_more_that_is_finished_is_no_fault(watcher):
    (watcher.folder / "done-b").write_text("1")
    watcher.conclude()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("result.json", "[1", "result.json is torn: JSONDecodeError"),
        ("result.json", "[2]", "not as undisturbed: result"),
        ("table.csv", "a,b\n1", "table.csv is torn"),
        ("page.html", "<html>", "page.html is torn"),
        ("plot.svg", "<svg>", "plot.svg is torn: ParseError"),
        ("r.sqlite", "SQLite format 3\0", "r.sqlite is torn: DataError"),
        ("m.safetensors", "\0", "m.safetensors is torn: SafetensorError"),
        ("done-a", "2", "done-a was finished and is gone or changed"),
        (".hidden", "", "left over"),
        ("r.sqlite-wal", "", "left over"),
    ],
)
def test_what_breaks_is_seen(watcher, name, text, said):
    (watcher.folder / name).write_text(text)
    with pytest.raises(AssertionError, match=said):
        watcher.conclude()


def test_what_is_lost_and_what_piles_up_is_seen(watcher):
    for i in range(2):
        (watcher.folder / f".a.{i}.widthwise-part").mkdir()
    with pytest.raises(AssertionError, match="temporary files pile up"):
        watcher.check()
    (watcher.folder / ".a.1.widthwise-part").rmdir()
    watcher.check()
    (watcher.folder / "done-a").unlink()
    with pytest.raises(AssertionError, match="done-a was finished and is gone"):
        watcher.check()


@pytest.mark.slow
def test_a_small_campaign_holds(tmp_path):
    out = tmp_path / "counts.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.faults",
        "--only",
        "prune,checkpoint,sweep",
        "--kills",
        "3",
        "--tries",
        "1",
    ]
    found = subprocess.run([*command, "--json", out], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    counts = json.loads(out.read_text())
    kills = [count for count in counts if count["fault"] == "kill -9"]
    assert [(count["job"], count["tries"], count["held"]) for count in kills] == [
        ("prune", 3, 3),
        ("checkpoint", 3, 3),
        ("sweep", 3, 3),
    ]
    assert all(count["tries"] == count["held"] == 1 and not count["broke"] for count in counts if count not in kills)
