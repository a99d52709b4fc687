"""Sweep configs, stores, results and what lies in the folders of runs."""

from __future__ import annotations

import io
import json
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest.mock import patch
from zlib import crc32

import numpy as np
import torch
from fuzz_target import Dialect, in_file, target

from widthwise.errors import InputError, InputTypeError
from widthwise.experiments.command import _found
from widthwise.kernels import extreme_eigenvalues
from widthwise.report.foreign import foreign_svg
from widthwise.report.part import page_of
from widthwise.report.runs import find_parts
from widthwise.report.runs.compared import read_comparison
from widthwise.report.runs.sweep import stored_runs
from widthwise.sparse.calibration import _read
from widthwise.store import Store
from widthwise.sweep import read_plan, results
from widthwise.sweep.claims import Claims
from widthwise.sweep.plan import Run

_FILE = (InputError, InputTypeError, OSError)


_FEW = 5000  # runs in place of a million, which take a while to list


def _plan_in(data: bytes, folder: Path) -> object:
    """A sweep's config; what it names is not imported, since to name code is what it is for."""
    few = patch("widthwise.sweep.plan.MOST_RUNS", _FEW)
    with few, patch("widthwise._imported.importlib.import_module", _not_imported):  # in this order: patching imports
        plan = read_plan(in_file(data, folder, "s.toml"))
    return plan.runs() if len(data) < 500 else plan


def _not_imported(name: str) -> object:
    raise ImportError(name)


@target("sweep-config", _plan_in)
def _sweep_seeds() -> Sequence[Sequence[bytes]]:
    train = b'run = "train"\nseeds = 2\nversion = 1\n[fixed]\ndata = "digits"\n[grid]\nwidth = [16, 64]\n'
    both = b'run = "train"\n[zip]\nmethod = ["dense", "snip"]\nsparsity = [0.0, 0.9]\n[grid]\nlr = [1e-1, 0x1, 1_0]\n'
    return [[train, both, b'run = "a.b:c"', b'run = "x.py:f"\nfixed.a = {b = [1979-05-27T07:32:00Z]}\n']]


@dataclass(frozen=True)
class _Config:
    width: int


def _store(write: Callable[[Store], object]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "results.sqlite")
        with Store(path) as store:
            write(store)
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA journal_mode = DELETE")
        return path.read_bytes()


def _in_store(data: bytes, folder: Path) -> object:
    """A store's file as it lies on the disk; all that reads one reads it."""
    for left in folder.glob("results.sqlite-*"):
        left.unlink()
    path = in_file(data, folder, "results.sqlite")
    with Store.existing(path) as store:
        for kind in store.kinds():
            store.all(kind), store.results(kind), store.seconds(kind)
        store.get(_Config(1))
        claims = Claims(store, 0)
        claims.take("a")
        claims.release()
    return stored_runs(path, None), results(folder)


@cache
def _blank() -> bytes:
    return _store(lambda store: None)


def _in_row(data: bytes, folder: Path) -> object:
    """A run's config and result, and a claim's owner, in a sound store, a line each."""
    config, result, owner, *_ = [*data.split(b"\n"), b"", b""][:4] if data.count(b"\n") else (data, data, data)
    for left in folder.glob("results.sqlite-*"):
        left.unlink()
    path = in_file(_blank(), folder, "results.sqlite")
    with closing(sqlite3.connect(path)) as db, db:
        row = ("a", "sweep", *(text.decode("utf-8", "replace") for text in (config, result)))
        db.execute("INSERT INTO runs VALUES (?, ?, ?, ?, 0.5, 1)", row)
        db.execute("INSERT INTO claims VALUES ('b', ?, 9e99)", (owner.decode("utf-8", "replace"),))
    with Store.existing(path) as store:
        Claims(store, 0).take("b")
    return page_of(stored_runs(path, None)).encode() if len(data) < 100 else results(folder)


@target("store", _in_store, _in_row, allowed=_FILE)
def _store_seeds() -> Sequence[Sequence[bytes]]:
    runs = [(Run("train", {"width": w, "seed": s}), {"test": 0.5 + w, "note": "a"}) for w in (1, 2) for s in (0, 1)]

    def fill(store: Store) -> None:
        store.put("sweep", runs, 1.5)
        store.put("network", [(_Config(1), {"test": 1})])
        Claims(store, 0).fail("x", "e", "t")

    row = b'{"arguments":{"width":1,"a":{"b":[2]}}}\n{"test":0.5}\n' + b"host/1/2"
    return [_store(fill), _blank()], [row, b'{"type":"Run"}\n{"test":null}\nhost']


_ROWS = torch.tensor([[1.0, 0, 0], [0.6, 0.8, 0], [0, 0.6, 0.8]], dtype=torch.float64)


def _spectrum(folder: Path, progress: Callable[[float, float, str], None] | None = None) -> object:
    return extreme_eigenvalues(_ROWS, folder=folder, tile=2, keep=True, progress=progress)


class _KilledError(Exception):
    """The work is stopped here."""


def _killed(done: float, total: float, what: str) -> None:
    """Stops the work once a column of tiles is in the sum of the corrections."""
    if what == "residual" and done > 0.5:
        raise _KilledError


