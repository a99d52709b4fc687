"""Checks: gamma = 1 is kernel regression as the width grows, and the flow is gradient descent with small steps."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from widthwise import flow
from widthwise.experiments.asymmetrical_scaling.common import SETTINGS, Part, network, settings_record
from widthwise.experiments.asymmetrical_scaling.simulated import sphere
from widthwise.experiments.common import at, canvas
from widthwise.experiments.outcome import Outcome, Row
from widthwise.models import Shallow
from widthwise.report.style import LIGHT
from widthwise.scaling import zipf

__all__ = ["agreement", "kernel_limit"]

_FINE = 3e-3


def kernel_limit(scale: str = "smoke", _data: Any = None, seed: int = 0) -> Outcome:
    """Gamma = 1 against regression with the kernel Theta*, as the width grows: at a finite time and fully trained.

    The difference is between the network's change on 200 test points and H_z H^-1 (1 - exp(-H t)) (y - f_0), f_0 the
    outputs at the start; gamma = 0.2 is drawn beside it, which has another limit.

    Args:
        scale: widths to 32 768 at ``"paper"``.
        seed: the first of the seeds.
    """
    n, d = at(scale, 15, 40, 40), at(scale, 5, 10, 10)
    widths = at(scale, (64, 256), (128, 512, 2048, 8192), (128, 512, 2048, 8192, 32768))
    seeds = range(seed, seed + at(scale, 2, 5, 5))
    times = {"finite": at(scale, 50.0, 100.0, 100.0), "full": at(scale, 500.0, 1000.0, 1000.0)}
    rows: list[Row] = []
    for width in widths:
        for gamma, alpha in ((1.0, None), (0.2, 0.5)):
            found: dict[str, list[float]] = {name: [] for name in times}
            for s in seeds:
                errors = _against_kernel(n, d, zipf(width, alpha, gamma), times, s)
                for name, error in errors.items():
                    found[name].append(error)
            row: dict[str, Any] = {"gamma": gamma, "alpha": alpha, "width": width}
            for name, errors_found in found.items():
                row |= {name: math.fsum(errors_found) / len(seeds), f"{name}_most": max(errors_found)}
            rows.append(row)
    lazy = [r for r in rows if r["gamma"] == 1]
    span = math.log(lazy[-1]["width"] / lazy[0]["width"])
    notes = [
        f"Gamma = 1, t = {times[name]:g}: the relative difference from kernel regression falls as "
        f"m^{math.log(lazy[-1][name] / lazy[0][name]) / span:.2f}, "
        f"to {lazy[-1][name]:.2g} at m = {lazy[-1]['width']}."
        for name in times
    ]
    figure, panels = canvas([f"t = {t:g}" for t in times.values()], width=4)
    for panel, name in zip(panels, times, strict=True):
        for gamma, colour in ((1.0, "series-1"), (0.2, "series-2")):
            mine = [r for r in rows if r["gamma"] == gamma]
            panel.loglog(
                [r["width"] for r in mine], [r[name] for r in mine], "o-", color=LIGHT[colour], label=f"γ = {gamma:g}"
            )
        panel.loglog(
            [r["width"] for r in lazy],
            [lazy[0][name] * (r["width"] / lazy[0]["width"]) ** -0.5 for r in lazy],
            ":",
            color=LIGHT["faint"],
            label="m^(-1/2)",
        )
        panel.set_xlabel("width m")
    panels[0].set_ylabel("difference from kernel regression")
    panels[0].legend(frameon=False)
    record = {"n": n, "d": d, "times": times, "seeds": list(seeds), "rtol": _FINE, "test_points": 200}
    return Outcome("kernel_limit", scale, record, rows, figure, notes)


def _against_kernel(n: int, d: int, lam: Tensor, times: dict[str, float], seed: int) -> dict[str, float]:
    """Relative difference of the network's change on test points from kernel regression's, at each time."""
    x, y = (part.double() for part in sphere(n, d, seed))
    z = sphere(200, d, 10_000 + seed)[0].double()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Shallow(d, lam).double()
    begun = {"x": model(x).detach()[:, 0], "z": model(z).detach()[:, 0]}
    gram = flow.mean_ntg("relu", torch.cat([x, z]))
    values, vectors = torch.linalg.eigh(gram[:n, :n])
    errors, before = {}, 0.0
    for name, t in times.items():
        flow.train(model, x, y, t - before, rtol=_FINE)
        before = t
        filtered = vectors @ ((1 - torch.exp(-values * t)) / values * (vectors.mT @ (y - begun["x"])))
        expected = gram[n:, :n] @ filtered
        errors[name] = float((model(z).detach()[:, 0] - begun["z"] - expected).norm() / expected.norm())
    return errors


def agreement(scale: str = "smoke", _data: Any = None, seed: int = 0) -> Outcome:
    """The flow against gradient descent: difference of outputs and of displacements, on the data of Figure 1.

    Args:
        scale: 5000 of the 50 000 steps at ``"paper"``.
        seed: of data and weights.
    """
    n, d, width = at(scale, 20, 50, 100), at(scale, 10, 25, 50), at(scale, 100, 500, 2000)
    steps, lr = at(scale, 500, 5000, 5000), 2 / n
    x, y = sphere(n, d, seed)
    parts = [Part("agreement", scale, None, s.gamma, s.alpha, seed) for s in SETTINGS]
    rows: list[Row] = []
    for rtol in (1e-2, 1e-3, 1e-4):
        descended, followed = ([network(p, d, width) for p in parts] for _ in range(2))
        start = [m.weight.detach().clone() for m in followed]
        outputs = [(y - m(x).detach()[:, 0]).norm() for m in followed]
        if rtol == 1e-2:
            gd = flow.train(descended, x, y, steps=steps, lr=lr, method="gd")
            targets = descended
        ode = flow.train(followed, x, y, steps * lr, rtol=rtol)
        for setting, a, b, w, r in zip(SETTINGS, targets, followed, start, outputs, strict=True):
            off = float((a(x) - b(x)).detach().norm() / r)
            moved = float((a.weight - b.weight).detach().norm() / (a.weight - w).detach().norm())
            key = {"gamma": setting.gamma, "alpha": setting.alpha, "rtol": rtol}
            rows.append({**key, "outputs": off, "displacement": moved})
    worst = max(r["outputs"] for r in rows if r["rtol"] == 1e-3)
    notes = [
        f"At rtol 1e-3 outputs differ from gradient descent's by at most {worst:.2g} of the initial residual.",
        f"Gradients: {gd.effort.gradients} of descent; {ode.effort.gradients} of the flow at rtol 1e-4.",
    ]
    figure, panels = canvas(["outputs", "displacement"], width=4)
    for panel, name in zip(panels, ("outputs", "displacement"), strict=True):
        for setting in SETTINGS:
            mine = [r for r in rows if r["gamma"] == setting.gamma]
            panel.loglog(
                [r["rtol"] for r in mine], [r[name] for r in mine], "o-", color=setting.colour, label=setting.label
            )
        panel.set_xlabel("rtol of the flow")
    panels[0].set_ylabel("relative difference from descent")
    panels[0].legend(frameon=False)
    record = settings_record(n=n, d=d, width=width, steps=steps, lr=lr, seed=seed)
    return Outcome("agreement", scale, record, rows, figure, notes)
