"""Whole sweeps in processes of their own: killed, resumed, from Python and from the command line."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest
from inline import Inline
from rich.console import Console
from typer.testing import CliRunner

import widthwise.sweep
from widthwise.cli import app
from widthwise.errors import DataError, InputError
from widthwise.sweep.run import STORE

SAMPLES = Path(__file__).with_name("sample_runs.py")


def stored(folder: Path) -> list[int]:
    return sorted(row["x"] for row in widthwise.sweep.results(folder)) if (folder / STORE).exists() else []


def executed(folder: Path) -> Counter[int]:
    log = folder / "log"
    return Counter(map(int, log.read_text().split())) if log.exists() else Counter()


def driver(folder: Path, count: int, seconds: float, *ray: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, SAMPLES, folder, str(count), str(seconds), *ray])


def survives_kills(folder: Path, kills: int, count: int, seconds: float, *ray: str) -> None:
    """Kill the driver again and again; what was in the store is not executed again, and all get there once."""
    draw = random.Random(0)
    finished: list[int] = []
    for _ in range(kills):
        before = executed(folder)
        process = driver(folder, count, seconds, *ray)
        while process.poll() is None and sum(executed(folder).values()) < sum(before.values()) + 2:
            time.sleep(0.02)
        time.sleep(draw.random())
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert all(executed(folder)[x] == before[x] for x in finished)
        finished = stored(folder)
        assert len(finished) == len(set(finished))
    before = executed(folder)
    assert driver(folder, count, seconds, *ray).wait() == 0
    assert stored(folder) == list(range(count))
    assert all(executed(folder)[x] == before[x] for x in finished)
    assert sum(executed(folder).values()) <= count + 2 * kills + 2


@pytest.fixture
def inline(monkeypatch):
    """Run in this process."""

    @contextlib.contextmanager
    def executing(jobs: int | None, *arguments: object, **chosen: object):
        yield Inline(jobs or 2)

    for module in ("run", "estimate"):
        monkeypatch.setattr(import_module(f"widthwise.sweep.{module}"), "executing", executing)


def test_a_killed_driver_loses_and_repeats_nothing_finished(tmp_path):
    survives_kills(tmp_path, 1, 20, 0.05)


@pytest.mark.slow
def test_a_driver_killed_ten_times(tmp_path):
    survives_kills(tmp_path, 10, 200, 0.2)


@pytest.mark.slow
def test_a_killed_worker_is_replaced(tmp_path):
    found = widthwise.sweep.run(
        f"{SAMPLES}:killed", {"x": [0, 1, 2]}, fixed={"log": str(tmp_path / "log"), "until": 2}, out=tmp_path, jobs=1
    )
    assert [row["x"] for row in found.rows] == [0, 1, 2]
    assert executed(tmp_path) == Counter({0: 1, 1: 2, 2: 1})
    assert found.run == 3


def test_a_network_is_trained_as_asked_and_the_same_again(tmp_path, inline):
    grid = {"together": {"method": ["dense", "synflow"], "sparsity": [0.0, 0.75]}, "fixed": {"width": 8, "epochs": 1}}
    rows = [widthwise.sweep.run("train", out=tmp_path / name, **grid).rows for name in ("a", "b")]
    assert rows[0] == rows[1]
    assert [row["weights"] for row in rows[0]] == [592, 148]
    assert all(0 <= row["test"] <= 1 for row in rows[0])


def test_built_in_entries_give_flat_results():
    quick = {"base_width": 2, "factors": [2], "methods": ["sparse"], "seeds": 1, "epochs": 1}
    compared = widthwise.sweep.ENTRIES["compare"](**quick)
    assert {"best", "dense x1", "sparse x2"} <= compared.keys()
    found = widthwise.sweep.ENTRIES["reproduce"](experiment="two-layer-compression/fig3", scale="smoke")
    assert found["table"].count("\n") == found["rows"] + 1
    assert found["claim"]
    with pytest.raises(InputError, match="allowed is one"):
        widthwise.sweep.ENTRIES["reproduce"](experiment="two-layer-compression")


def test_a_network_judged_by_one_row_of_a_table_is_refused_before_it_is_trained(tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n" + "".join(f"{i},{i}.5\n" for i in range(7)))
    with pytest.raises(InputError, match="table, validation part: got target 0 the same in all of 1 examples"):
        widthwise.sweep.ENTRIES["train"](data=str(tmp_path / "table.csv"), target="b", epochs=0)


def test_results_of_a_folder_without_a_store(tmp_path):
    with pytest.raises(DataError, match="no store"):
        widthwise.sweep.results(tmp_path)


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "sweep.toml"
    path.write_text(f'run = "{SAMPLES}:failing"\n[fixed]\nuntil = 2\nlog = "{tmp_path}/log"\n[grid]\nx = [0, 1, 2]\n')
    return path


def told(*arguments: object) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["sweep", *map(str, arguments)], env={"COLUMNS": "300"})
    return found.exit_code, found.output


def test_the_command_estimates_runs_lists_and_retries(config, tmp_path, inline):
    out = tmp_path / "out"
    code, said = told(config, "--dry-run", "--jobs", 1, "--out", out)
    assert code == 0
    assert "runs: 3\nfinished: 1\nleft: 2\nat the same time: 1\n" in said
    assert "(mean of 1)" in said
    assert executed(tmp_path) == Counter([0])
    code, said = told(config, "--jobs", 1, "--out", out)
    assert code == 1
    assert f'failed: {{"log": "{tmp_path}/log", "until": 2, "x": 1}}: ArithmeticError: no luck with 1' in said
    assert "Traceback (most recent call last)" in said
    assert "1 run now, 2 in" in said
    code, said = told(config, "--jobs", 1, "--out", out, "--retries", 1)
    assert code == 0
    assert "1 run now, 3 in" in said
    code, said = told(config, "--list", "--out", out)
    assert sorted(json.loads(line)["y"] for line in said.splitlines()) == [0, 1, 2]


def test_what_is_looked_at_shows_what_is_running_as_it_is(config, tmp_path, inline, monkeypatch):
    """In a terminal, with names that rich would take for markup."""
    config.write_text(f'run = "{SAMPLES}:odd"\n[grid]\nwhat = ["[/red]", "[bold]x", "values"]\n')
    module = import_module("widthwise.cli.sweep")
    monkeypatch.setattr(module, "_TICK", 0.0)
    monkeypatch.setattr(module, "out", Console(force_terminal=True, width=200))
    code, said = told(config, "--out", tmp_path)
    assert code == 1
    assert f"{SAMPLES.name}:odd: 0 of 3 done, 1 failed" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\n", "", said)
    assert "│ [bold]x │" in said
    assert said.count("Traceback") == 2
    assert "KeyError: '[bold]x'" in said


@pytest.mark.parametrize(
    ("arguments", "match"),
    [(["--jobs", 0], "--jobs: got 0"), (["--retries", -1], "--retries: got -1"), (["--list"], "there is no store")],
)
def test_the_commands_mistakes_are_one_line(config, tmp_path, arguments, match):
    code, said = told(config, "--out", tmp_path / "out", *arguments)
    assert code == 2
    assert match in said
    assert said.count("\n") == 1


def test_a_store_of_a_later_version_is_left_alone(config, tmp_path):
    import sqlite3

    db = sqlite3.connect(tmp_path / STORE)
    db.execute("PRAGMA user_version = 99")
    db.close()
    before = (tmp_path / STORE).read_bytes()
    code, said = told(config, "--out", tmp_path)
    assert code == 2
    assert "version 99" in said
    assert (tmp_path / STORE).read_bytes() == before


def of_a_terminal() -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(
        f'run = "{SAMPLES}:noted"\n[fixed]\nseconds = 0.2\nlog = "{tmp_path}/log"\n[grid]\nx = {list(range(50))}\n'
    )
    command = [sys.executable, "-m", "widthwise", "sweep", path, "--jobs", "2", "--out", tmp_path]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=of_a_terminal) as process:
        while len(executed(tmp_path)) < 5:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate()[1]
    assert process.returncode == 130
    assert "stopped" in said
    assert 3 <= len(stored(tmp_path)) < 50
