"""The table of section 9.3: |X|^2 and the smallest eigenvalue of H, three preparations of the data."""

from __future__ import annotations

import hashlib
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from widthwise import data as datasets
from widthwise.experiments.common import at, canvas, path_only
from widthwise.experiments.outcome import Outcome, Row
from widthwise.experiments.parts import in_parts, tell
from widthwise.kernels.spectrum import PREPARATIONS, extreme_eigenvalues, prepare_rows
from widthwise.report.style import LIGHT

__all__ = ["ALL_ROWS", "PRINTED", "table1"]

PRINTED = {  # data -> preparation -> largest and smallest eigenvalue of all of it, as printed
    "mnist": {"normalized": (24454.8, 0.01515), "zero-mean": (18488.5, 0.01574), "whitened": (314.871, 0.02003)},
    "cifar": {"normalized": (40885.2, 0.00647), "zero-mean": (8154.87, 0.01311), "whitened": (33.7366, 0.09878)},
}

ALL_ROWS = {"mnist": 60_000, "cifar": 50_000}


@dataclass(frozen=True)
class _Part:
    """One matrix, and all that its numbers depend on."""

    data: str
    rows: int | None
    preparation: str


def table1(scale: str = "smoke", data: Any = None, seed: int = 0) -> Outcome:
    """Largest eigenvalue of X'X on the whole training set, both ends on its first n rows, ReLU.

    Factors of all of MNIST take 7 GB of files in the system's folder for temporary ones and about half an hour of one
    core each; a run that is stopped goes on from there. The paper's table has CIFAR-10 too: give it as ``data``.

    Args:
        scale: n = 3000 at ``"small"``, and 10 000 of the first preparation; all rows at ``"paper"``, of the paper's
            three preparations only.
        data: MNIST by default.
        seed: of nothing; all is determined.
    """
    name = path_only(data) if data is not None else at(scale, "digits", "mnist", "mnist")
    n: int | None = at(scale, 100, 3000, None)
    parts = [_Part(str(name), n, how) for how in at(scale, PREPARATIONS, PREPARATIONS, tuple(PRINTED["mnist"]))]
    parts += at(scale, [], [_Part(str(name), 10_000, PREPARATIONS[0])], [])
    rows: list[Row] = [
        {"preparation": part.preparation, **found}
        for part, found in zip(parts, in_parts("matrices", parts, _measure), strict=True)
    ]
    settings = {"activation": "relu", "rows": sorted({row["rows"] for row in rows}), "seed": seed}
    return Outcome("table1", scale, settings, rows, _draw(rows, str(name)), _notes(rows, str(name)))


def _measure(part: _Part) -> dict[str, Any]:
    x = datasets.load(part.data).x
    began = time.perf_counter()
    whole = prepare_rows(x, part.preparation)
    largest_of_all = float(torch.linalg.eigvalsh(whole.mT @ whole)[-1])
    rows = whole[: part.rows]
    found = extreme_eigenvalues(
        rows,
        folder=_folder(rows),
        precision="single",
        tolerance=1e-4,
        progress=lambda done, total, what: tell(done, total, f"{part.preparation}, {len(rows)} rows: {what}"),
    )
    return {
        "rows": found.n,
        "features": rows.shape[1],
        "largest_of_all": largest_of_all,
        "largest": found.largest,
        "smallest": found.smallest,
        "smallest_error": found.smallest_error,
        "second": found.second,
        "kappa": found.kappa(),
        "width": found.width(),
        "seconds": time.perf_counter() - began,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20),
    }


def _folder(rows: torch.Tensor) -> Path:
    """Where the factor of these rows is kept until it is done: the same in every run on this machine."""
    digest = hashlib.sha256(rows.numpy().tobytes()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / "widthwise-spectrum" / digest


def _notes(rows: list[Row], name: str) -> list[str]:
    of = _known(name)
    return [_note(row) + ("" if of is None else _printed(of, row["preparation"])) for row in rows]


def _known(name: str) -> str | None:
    """The data set of the paper that a name or a path means."""
    return next((paper for paper in PRINTED if paper in name.lower()), None)


def _note(row: Row) -> str:
    return (
        f"{row['preparation']}: |X|^2 of all rows {row['largest_of_all']:.6g}; n = {row['rows']}: |X|^2 "
        f"{row['largest']:.6g}, smallest eigenvalue {row['smallest']:.7g} +- {row['smallest_error']:.1g}, kappa "
        f"{row['kappa']:.3g}, {row['seconds']:.0f} s, process at most {row['peak_gib']:.2g} GiB"
    )


def _printed(data: str, preparation: str) -> str:
    """What the paper has; it does not say whether features are centred before they are whitened."""
    largest, smallest = PRINTED[data][preparation.removesuffix("-centred")]
    return f" (printed for all of it: {largest:g}, {smallest:g})"


def _draw(rows: list[Row], name: str) -> Figure:
    of = _known(name) or ""
    printed = PRINTED.get(of, {})
    figure, (panel,) = canvas(["smallest eigenvalue of H"], width=4.6, height=3.2)
    for i, how in enumerate(PREPARATIONS):
        mine = [row for row in rows if row["preparation"] == how]
        colour = LIGHT[f"series-{i + 1}"]
        panel.plot([r["rows"] for r in mine], [r["smallest"] for r in mine], "o-", ms=4, color=colour, label=how)
        if how in printed:
            panel.plot([ALL_ROWS[of]], [printed[how][1]], "D", mfc="none", color=colour)
    panel.set_xscale("log")
    panel.minorticks_off()
    panel.set_xlabel("rows (hollow: the paper, all rows)")
    panel.legend(frameon=False, fontsize=7)
    return figure