@cache
def _spectrum_files() -> dict[str, bytes]:
    """All that is in its folder at some time."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        with suppress(_KilledError):
            _spectrum(Path(folder), _killed)
        for _ in range(2):
            found |= {path.name: path.read_bytes() for path in Path(folder).iterdir()}
            _spectrum(Path(folder))
    return found


_PARTS = ("result.json", "task.json", "vectors.npy", "tile-0000-0000.npy", "tile-0001-0000.npy", "tile-0001-0001.npy")
_SUM = "corrections-3-0-1.npy"


def _with_part(place: Path, name: str, data: bytes) -> object:
    """The same work in a folder with such a file beside its task and the factor's tiles."""
    beside = {place / other for other in _PARTS if other.startswith("t")}
    if not place.is_dir():
        place.mkdir()
        for other in beside:
            in_file(_spectrum_files()[other.name], place, other.name)
    for left in set(place.iterdir()) - beside:
        left.unlink()
    return _spectrum(in_file(data, place, name).parent)


def _as_part(name: str) -> Dialect:
    """One file of a folder that ``kernel spectrum`` left."""
    return lambda data, folder: _with_part(folder / name, name, data)


def _as_corrections(data: bytes, folder: Path) -> object:
    """A sum that corrections have so far, after three bytes for how far its name says it is."""
    return _with_part(folder / "corrections", "corrections-{}-{}-{}.npy".format(*data[:3].ljust(3, b"0")), data[3:])


@target("spectrum", *map(_as_part, _PARTS), _as_corrections, allowed=_FILE)
def _spectrum_seeds() -> Sequence[Sequence[bytes]]:
    out = io.BytesIO()
    np.save(out, np.array([None]), allow_pickle=True)
    parts = [[_spectrum_files()[name], *([out.getvalue()] if name.endswith("npy") else [])] for name in _PARTS]
    return [*parts, [bytes(said) + _spectrum_files()[_SUM] for said in ((3, 0, 0), (3, 0, 1), (3, 3, 0))]]


_COMPARED = {
    "data": "digits", "task": "classification", "metric": "accuracy", "budget": 9, "seconds": 1.5,
    "settings": {"a": 1}, "machine": {"cpu": "x"}, "findings": ["wide wins"],
    "evidence": [{"plot": "accuracy", "rows": ["a"]}],
    "rows": [{
        "method": "dense", "factor": 1.0, "width": 3, "weights": 9, "connectivity": 1.0, "layer_connectivity": [1.0],
        "within_budget": True, "test": [0.5], "validation": [None], "predicted": None, "measured": 0.1, "rank": 1,
        "curve": [[0, 0.1]], "notes": ["n"],
    }],
}  # fmt: skip
_TRIED = {
    "experiment": "fig1", "scale": "smoke", "command": "widthwise reproduce wider-nets/fig1 --scale smoke --out DIR",
    "notes": ["n"], "settings": {"x": [1]}, "machine": {}, "rows": [{"width": 1, "accuracy": 0.5, "kind": "a"}],
    "claim": {"verdict": "matches", "text": "t", "ours": "o", "theirs": "t", "why": ""}, "substitute": None,
}  # fmt: skip
_SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9"><g id="a" '
    b'style="fill: #000000" clip-path="url(#b)"><path d="M 1.2345 2"/><text>x</text><use xlink:href="#a"/></g></svg>'
)


_PLOTTED = 32  # of so many pages of comparisons one is given its plots, which take longer than all else


def _compared(data: bytes, folder: Path) -> object:
    return read_comparison(in_file(data, folder, "results.json"))


def _experiment(data: bytes, folder: Path) -> object:
    """A record of an experiment: as a page, and as what ``reproduce`` finds there already."""
    path = in_file(data, folder, "fig1-smoke.json")
    for kind in ("csv", "svg"):
        in_file(_SVG, folder, f"fig1-smoke.{kind}")
    _found("wider-nets/fig1", folder, "smoke", "widthwise reproduce wider-nets/fig1 --scale smoke --out DIR")
    draws = crc32(data) % _PLOTTED == 0
    with nullcontext() if draws else patch("widthwise.report.sections.drawn", lambda *_: ""):
        return page_of(find_parts([path])).encode()


def _drawing(data: bytes, folder: Path) -> object:
    return foreign_svg(in_file(data, folder, "a.svg"), "p", "t", "d")[0].encode()


def _costs(data: bytes, folder: Path) -> object:
    return _read(in_file(data, folder, "costs.json"), (1, 8, 32, 128))


@target("results", _compared, _experiment, _drawing, _costs, allowed=_FILE)
def _result_seeds() -> Sequence[Sequence[bytes]]:
    rates = dict.fromkeys(("dense", "sparse"), dict.fromkeys(("weight", "number", "call"), [1e-9] * 4))
    costs = {"batches": [1, 8, 32, 128], "forward": rates, "step": rates}
    compared, tried, known = (json.dumps(record).encode() for record in (_COMPARED, _TRIED, costs))
    return [compared], [tried], [_SVG], [known]
