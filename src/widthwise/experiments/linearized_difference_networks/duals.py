"""Figures 4 and 5: the duals f and g of common activations at several scalings."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from widthwise import duals
from widthwise.activations import Activation, get
from widthwise.activations.base import affine
from widthwise.duals.series import AccuracyWarning
from widthwise.experiments.common import at, canvas, spread_out
from widthwise.experiments.outcome import Outcome, Row
from widthwise.report.style import LIGHT

__all__ = ["fig4", "fig5"]

Dual = Callable[[Activation, Tensor], Tensor]
_ACTIVATIONS = ("relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "tanh", "sigmoid", "erf", "sincos")
_FEW = ("relu", "elu", "tanh", "erf", "sincos")
_SCALINGS = {1: "series-1", 3: "series-2", 10: "series-3"}


def fig4(scale: str = "smoke", _data: Any = None, seed: int = 0) -> Outcome:
    """Figure 4: f(c) = c g'(c) of phi(kx)/k, by numerical integration, and in closed form where there is one.

    Args:
        scale: fewer activations and correlations at ``"smoke"``; the others are alike.
        seed: of nothing; all is determined.
    """
    return _measured("fig4", "f", duals.f, scale, seed)


def fig5(scale: str = "smoke", _data: Any = None, seed: int = 0) -> Outcome:
    """Figure 5: g(c) of phi(kx)/k; see :func:`fig4`."""
    return _measured("fig5", "g", duals.g, scale, seed)


def _measured(name: str, letter: str, dual: Dual, scale: str, seed: int) -> Outcome:
    chosen, places = at(scale, _FEW, _ACTIVATIONS, _ACTIVATIONS), at(scale, 5, 41, 81)
    c = torch.linspace(-1, 1, places, dtype=torch.float64)
    rows: list[Row] = []
    notes: list[str] = []
    for activation in chosen:
        for k in _SCALINGS:
            exact = affine(get(activation), outer=1 / k, inner=float(k))
            numbers = _numbers(dual, exact, c, notes)
            closed = [None] * places if exact.closed_form is None else dual(exact, c).tolist()
            points = zip(c.tolist(), numbers, closed, strict=True)
            rows += [{"activation": activation, "k": k, "c": at, letter: n, "closed_form": e} for at, n, e in points]
    apart = [abs(r[letter] - r["closed_form"]) / _height(rows, r, letter) for r in rows if r["closed_form"] is not None]
    forms = sorted({r["activation"] for r in rows if r["closed_form"] is not None})
    notes.append(
        f"Numerical integration and closed form ({', '.join(forms)}) differ by at most {max(apart):.2g} of {letter}(1)."
    )
    settings = {"scalings": list(_SCALINGS), "seed": seed}
    return Outcome(name, scale, settings, rows, _draw(rows, letter), notes)


def _numbers(dual: Dual, exact: Activation, c: Tensor, notes: list[str]) -> list[float]:
    """The dual by numerical integration; where that is not accurate, a note says so."""
    numerical = Activation(exact.name, exact.phi, exact.derivative, exact.kinks, exact.jumps)
    with warnings.catch_warnings(record=True) as doubts:
        warnings.simplefilter("always", AccuracyWarning)
        numbers: list[float] = dual(numerical, c).tolist()
    notes += [str(doubt.message).partition(";")[0] + "." for doubt in doubts]
    return numbers


def _height(rows: list[Row], row: Row, letter: str) -> float:
    """The value at c = 1 on the same curve."""
    key = (row["activation"], row["k"], 1.0)
    return next(float(r[letter]) for r in rows if (r["activation"], r["k"], r["c"]) == key)


def _draw(rows: list[Row], letter: str) -> Figure:
    names = spread_out(rows, "activation")
    figure, panels = canvas(names, columns=4, width=2.4, height=2.1)
    for panel, name in zip(panels, names, strict=True):
        for k, colour in _SCALINGS.items():
            mine = [r for r in rows if (r["activation"], r["k"]) == (name, k)]
            panel.plot([r["c"] for r in mine], [r[letter] for r in mine], color=LIGHT[colour], label=f"φ({k}x)/{k}")
        panel.set_xlabel("c")
    panels[0].legend(frameon=False, fontsize=7)
    return figure
