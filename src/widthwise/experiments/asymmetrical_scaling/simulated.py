"""Figures 1 and 5 on simulated data, and checks of the solver and of the kernel limit."""

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
from widthwise.report.style import LIGHT
from widthwise.scaling import zipf, zipf_asymmetry

__all__ = ["agreement", "fig1", "fig5", "kernel_limit", "sphere"]

_FINE = 3e-3
_RECORD = ("loss", "largest_movement", "ntg_change", "smallest_eigenvalue")


def sphere(n: int, d: int, seed: int) -> tuple[Tensor, Tensor]:
    """The paper's simulated data: x uniform on the unit sphere, y = mean_i 5 sin(pi x_i) + 0.1 N(0, 1); float32."""
    source = torch.Generator().manual_seed(1000 + seed)
    x = functional.normalize(torch.randn(n, d, generator=source, dtype=torch.float64), dim=1)
    noise = 0.1 * torch.randn(n, generator=source, dtype=torch.float64)
    return x.float(), (5 * torch.sin(math.pi * x)).mean(1).add(noise).float()


def fig1(scale: str = "smoke", data: Any = None, seed: int = 0) -> Outcome:
    """Figure 1: training error, largest movement of a node, change and smallest eigenvalue of the NTG.

    Gradient flow up to the time of 50 000 steps of size 1.0 on the mean squared error, and from ``"small"`` on to that
    of as many on the loss (5), n / 2 times as long. Each seed has data of its own.

    Args:
        scale: the paper's sizes at ``"paper"``.
        data: not used.
        seed: the first of the seeds.
    """
    n, d, width = at(scale, 20, 50, 100), at(scale, 10, 25, 50), at(scale, 100, 500, 2000)
    seeds = range(seed, seed + at(scale, 2, 3, 5))
    published = at(scale, 1000, 50_000, 50_000) * 2 / n
    end = published * at(scale, 1, n // 2, n // 2)
    times = [0.0, *torch.logspace(-4.5, 0, 55, dtype=torch.float64).mul(end).tolist(), published]
    sets = [sphere(n, d, s) for s in seeds] * len(SETTINGS)
    xs, ys = ([part[i] for part in sets] for i in (0, 1))
    run = flow.train(fleet(d, width, seeds), xs, ys, end, record=_RECORD, at=times, rtol=_FINE)
    kappas = torch.tensor([flow.kappa("relu", x) for x in xs[: len(seeds)]]).repeat(len(SETTINGS))
    gammas = torch.tensor([s.gamma for s in SETTINGS for _ in seeds])
    bound = torch.stack(
        [
            flow.loss_bound(run.times, losses[0], float(gamma), float(kappa))
            for losses, gamma, kappa in zip(run["loss"], gammas, kappas, strict=True)
        ]
    )
    curves = {
        "training_error": 2 / n * run["loss"],
        "training_bound": 2 / n * bound,
        "largest_movement": run["largest_movement"],
        "ntg_change": run["ntg_change"],
        "smallest_eigenvalue": run["smallest_eigenvalue"],
        "eigenvalue_floor": (gammas * kappas / 4).unsqueeze(1).expand_as(run["loss"]),
    }
    last = published * n / 2
    rows = band_rows("steps", (run.times * n / 2).tolist(), curves)
    notes = [
        f"Loss above its bound in {_count(curves['training_error'] > curves['training_bound'])} of "
        f"{curves['training_error'].numel()} records; smallest eigenvalue under its floor in "
        f"{_count(curves['smallest_eigenvalue'] < curves['eigenvalue_floor'])}.",
        order(rows, "steps", "largest_movement", last, rising=True),
        order(rows, "steps", "ntg_change", last, rising=True),
        order(rows, "steps", "training_error", last, rising=True),
        order(rows, "steps", "smallest_eigenvalue", last, rising=False),
    ]
    record = settings_record(
        n=n,
        d=d,
        width=width,
        seeds=list(seeds),
        init_variance=1.0,
        method="ode",
        rtol=_FINE,
        steps_unit="1.0 on the mean squared error; time of the flow is steps * 2 / n",
        effort=vars(run.effort),
        kappa=[float(k) for k in kappas[: len(seeds)]],
    )
    return Outcome("fig1", scale, record, rows, _draw_flow(rows, last), notes)


def _count(where: Tensor) -> int:
    return int(where.sum())


def _draw_flow(rows: Sequence[Row], published: float) -> Figure:
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


def fig5(scale: str = "smoke", data: Any = None, seed: int = 0) -> Outcome:
    """Figure 5: sum of the squared shares of Zipf's law against alpha, and the NTG's measured total variance over C0.

    Args:
        scale: networks of the paper's width, and more of them, at ``"paper"``.
        data: not used.
        seed: of the first network.
    """
    n, d, width = at(scale, 10, 30, 100), at(scale, 5, 15, 50), at(scale, 500, 2000, 2000)
    draws = at(scale, 20, 100, 200)
    x, _ = sphere(n, d, seed)
    mean, constant = flow.mean_ntg("relu", x), flow.variance_constant("relu", x)
    rows: list[Row] = []
    for alpha in torch.linspace(0.05, 0.95, at(scale, 7, 19, 37), dtype=torch.float64).tolist():
        measured = None
        if round(alpha * 100) % 10 == 5:
            lam = zipf(width, alpha, 0.0)
            measured = _measured_variance(x, lam, mean, draws, seed) / constant
        finite = float(zipf(width, alpha, 0.0).square().sum())
        rows.append({"alpha": alpha, "limit": float(zipf_asymmetry(alpha)), "at_width": finite, "measured": measured})
    figure, (panel,) = canvas(["Σ share² of Zipf's law"], width=5, height=3.4)
    panel.plot(
        [r["alpha"] for r in rows], [r["limit"] for r in rows], color=LIGHT["series-1"], label="ζ(2/α) / ζ(1/α)²"
    )
    shown = [r for r in rows if r["measured"] is not None]
    label = f"E‖NTG − mean‖² / C₀, m = {width}"
    panel.plot([r["alpha"] for r in shown], [r["measured"] for r in shown], "o", color=LIGHT["series-2"], label=label)
    panel.set_xlabel("α")
    panel.legend(frameon=False)
    worst = max(abs(r["measured"] / r["at_width"] - 1) for r in shown)
    notes = [f"Measured total variance over C0 * sum lambda^2 is 1 to within {worst:.2g} ({draws} networks a point)."]
    return Outcome(
        "fig5", scale, {"n": n, "d": d, "width": width, "networks": draws, "seed": seed}, rows, figure, notes
    )


def _measured_variance(x: Tensor, lam: Tensor, mean: Tensor, draws: int, seed: int) -> float:
    source = torch.Generator().manual_seed(seed)
    x = x.double() / math.sqrt(x.shape[1])
    total = 0.0
    for _ in range(draws):
        slope = (torch.randn(len(lam), x.shape[1], dtype=torch.float64, generator=source) @ x.mT > 0).double()
        total += float(((x @ x.mT) * (slope.mT @ (slope * lam.unsqueeze(1))) - mean).square().sum())
    return total / draws


def kernel_limit(scale: str = "smoke", data: Any = None, seed: int = 0) -> Outcome:
    """Gamma = 1 against regression with the kernel Theta*, as the width grows: at a finite time and fully trained.

    The difference is between the network's change on 200 test points and H_z H^-1 (1 - exp(-H t)) (y - f_0), f_0 the
    outputs at the start; gamma = 0.2 is drawn beside it, which has another limit.

    Args:
        scale: widths to 32 768 at ``"paper"``.
        data: not used.
        seed: the first of the seeds.
    """
    n, d = at(scale, 15, 40, 40), at(scale, 5, 10, 10)
    widths = at(scale, (64, 512), (128, 512, 2048, 8192), (128, 512, 2048, 8192, 32768))
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


def agreement(scale: str = "smoke", data: Any = None, seed: int = 0) -> Outcome:
    """The flow against gradient descent: difference of outputs and of displacements, on the data of Figure 1.

    Args:
        scale: 5000 of the 50 000 steps at ``"paper"``.
        data: not used.
        seed: of data and weights.
    """
    n, d, width = at(scale, 20, 50, 100), at(scale, 10, 25, 50), at(scale, 100, 500, 2000)
    steps, lr = at(scale, 500, 5000, 5000), 2 / n
    x, y = sphere(n, d, seed)
    rows: list[Row] = []
    for rtol in (1e-2, 1e-3, 1e-4):
        descended, followed = fleet(d, width, [seed]), fleet(d, width, [seed])
        start = [m.weight.detach().clone() for m in followed]
        outputs = [(y - m(x).detach()[:, 0]).norm() for m in followed]
        if rtol == 1e-2:
            gd = flow.train(descended, x, y, steps=steps, lr=lr, method="gd")
            targets = descended
        ode = flow.train(followed, x, y, steps * lr, rtol=rtol)
        for setting, a, b, w, r in zip(SETTINGS, targets, followed, start, outputs, strict=True):
            off = float((a(x) - b(x)).detach().norm() / r)
            moved = float((a.weight - b.weight).detach().norm() / (a.weight - w).detach().norm())
            rows.append({**setting.key, "rtol": rtol, "outputs": off, "displacement": moved})
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
