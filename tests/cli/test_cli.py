"""The command line as a user meets it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from widthwise._locks import alone
from widthwise.cli import app

QUICK = ["--factors", "4", "--seeds", "2", "--epochs", "3", "--methods", "dense,sparse"]


def run(*arguments: object):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def stored(folder: Path) -> int:
    """Runs in a folder's store."""
    with closing(sqlite3.connect(folder / "results.sqlite")) as db:
        return db.execute("SELECT count(*) FROM runs").fetchone()[0]


def test_compare_writes_its_three_files_and_names_them(tmp_path):
    result = run("compare", "--out", tmp_path, *QUICK)
    assert result.exit_code == 0, result.output
    assert {p.name for p in tmp_path.iterdir()} >= {"report.html", "results.sqlite", "model.safetensors"}
    assert "222 weights" in result.output
    assert "sparse" in result.output
    assert "<html" in (tmp_path / "report.html").read_text()
    again = run("compare", "--out", tmp_path, *QUICK)
    assert again.exit_code == 0
    assert stored(tmp_path) == 6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "digitz"], ["digits", "mnist"]),
        (["--methods", "snap"], ["snip", "magnitude"]),
        (["--budget", "223"], ["222", "296"]),
        (["--factors", "two"], ["--factors", "numbers"]),
        (["--factors", ","], ["--factors"]),
        (["--lr", "-1"], ["lr"]),
        (["--epochs", "0"], ["epochs"]),
        (["--data", "/nowhere/at/all.csv", "--target", "y"], ["/nowhere/at/all.csv"]),
    ],
)
def test_an_error_is_one_line_on_stderr_and_exit_code_2(tmp_path, arguments, said):
    result = run("compare", "--out", tmp_path / "out", *QUICK, *arguments)
    assert result.exit_code == 2
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    for word in said:
        assert word in lines[0]
    assert not (tmp_path / "out").exists()


def test_bad_tables_are_named(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("a,b\n1,2\nx,3\n" + "4,5\n" * 30)
    result = run("compare", "--data", table, "--target", "b", "--out", tmp_path / "out", *QUICK)
    assert result.exit_code == 2
    assert "t.csv" in result.stderr
    assert "'x'" in result.stderr


def test_npz_and_help(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=(x[:, 0] > 0).astype(np.int64))
    result = run("compare", "--data", tmp_path / "d.npz", "--base-width", 2, "--out", tmp_path / "out", *QUICK)
    assert result.exit_code == 0, result.output
    shown = run("compare", "--help")
    assert shown.exit_code == 0
    for option in ("--data", "--budget", "--seeds", "--out", "--jobs"):
        assert option in shown.output


def test_an_output_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("keep me")
    result = run("compare", "--out", tmp_path / "file", *QUICK)
    assert result.exit_code == 2
    assert "file" in result.stderr
    assert (tmp_path / "file").read_text() == "keep me"


@pytest.mark.parametrize(
    "command",
    [
        "bench mlp --input 8",
        "compress any.safetensors --layer 0 --to 3",
        "kernel gram digits --examples 5",
        "kernel predict digits --examples 5",
        "kernel spectrum digits --rows 5",
        "prune mlp",
    ],
)
def test_a_folder_that_cannot_be_written_is_told_before_the_work(tmp_path, monkeypatch, command):
    def full(**_: object) -> str:
        raise OSError(28, "No space left on device", "a temporary name")

    monkeypatch.setattr("tempfile.mkdtemp", full)
    result = run(*command.split(), "--out", tmp_path / "out")
    assert result.exit_code == 2
    said = "where nothing can be written (No space left on device); allowed is another folder"
    assert result.output.strip() == f"error: out: got '{tmp_path / 'out'}', {said}"


def test_what_another_command_wrote_is_not_replaced(tmp_path):
    """All commands have the same folder by default."""
    prune = ["prune", "mlp", "--set", "width=8", "--sparsity", "0.5", "--out", tmp_path]
    assert run(*prune).exit_code == 0
    model = (tmp_path / "model.safetensors").read_bytes()
    compress = ["compress", tmp_path / "model.safetensors", "--layer", "hidden1", "--to", "3", "--out", tmp_path]
    for other in (["compare", *QUICK, "--out", tmp_path], compress):
        result = run(*other)
        assert result.exit_code == 2
        assert "where another command wrote model.safetensors, which would be lost" in result.stderr
        assert (tmp_path / "model.safetensors").read_bytes() == model
    assert run(*prune, "--seed", "1").exit_code == 0
    assert (tmp_path / "model.safetensors").read_bytes() != model
    (tmp_path / "compared").mkdir()
    assert run("compare", "--out", tmp_path / "compared", *QUICK).exit_code == 0
    assert run(*prune[:-1], tmp_path / "compared").exit_code == 2
    assert run("compare", "--out", tmp_path / "compared", *QUICK).exit_code == 0


def test_data_lists_names_one_a_line_and_describes_one():
    names = run("data").output.split()
    assert {"digits", "mnist", "cifar10"} <= set(names)
    assert "classification" in run("data", "digits").output
    assert run("data", "digitz").exit_code == 2


@pytest.mark.parametrize("how", ["module", "script", "import"])
def test_ctrl_c_while_it_loads_is_a_word_and_no_trace(tmp_path, how):
    """PyTorch is stood in for by a module that interrupts, since most of the loading is its own."""
    (tmp_path / "torch.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)\n")
    (tmp_path / "widthwise").write_text("from widthwise.cli import main\nmain()\n")
    command = {"module": ["-m", "widthwise"], "script": [tmp_path / "widthwise"], "import": ["-c", "import widthwise"]}
    done = subprocess.run(
        [sys.executable, *command[how]],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    if how == "import":  # by somebody else's program, whose handler stays
        assert done.stderr.rstrip().endswith("KeyboardInterrupt")
    else:
        assert (done.returncode, done.stderr) == (130, "stopped\n")


@pytest.mark.skipif(os.name != "posix", reason="pipes and encodings of POSIX")
def test_output_that_nobody_reads_and_names_that_a_terminal_has_no_signs_for(tmp_path):
    command = [sys.executable, "-m", "widthwise", "data"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()  # before anything is written
        said = process.stderr.read()
    assert (process.returncode, said) == (141, b"")
    command[-1:] = ["prune", "mlp", "--set", "width=8", "--sparsity", "0.5", "--out", tmp_path / "дом"]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=ascii_only, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"\\u0434\\u043e\\u043c/mask.svg" in done.stdout


def test_a_second_comparison_in_a_folder_waits_for_the_first(tmp_path, monkeypatch):
    first = ExitStack()
    first.enter_context(alone(tmp_path / ".compare-lock", pytest.fail))
    monkeypatch.setattr("widthwise._locks.time.sleep", lambda seconds: first.close())
    second = run("compare", "--out", tmp_path, *QUICK)
    assert f"another process works on this in {tmp_path}: waiting for its end" in second.stderr
    assert second.exit_code == 0
    assert not (tmp_path / ".compare-lock").exists()


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(tmp_path):
    command = [sys.executable, "-m", "widthwise", "compare", "--out", str(tmp_path), "--seeds", "6", "--epochs", "25"]
    worker = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and worker.poll() is None:
        if (tmp_path / "nets").exists():
            break
        time.sleep(0.05)
    os.kill(worker.pid, signal.SIGINT)
    _, stderr = worker.communicate()
    assert worker.returncode == 130
    assert "kept" in stderr
    assert "Traceback" not in stderr
    done = stored(tmp_path)
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert stored(tmp_path) == 126 > done


def test_the_version_is_said():
    assert run("--version").output.startswith("widthwise ")
