"""Figures 2 and 6 to 9: four regression sets, trained by gradient flow, pruned by nodes and carried over."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from widthwise import data as datasets
from widthwise import flow
from widthwise.data import Dataset, Splits
from widthwise.errors import InputError, InputTypeError
from widthwise.experiments.asymmetrical_scaling.common import (
    SETTINGS,
    band_rows,
    draw_bands,
    fleet,
    order,
    settings_record,
)
from widthwise.experiments.outcome import Outcome, Row
from widthwise.experiments.robust_pruning.common import at, canvas
from widthwise.models import Shallow
from widthwise.nodes import NodeFeatures, importance, risk_curve, train_heads

__all__ = ["fig2", "fig6", "fig7", "fig8", "fig9"]

_RECORD = ("loss", "largest_movement", "ntg_change", "smallest_eigenvalue")
_RTOL = 0.05
_HEADS = {"transfer_risk": (2, 0.1), "transfer_risk_text": (1, 0.5)}
"""Hidden layers and step of the heads: of the published code, and of the text, with half its step of 1.0: the mean
squared error has curvature 2 along the output's bias alone, so that at 1.0 the heads diverge."""


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


@dataclass(frozen=True)
class _Sizes:
    """What a scale chooses."""

    width: int
    steps: int
    seeds: int
    head_steps: int
    removed: tuple[int, ...]
    features: tuple[int, ...]


_SCALES = {
    "smoke": _Sizes(100, 200, 2, 100, (0, 50, 90, 98), (2, 10)),
    "small": _Sizes(
        2000, 10_000, 3, 1000, (0, 1000, 1500, 1800, 1900, 1950, 1980, 1990, 1995, 1998), (2, 5, 10, 20, 50)
    ),
    "paper": _Sizes(
        2000, 100_000, 5, 5000, (0, 1000, 1500, 1800, 1900, 1950, 1980, 1990, 1995, 1998, 1999), (2, 5, 10, 20, 50, 100)
    ),
}


