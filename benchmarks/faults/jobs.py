"""What is disturbed: small jobs that write to a folder, and what each reports as finished and gives in the end."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from benchmarks import sweep_survival

import widthwise as ww
from widthwise._atomic import write_text
from widthwise.store import Store
from widthwise.training import TrainConfig, fit, objective_for

State = dict[str, Any]
EXPERIMENTS = ("two-layer-compression/decay", "wider-nets/fig5")
_VERSIONS = 60  # of a model that is saved again and again


@dataclass(frozen=True)
class Job:
    """A job.

    Attributes:
        act: what its process does, given a folder.
        finished: what has been reported as finished, by name; it must never be lost nor change.
        result: what an undisturbed run gives, in files whose bytes or numbers are promised.
    """

    name: str
    act: Callable[[Path], None]
    finished: Callable[[Path], State]
    result: Callable[[Path], State]


@dataclass(frozen=True)
class Command:
    """The command line, within this process.

    Attributes:
        given: what is given to it, without ``--out``; or makes that for a folder.
        saving: the module that saves unfinished work, here at every epoch, to be struck at it more often.
    """

    given: tuple[str, ...] | Callable[[Path], tuple[str, ...]]
    saving: str | None = None

    def arguments(self, folder: Path) -> list[str]:
        """As a user would give them."""
        given = self.given(folder) if callable(self.given) else self.given
        return [*given, "--out", str(folder)]

    def __call__(self, folder: Path) -> None:
        """Run it."""
        from widthwise.cli import main

        if self.saving is not None:
            importlib.import_module(self.saving)._SAVE_EVERY = 0.0  # type: ignore[attr-defined]
        sys.argv = ["widthwise", *self.arguments(folder)]
        main()


def compared_by(jobs: int) -> tuple[str, ...]:
    """Two seeds of nine networks."""
    return ("compare", "--factors", "2,8", "--seeds", "2", "--epochs", "5", "--lr", "0.5", "--jobs", str(jobs))


def swept_by_two(folder: Path) -> tuple[str, ...]:
    """Runs that leave a line each; lines and configuration lie beside the folder, which may be full."""
    config, log = (folder.with_name(f"{folder.name}.{kind}") for kind in ("toml", "log"))
    fixed = f"log = {json.dumps(str(log))}"
    write_text(config, f'run = "{__file__}:spun"\n[fixed]\n{fixed}\n[grid]\nx = {list(range(20))}\n')
    return ("sweep", str(config), "--jobs", "2", "--threads", "1")


def spun(x: int, log: str) -> dict[str, int]:
    """A run that sleeps without the system's clock, which may be set back."""
    until = time.perf_counter() + 0.01
    while time.perf_counter() < until:
        pass
    return sweep_survival.noted(x, log, 0.0)


def checkpoint(folder: Path) -> None:
    """A training that saves every step and says so; at the end the network is saved."""
    x, y = torch.randn(400, 20, generator=torch.Generator().manual_seed(0)), torch.arange(400) % 4
    torch.manual_seed(0)
    model = ww.models.mlp(20, 4, width=64)
    ww.prune(model, 0.8, "magnitude", scope="balanced").save(folder / "mask.safetensors")
    with (folder / "said").open("a") as said:
        fit(
            model, (x, y), TrainConfig(epochs=10, batch_size=20, lr=0.1, momentum=0.9), objective_for("classification"),
            checkpoint=folder / "fit.safetensors", save_every=0, validation=(x, y),
            watch=lambda done, *_: print(int(done), file=said, flush=True),
        )  # fmt: skip
    ww.save(model, folder / "model.safetensors")


def saving(folder: Path) -> None:
    """A model and a mask saved again and again, one file each."""
    torch.manual_seed(0)
    model = ww.models.mlp(100, 10, width=200)
    mask = ww.prune(model, 0.9, "magnitude", scope="balanced")
    first = saved(folder)["version"] if (folder / "model.safetensors").exists() else 0
    with (folder / "said").open("a") as said:
        for version in range(min(first + 1, _VERSIONS), _VERSIONS + 1):
            model.get_parameter("output.bias").data.fill_(version)
            ww.save(model, folder / "model.safetensors")
            mask.save(folder / "mask.safetensors")
            print(version, file=said, flush=True)


