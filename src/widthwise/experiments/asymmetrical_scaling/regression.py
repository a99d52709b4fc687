"""Figures 2 and 6 to 9: four regression sets, trained by gradient flow, pruned by nodes and carried over."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from widthwise import data as datasets
from widthwise.data import Dataset
from widthwise.errors import InputError
from widthwise.experiments.asymmetrical_scaling.common import Curves, Part, measure, settings_record
from widthwise.experiments.asymmetrical_scaling.study import (
    Head,
    Sizes,
    Task,
    curves_of,
    draw_brief,
    draw_full,
    notes_on,
    studied,
)
from widthwise.experiments.common import at, path_only
from widthwise.experiments.outcome import Outcome

__all__ = ["fig2", "fig6", "fig7", "fig8", "fig9"]

_HEADS = {"transfer_risk": Head(2, 64, 0.1), "transfer_risk_text": Head(1, 64, 0.1)}
"""Of the published code, and with the one hidden layer of the text. At the text's step of 1.0 heads diverge: the mean
squared error has curvature 2 along the output's bias alone."""

_LEFT = (1000, 500, 200, 100, 50, 20, 10, 5, 2)
_SCALES = {
    "smoke": Sizes(100, 200, 2, 100, (0, 50, 90, 98), (2, 10)),
    "small": Sizes(1000, 10_000, 5, 1000, tuple(1000 - k for k in _LEFT), (2, 5, 20)),
    "paper": Sizes(2000, 100_000, 5, 5000, tuple(2000 - k for k in (2000, *_LEFT, 1)), (2, 5, 10, 20, 50)),
}


@dataclass(frozen=True)
class _Set:
    """A regression set: its file, its target columns, of which the first is predicted."""

    name: str
    file: str
    target: str


_SETS = {
    "fig6": _Set("concrete", "concrete.csv", "compressive_strength_mpa"),
    "fig7": _Set("energy", "energy-efficiency.csv", "heating_load,cooling_load"),
    "fig8": _Set("airfoil", "airfoil-self-noise.csv", "scaled_sound_pressure_level_db"),
    "fig9": _Set("plant", "power-plant.csv", "net_hourly_electrical_output_mw"),
}


def fig6(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Figure 6, concrete: training, movement and NTG over the steps, risk under pruning, transfer.

    40 % of the examples train, 20 % test, 40 % serve transfer, half of them to train on; inputs and target are
    standardised by the training part. Gradient flow up to the time of 100 000 steps of size 1.0 on the mean squared
    error; NTG on the first 50 examples. Importance is lambda_j |w_j|^2. Features are hidden outputs, centred and scaled
    to a mean squared norm of one; heads have two hidden layers of 64 units, as in the published code, or one, as in the
    paper's text (``transfer_risk_text``).

    Args:
        scale: the paper's sizes at ``"paper"``.
        data: the set's CSV file, or a folder with the files of all four; at ``"smoke"`` scikit-learn's diabetes set
            may stand in.
        seed: the first of the seeds; each has a division of the data of its own.
        seeds: how many.
    """
    return _figure("fig6", scale, data, seed, seeds)


def fig7(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Figure 7, energy efficiency (heating load): as :func:`fig6`."""
    return _figure("fig7", scale, data, seed, seeds)


def fig8(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Figure 8, airfoil self-noise: as :func:`fig6`."""
    return _figure("fig8", scale, data, seed, seeds)


def fig9(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Figure 9, power plant: as :func:`fig6`."""
    return _figure("fig9", scale, data, seed, seeds)


def fig2(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Figure 2: Figures 6 and 7 in brief, concrete and energy: movement, pruning and transfer.

    Args:
        scale: as for :func:`fig6`.
        data: the folder of the files.
        seed: the first of the seeds.
        seeds: how many.
    """
    found = {_SETS[name].name: _measured(name, scale, path_only(data), seed, seeds) for name in ("fig6", "fig7")}
    shown = (("steps", "largest_movement"), ("nodes left", "train_risk"), ("features", "transfer_risk"))
    wanted = {quantity for _, quantity in shown}
    rows_of = {
        name: [row for c in curves for row in c.rows() if row["quantity"] in wanted] for name, curves in found.items()
    }
    rows = [{"set": name, **row} for name, mine in rows_of.items() for row in mine]
    notes = [f"{name}: {note}" for name, curves in found.items() for note in notes_on(curves)]
    return Outcome("fig2", scale, _settings(scale, seed, seeds, list(found)), rows, draw_brief(rows_of, shown), notes)


def _figure(name: str, scale: str, data: Any, seed: int, seeds: int | None) -> Outcome:
    curves = _measured(name, scale, path_only(data), seed, seeds)
    rows = [row for each in curves for row in each.rows()]
    record = _settings(scale, seed, seeds, [_SETS[name].name])
    return Outcome(name, scale, record, rows, draw_full(rows), notes_on(curves))


def _settings(scale: str, seed: int, seeds: int | None, sets: Sequence[str]) -> dict[str, Any]:
    sizes = _SCALES[scale]
    return settings_record(
        data=list(sets),
        preprocessing="inputs and target standardised by the training part",
        init_variance=1.0,
        method="ode",
        step_of_mean_loss=1.0,
        first_seed=seed,
        **vars(sizes) | {"seeds": seeds or sizes.seeds},
        heads={name: vars(head) for name, head in _HEADS.items()},
    )


def _measured(name: str, scale: str, data: str | None, seed: int, seeds: int | None) -> list[Curves]:
    sizes = at(scale, *_SCALES.values())
    chosen = range(seed, seed + (seeds or sizes.seeds))
    return curves_of(measure(Part(name, scale, data, 0.0, None, 0), chosen, _one), sizes)


def _one(part: Part) -> dict[str, list[float]]:
    return studied(part, _task(part.figure, part.scale, part.data, part.seed), _SCALES[part.scale], _HEADS)


def _task(figure: str, scale: str, data: str | None, seed: int) -> Task:
    parts = datasets.split(_load(_SETS[figure], scale, data), validation=0.4, test=0.2, seed=seed, standardize="pixel")
    x, y = parts.validation
    half = len(x) // 2

    def first(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return pair[0], pair[1][:, :1].contiguous()

    return Task(first(parts.train), first(parts.test), first((x[:half], y[:half])), first((x[half:], y[half:])))


@functools.lru_cache
def _load(which: _Set, scale: str, data: str | None) -> Dataset:
    if data is None and scale == "smoke":
        from sklearn.datasets import load_diabetes

        bunch = load_diabetes()
        return datasets.load((bunch.data[:100], bunch.target[:100]))
    if data is None:
        raise InputError(f"data: got none, allowed is the path of {which.file} or of its folder")
    path = Path(data)
    return datasets.load(path / which.file if path.is_dir() else path, target=which.target)
