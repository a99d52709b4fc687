"""Figure 1: the simulated data, trained, with the theory's bounds beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional

from widthwise import flow
from widthwise.experiments.asymmetrical_scaling.common import (
    Curves,
    Part,
    draw_bands,
    measure,
    network,
    settings_record,
    spaced,
)
from widthwise.experiments.common import at, canvas
from widthwise.experiments.outcome import Outcome, Row
from widthwise.report.style import LIGHT

__all__ = ["fig1", "sphere"]

_RTOL = 3e-3
_RECORD = ("loss", "largest_movement", "ntg_change", "smallest_eigenvalue")


def sphere(n: int, d: int, seed: int) -> tuple[Tensor, Tensor]:
    """The paper's simulated data: x uniform on the unit sphere, y = mean_i 5 sin(pi x_i) + 0.1 N(0, 1); float32."""
    source = torch.Generator().manual_seed(1000 + seed)
    x = functional.normalize(torch.randn(n, d, generator=source, dtype=torch.float64), dim=1)
    noise = 0.1 * torch.randn(n, generator=source, dtype=torch.float64)
    return x.float(), (5 * torch.sin(math.pi * x)).mean(1).add(noise).float()


def fig1(scale: str = "smoke", _data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Figure 1: training error, largest movement of a node, change and smallest eigenvalue of the NTG.

    Gradient flow up to the time of 50 000 steps of size 1.0 on the mean squared error, and from ``"small"`` on to that
    of as many on the loss (5), n / 2 times as long. Each seed has data of its own.

    Args:
        scale: the paper's sizes at ``"paper"``.
        seed: the first of the seeds.
        seeds: how many.
    """
    n, d, width = _sizes(scale)
    chosen = range(seed, seed + (seeds or at(scale, 2, 5, 5)))
    found = measure(Part("fig1", scale, None, 0.0, None, 0), chosen, _trained)
    steps = [t * n / 2 for t in _times(scale)]
    curves, last = Curves("steps", steps, {q: v for q, v in found.items() if len(v[0, 0]) > 1}), _published(scale)
    rows = curves.rows()
    notes = [
        *_held(found),
        curves.order("largest_movement", last, rising=True),
        curves.order("ntg_change", last, rising=True),
        curves.order("training_error", last, rising=True),
        curves.order("smallest_eigenvalue", last, rising=False),
    ]
    record = settings_record(
        n=n,
        d=d,
        width=width,
        seeds=list(chosen),
        init_variance=1.0,
        method="ode",
        rtol=_RTOL,
        steps_unit="1.0 on the mean squared error; time of the flow is steps * 2 / n",
        kappa=found["kappa"][0].flatten().tolist(),
    )
    return Outcome("fig1", scale, record, rows, _draw(rows, last), notes)


def _sizes(scale: str) -> tuple[int, int, int]:
    return at(scale, 20, 50, 100), at(scale, 10, 25, 50), at(scale, 100, 500, 2000)


def _published(scale: str) -> int:
    """Steps of the published figure."""
    return at(scale, 1000, 50_000, 50_000)


def _times(scale: str) -> list[float]:
    n = _sizes(scale)[0]
    published = _published(scale) * 2 / n
    return sorted({*spaced(published * at(scale, 1, n // 2, n // 2), 40, 4.5), published})


def _trained(part: Part) -> dict[str, list[float]]:
    """Train the network of a part; what happened, and what the theory says of it."""
    n, d, width = _sizes(part.scale)
    x, y = sphere(n, d, part.seed)
    times = _times(part.scale)
    run = flow.train(network(part, d, width), x, y, times[-1], record=_RECORD, at=times, rtol=_RTOL)
    kappa = flow.kappa("relu", x)
    bound = flow.loss_bound(run.times, run["loss"][0], part.gamma, kappa)
    curves = {
        "training_error": 2 / n * run["loss"],
        "training_bound": 2 / n * bound,
        **{name: run[name] for name in _RECORD[1:]},
        "eigenvalue_floor": torch.full_like(bound, flow.eigenvalue_floor(part.gamma, kappa)),
        "kappa": torch.tensor([kappa]),
    }
    return {name: values.tolist() for name, values in curves.items()}


def _held(found: dict[str, Tensor]) -> list[str]:
    """Whether the guarantees of 4.1 hold; below the solver's tolerance a loss says nothing."""
    loss, bound = found["training_error"], found["training_bound"]
    telling = bound >= _RTOL**2 * bound[..., :1]
    over, under = loss > bound * (1 + 1e-6), found["smallest_eigenvalue"] < found["eigenvalue_floor"]
    return [
        f"Loss above its bound exp(-gamma kappa t / 2) L(0) in {int((over & telling).sum())} of {int(telling.sum())} "
        f"records in which the bound exceeds the solver's tolerance, {_RTOL**2:.0e} L(0).",
        f"Smallest eigenvalue under its floor gamma kappa / 4 in {int(under.sum())} of {under.numel()} records; the "
        f"least quotient of the two is {_least_quotient(found):.2f}.",
    ]


def _least_quotient(found: dict[str, Tensor]) -> float:
    positive = found["eigenvalue_floor"] > 0
    return float((found["smallest_eigenvalue"][positive] / found["eigenvalue_floor"][positive]).min())


def _draw(rows: Sequence[Row], published: float) -> Figure:
    panels_of = {
        "training_error": ("training error (dotted: bound)", "training_bound"),
        "largest_movement": ("largest |w(t) − w(0)|", None),
        "ntg_change": ("‖NTG(t) − NTG(0)‖₂", None),
        "smallest_eigenvalue": ("smallest eigenvalue (dotted: floor)", "eigenvalue_floor"),
    }
    figure, panels = canvas([title for title, _ in panels_of.values()], columns=2, width=4.2)
    for panel, (name, (_, theory)) in zip(panels, panels_of.items(), strict=True):
        draw_bands(panel, rows, "steps", name, theory=theory)
        panel.axvline(published, color=LIGHT["faint"], linewidth=0.8)
    panels[0].set_yscale("log")
    panels[0].set_ylim(bottom=max(1e-9, 0.3 * min(r["least"] for r in rows if r["quantity"] == "training_error")))
    for panel in panels[-2:]:
        panel.set_xlabel("gradient steps (1.0 on the mean)")
    panels[0].legend(frameon=False)
    return figure
