"""``widthwise reproduce``: every paper's experiments by name, stopped and taken up again."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from widthwise._locks import alone
from widthwise.cli import app
from widthwise.errors import InputError
from widthwise.experiments import outcome, registry
from widthwise.experiments.command import reproduce
from widthwise.experiments.outcome import Outcome
from widthwise.experiments.parts import in_parts, kept_in


@dataclass(frozen=True)
class Part:
    seed: int
    scale: str


class Counting:
    """An experiment of three parts which stops, as by Ctrl-C, before part ``stop``."""

    def __init__(self) -> None:
        self.ran: list[int] = []
        self.stop: int | None = None

    def __call__(self, scale: str, data: object, seed: int, seeds: int = 3) -> Outcome:
        found = in_parts("counting", [Part(s, scale) for s in range(seed, seed + seeds)], self._part)
        return Outcome("counting", scale, {"seeds": seeds}, found, Figure(), ["Counted."])

    def _part(self, part: Part) -> dict[str, float]:
        if part.seed == self.stop:
            raise KeyboardInterrupt
        self.ran.append(part.seed)
        return {"seed": part.seed, "third": part.seed / 3}


@pytest.fixture
def counting(monkeypatch):
    experiment = Counting()
    monkeypatch.setattr(registry, "experiments", lambda paper: {"counting": experiment})
    return experiment


def test_a_stopped_experiment_goes_on_where_it_stopped(tmp_path, counting):
    name = "robust-pruning/counting"
    counting.stop = 2
    with pytest.raises(KeyboardInterrupt):
        list(reproduce(name, tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == [".parts-small.sqlite"]
    counting.stop = None
    watched = []
    (lines,) = reproduce(name, tmp_path, watch=lambda *what: watched.append(what))
    assert counting.ran == [0, 1, 2]
    assert watched == [(i, 3, "counting") for i in range(3)]
    assert lines[0] == "Counted."
    assert {p.name for p in tmp_path.iterdir()} == {f"counting-small.{kind}" for kind in ("json", "csv", "svg")}
    rows = json.loads((tmp_path / "counting-small.json").read_text())["rows"]
    assert [row["seed"] for row in rows] == [0, 1, 2]


def test_of_two_on_one_folder_the_first_to_end_leaves_the_other_its_parts(tmp_path, counting):
    """Another process is stood in for by its hold on the parts."""
    with kept_in(tmp_path / ".parts-small.sqlite"):
        list(reproduce("robust-pruning/counting", tmp_path))
        assert (tmp_path / ".parts-small.sqlite").exists()
        in_parts("counting", [Part(7, "small")], lambda part: {"seed": 7})
    assert {p.name for p in tmp_path.iterdir()} == {f"counting-small.{kind}" for kind in ("json", "csv", "svg")}


def test_the_same_experiment_elsewhere_is_waited_for(tmp_path, counting):
    """What the other process gave is not made again, while other experiments do not wait."""
    name, told = "robust-pruning/counting", []
    other = alone(tmp_path / ".counting-small-lock", pytest.fail)
    other.__enter__()
    list(reproduce(name, tmp_path, scale="smoke"))

    def watch(done: float, total: float, what: str) -> None:
        if math.isinf(total):
            told.append(what)
            (tmp_path / ".counting-small-lock").unlink()  # as another process that ends, whose work is
            list(reproduce(name, tmp_path))
            other.__exit__(None, None, None)

    (lines,) = reproduce(name, tmp_path, watch=watch)
    assert told == [f"another process works on {name} in {tmp_path}: waiting for its end"]
    assert lines[-1].endswith("(was there)")
    assert counting.ran == [0, 1, 2] * 2
    assert not list(tmp_path.glob(".*"))


def test_what_was_half_written_is_not_taken_for_finished(tmp_path, counting, monkeypatch):
    """Killed between two of three files, over those of another command: the JSON says whose all three are."""
    name = "robust-pruning/counting"
    list(reproduce(name, tmp_path, seed=5))
    before, real, written = (tmp_path / "counting-small.csv").read_text(), outcome.write_text, []

    def killed(path: Path, text: str) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(path)
        real(path, text)

    monkeypatch.setattr(outcome, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        list(reproduce(name, tmp_path))
    monkeypatch.setattr(outcome, "write_text", real)
    (lines,) = reproduce(name, tmp_path)
    assert not lines[-1].endswith("(was there)")
    assert (tmp_path / "counting-small.csv").read_text() != before


def test_what_is_there_is_not_run_again_unless_asked(tmp_path, counting):
    name = "robust-pruning/counting"
    list(reproduce(name, tmp_path, scale="smoke", seeds=2))
    (lines,) = reproduce(name, tmp_path, scale="smoke", seeds=2)
    assert counting.ran == [0, 1]
    assert lines[-1].endswith("(was there)")
    list(reproduce(name, tmp_path, scale="smoke", seeds=2, again=True))
    list(reproduce(name, tmp_path, scale="smoke", seeds=1, seed=7))
    assert counting.ran == [0, 1, 0, 1, 7]
    command = json.loads((tmp_path / "counting-smoke.json").read_text())["command"]
    assert command == "widthwise reproduce robust-pruning/counting --scale smoke --seed 7 --seeds 1 --out DIR"


def test_damaged_leftovers_are_run_again(tmp_path, counting):
    for kind in ("json", "csv", "svg"):
        (tmp_path / f"counting-small.{kind}").write_text("[")
    list(reproduce("robust-pruning/counting", tmp_path))
    assert counting.ran == [0, 1, 2]


def test_several_papers_get_a_folder_each(tmp_path, counting):
    list(reproduce(["robust-pruning", "two-layer-compression"], tmp_path, scale="smoke"))
    assert {p.name for p in tmp_path.iterdir()} == {"robust-pruning", "two-layer-compression"}


def test_the_command_line_lists_runs_and_names_the_nearest(tmp_path):
    def run(*arguments: object):
        return CliRunner().invoke(app, ["reproduce", *map(str, arguments)])

    lines = run("--list").output.splitlines()
    listed = [line.split()[0] for line in lines]
    assert listed == registry.names()
    assert all(len(line.split()) > 1 for line in lines)
    assert {"asymmetrical-scaling/fig1", "robust-pruning/table2", "two-layer-compression/fig2"} <= set(listed)
    done = run("asymmetrical-scaling/fig5", "--scale", "smoke", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert "fig5-smoke.svg" in done.output
    for arguments, said in (
        (["asymmetrical-scaling/fg1"], "did you mean asymmetrical-scaling/fig1"),
        (["fig5"], "robust-pruning/fig5"),
        (["asymetrical-scaling"], "--list"),
        ([], "--list"),
        (["asymmetrical-scaling/fig5", "--scale", "huge"], "small"),
        (["asymmetrical-scaling/fig5", "--seeds", 0], "seeds"),
        (["robust-pruning/fig2", "--seeds", 2], "no such choice"),
        (
            ["asymmetrical-scaling/fig3", "asymmetrical-scaling/fig5", "--data", "digits"],
            "data: got 'digits', but asymmetrical-scaling/fig5 has no such choice; leave it out, or name only those",
        ),
        (["asymmetrical-scaling/fig1", "--weights", "w.safetensors"], "no such choice"),
        (["asymmetrical-scaling/fig4", "--scale", "smoke", "--weights", tmp_path / "no.safetensors"], "no.safetensors"),
        (["asymmetrical-scaling/fig5", "--threads", 0], "threads"),
        (["asymmetrical-scaling/fig6", "--data", tmp_path / "none.csv"], "none.csv"),
    ):
        failed = run(*arguments, "--out", tmp_path / "out")
        assert failed.exit_code == 2, failed.output
        assert said in failed.stderr
        (line,) = failed.stderr.strip().splitlines()
        assert line.startswith("error: ")


def test_every_paper_has_experiments_of_one_shape():
    for name in registry.names():
        (experiment,) = registry.find(name).values()
        with pytest.raises(InputError, match="scale"):
            experiment("huge", None, 0)