def fig6(scale: str = "smoke", data: Any = None, seed: int = 0) -> Outcome:
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
    """
    return _figure("fig6", scale, data, seed)


def fig7(scale: str = "smoke", data: Any = None, seed: int = 0) -> Outcome:
    """Figure 7, energy efficiency (heating load): as :func:`fig6`."""
    return _figure("fig7", scale, data, seed)


def fig8(scale: str = "smoke", data: Any = None, seed: int = 0) -> Outcome:
    """Figure 8, airfoil self-noise: as :func:`fig6`."""
    return _figure("fig8", scale, data, seed)


def fig9(scale: str = "smoke", data: Any = None, seed: int = 0) -> Outcome:
    """Figure 9, power plant: as :func:`fig6`."""
    return _figure("fig9", scale, data, seed)


def fig2(scale: str = "smoke", data: Any = None, seed: int = 0) -> Outcome:
    """Figure 2: the first of Figures 6 to 9 in brief, concrete and energy: movement, pruning and transfer.

    Args:
        scale: as for :func:`fig6`.
        data: the folder of the files.
        seed: the first of the seeds.
    """
    found = {name: _measured(name, scale, _hashable(data), seed) for name in ("fig6", "fig7")}
    rows = [{"set": _SETS[name].name, **row} for name, (rows, _) in found.items() for row in rows]
    titles = [f"{_SETS[name].name}: {what}" for name in found for what in ("movement", "pruning", "transfer")]
    figure, panels = canvas(titles, columns=3)
    for i, (mine, _) in enumerate(found.values()):
        for panel, (axis, quantity) in zip(panels[3 * i : 3 * i + 3], _BRIEF, strict=True):
            draw_bands(panel, mine, axis, quantity)
            panel.set_xlabel(_AXES[axis])
    panels[0].legend(frameon=False)
    notes = [f"{_SETS[name].name}: {note}" for name, (mine, _) in found.items() for note in _notes(mine)]
    return Outcome("fig2", scale, _settings(scale, seed, [s.name for s in _SETS.values()][:2]), rows, figure, notes)


_AXES = {"steps": "gradient steps (1.0 on the mean)", "kept": "nodes left", "features": "features"}
_BRIEF = (("steps", "largest_movement"), ("kept", "train_risk"), ("features", "transfer_risk"))
_PANELS = {
    ("steps", "training_error"): "training error",
    ("steps", "largest_movement"): "largest |w(t) − w(0)|",
    ("steps", "ntg_change"): "‖NTG(t) − NTG(0)‖₂",
    ("steps", "smallest_eigenvalue"): "smallest eigenvalue of NTG",
    ("kept", "train_risk"): "training risk after pruning",
    ("kept", "test_risk"): "test risk after pruning",
    ("features", "transfer_risk"): "transfer risk",
}


def _figure(name: str, scale: str, data: Any, seed: int) -> Outcome:
    rows, effort = _measured(name, scale, _hashable(data), seed)
    figure, panels = canvas(list(_PANELS.values()), columns=4)
    for panel, (axis, quantity) in zip(panels, _PANELS, strict=True):
        draw_bands(panel, rows, axis, quantity)
        panel.set_xlabel(_AXES[axis])
        if quantity not in ("largest_movement", "ntg_change"):
            panel.set_yscale("log")
    panels[0].legend(frameon=False)
    record = _settings(scale, seed, [_SETS[name].name]) | {"effort": effort}
    return Outcome(name, scale, record, rows, figure, _notes(rows))


def _settings(scale: str, seed: int, sets: list[str]) -> dict[str, Any]:
    sizes = _SCALES[scale]
    return settings_record(
        data=sets, preprocessing="inputs and target standardised", init_variance=1.0, method="ode", rtol=_RTOL,
        step_of_mean_loss=1.0, first_seed=seed, **vars(sizes),
    )  # fmt: skip


def _notes(rows: Sequence[Row]) -> list[str]:
    steps = max(row["at"] for row in rows if row["axis"] == "steps")
    kept = sorted({row["at"] for row in rows if row["axis"] == "kept"})
    few = sorted({row["at"] for row in rows if row["axis"] == "features"})
    return [
        order(rows, "steps", "training_error", steps, rising=True),
        order(rows, "steps", "largest_movement", steps, rising=True),
        order(rows, "steps", "ntg_change", steps, rising=True),
        order(rows, "steps", "smallest_eigenvalue", steps, rising=False),
        *(order(rows, "kept", "train_risk_growth", k, rising=False) for k in kept[1:4]),
        *(order(rows, "features", "transfer_risk", k, rising=False) for k in few[:3]),
    ]


def _hashable(data: Any) -> str | None:
    if data is None or isinstance(data, str | Path):
        return None if data is None else str(data)
    raise InputTypeError(f"data: got {type(data).__name__}, allowed is the path of a CSV file or of their folder")


@functools.lru_cache
def _measured(name: str, scale: str, data: str | None, seed: int) -> tuple[list[Row], dict[str, int]]:
    """All that is measured on one set; kept, since two figures may show it."""
    sizes, dataset = at(scale, *_SCALES.values()), _load(_SETS[name], scale, data)
    seeds = range(seed, seed + sizes.seeds)
    splits = [datasets.split(dataset, validation=0.4, test=0.2, seed=s, standardize="pixel") for s in seeds]
    train = [(s.train[0], s.train[1][:, 0]) for s in splits]
    n = len(train[0][0])
    models = fleet(dataset.x.shape[1], sizes.width, seeds)
    times = [0.0, *torch.logspace(-4, 0, 41, dtype=torch.float64).mul(sizes.steps * 2 / n).tolist()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", flow.DegenerateWarning)
        run = flow.train(
            models,
            [x for x, _ in train] * len(SETTINGS),
            [y for _, y in train] * len(SETTINGS),
            times[-1],
            record=_RECORD,
            at=times,
            points=min(50, n),
            rtol=_RTOL,
        )
    curves = {"training_error": 2 / n * run["loss"], **{name: run[name] for name in _RECORD[1:]}}
    rows = band_rows("steps", (run.times * n / 2).tolist(), curves)
    rows += band_rows("kept", [sizes.width - r for r in sizes.removed], _pruning(models, splits, sizes))
    rows += band_rows("features", sizes.features, _transfer(models, splits, sizes, seed))
    return rows, vars(run.effort)


def _load(which: _Set, scale: str, data: str | None) -> Dataset:
    if data is None and scale == "smoke":
        from sklearn.datasets import load_diabetes

        bunch = load_diabetes()
        return datasets.load((bunch.data[:100], bunch.target[:100]))
    if data is None:
        raise InputError(f"data: got none, allowed is the path of {which.file} or of its folder")
    path = Path(data)
    loaded = datasets.load(path / which.file if path.is_dir() else path, target=which.target)
    return Dataset(loaded.name, loaded.x, loaded.y[:, :1].contiguous(), "regression")


def _pruning(models: list[Shallow], splits: list[Splits], sizes: _Sizes) -> dict[str, Tensor]:
    """Risk on both parts after pruning, ``(runs, removed)``, and the growth of the training risk over the unpruned."""
    found: dict[str, list[Tensor]] = {"train_risk": [], "test_risk": []}
    for i, model in enumerate(models):
        parts, scores = splits[i % len(splits)], importance(model)
        for name, (x, y) in (("train_risk", parts.train), ("test_risk", parts.test)):
            found[name].append(risk_curve(model, x, y[:, :1], scores, sizes.removed))
    curves = {name: torch.stack(values) for name, values in found.items()}
    return curves | {"train_risk_growth": curves["train_risk"] - curves["train_risk"][:, :1]}


def _transfer(models: list[Shallow], splits: list[Splits], sizes: _Sizes, seed: int) -> dict[str, Tensor]:
    """Mean squared error of each kind of head on the second half of the validation part, ``(runs, features)``."""
    half = len(splits[0].validation[0]) // 2
    targets = [splits[i % len(splits)].validation[1][:, :1] for i in range(len(models))]
    found: dict[str, list[Tensor]] = {name: [] for name in _HEADS}
    for k in sizes.features:
        extracted = []
        for i, model in enumerate(models):
            x = NodeFeatures(model, importance(model)["nodes"], k)(splits[i % len(splits)].validation[0])
            x = x - x[:half].mean(0)
            extracted.append(x / x[:half].square().sum(1).mean().sqrt().clamp_min(1e-12))
        for name, (depth, lr) in _HEADS.items():
            heads = train_heads(
                [x[:half] for x in extracted],
                [y[:half] for y in targets],
                depth=depth,
                lr=lr,
                steps=sizes.head_steps,
                seed=seed,
            )
            with torch.no_grad():
                pairs = zip(heads, extracted, targets, strict=True)
                found[name].append(torch.stack([(head(x[half:]) - y[half:]).square().mean() for head, x, y in pairs]))
    return {name: torch.stack(risks, 1) for name, risks in found.items()}