def bytes_of(*names: str) -> Callable[[Path], State]:
    """Digests of files by their names."""
    return lambda folder: {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def nothing(folder: Path) -> State:
    """What a job reports that is finished only when it ends."""
    return {}


def networks(folder: Path) -> State:
    """The stored results of a comparison."""
    if not (folder / "results.sqlite").exists():
        return {}
    with Store(folder / "results.sqlite") as store:
        return dict(store.results("network"))


def compared(folder: Path) -> State:
    """What a comparison gives."""
    return networks(folder) | bytes_of("results.csv", "model.safetensors")(folder)


def swept(folder: Path) -> State:
    """How often each run is in the store."""
    rows = sweep_survival.stored(folder)
    return {str(x): rows.count(x) for x in rows}


class _Everything(dict[str, Any]):
    """What a job has finished that is over: whatever it had finished before."""

    def get(self, name: str, default: object = None) -> Any:
        return True


def parts(folder: Path) -> State:
    """The experiments there are, and the parts of what is unfinished."""
    done: State = {name: True for name in EXPERIMENTS if (folder / f"{name}-smoke.json").exists()}
    path = folder / ".parts-smoke.sqlite"
    if len(done) == len(EXPERIMENTS):
        return _Everything(done)
    if path.exists():
        with Store(path) as store:
            configs = [config for kind in store.kinds() for config, _ in store.all(kind)]
        done |= {json.dumps(config, sort_keys=True): True for config in configs}
    return done


def reproduced(folder: Path) -> State:
    """The rows; beside them stand seconds."""
    rows = {name: json.loads((folder / f"{name}-smoke.json").read_text())["rows"] for name in EXPERIMENTS}
    left = {"parts left": [path.name for path in folder.glob(".parts*")]}
    return bytes_of(*(f"{name}-smoke.csv" for name in EXPERIMENTS))(folder) | rows | left


def steps(folder: Path) -> State:
    """How far a training said it was, and whether its checkpoint is as far."""
    lines = (folder / "said").read_text().split() if (folder / "said").exists() else []
    if not lines:
        return {}
    from widthwise._tensorfile import read_tensors

    header, _ = read_tensors(folder / "fit.safetensors", "widthwise.fit", 1, {"epoch": int, "step": int})
    reached = header["epoch"] * 20 + header["step"]
    told = int(lines[-1])
    assert reached >= told - (told % 20 == 0), f"step {told} was reported, {reached} is there"  # it tells, then saves
    return {}


def saved(folder: Path) -> State:
    """The version in the file of a model, which must be whole and no earlier than the last reported."""
    lines = (folder / "said").read_text().split() if (folder / "said").exists() else []
    if not (folder / "model.safetensors").exists():
        assert not lines
        return {}
    bias = ww.load(folder / "model.safetensors").get_parameter("output.bias")
    with contextlib.suppress(FileNotFoundError):
        if (folder / "mask.safetensors").exists():
            ww.Mask.load(folder / "mask.safetensors")
    version = int(bias[0])
    assert (bias == version).all()
    assert version >= max(map(int, lines), default=0), f"version {lines[-1]} was reported, {version} is there"
    return {"version": version}


def last_saved(folder: Path) -> State:
    """The last version."""
    return {**saved(folder), **bytes_of("mask.safetensors", "model.safetensors")(folder)}


JOBS = {
    job.name: job
    for job in (
        Job("compare", Command(compared_by(1), "widthwise.comparison.group"), networks, compared),
        Job("compare-jobs", Command(compared_by(2)), networks, compared),
        Job("prune", Command(("prune", "mlp", "--set", "width=16")), nothing,
            bytes_of("mask.safetensors", "model.safetensors", "layers.txt")),
        Job("sweep", Command(swept_by_two), swept, swept),
        Job("reproduce", Command(("reproduce", *EXPERIMENTS, "--scale", "smoke"),
            "widthwise.experiments.wider_nets.shallow"), parts, reproduced),
        Job("checkpoint", checkpoint, steps, bytes_of("mask.safetensors", "model.safetensors")),
        Job("saving", saving, lambda folder: saved(folder) and {}, last_saved),
    )
}  # fmt: skip
