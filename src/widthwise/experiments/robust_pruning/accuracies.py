"""Accuracies of several runs by network, sparsity and method: who leads, and a drawing beside the paper's numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from widthwise.experiments.common import canvas, spread_out
from widthwise.experiments.outcome import Row
from widthwise.report.style import LIGHT

__all__ = ["RIVALS", "Cell", "ahead", "cells", "draw_tables", "draw_winners", "leaders", "winners"]

RIVALS = ("random", "magnitude", "SNIP", "GraSP", "GraSP-SR", "SynFlow", "SBP-SR", "EOC+rescaling")
"""Methods that prune at initialization."""

Cell = Mapping[str, tuple[float, float]]
"""Method -> mean accuracy over runs, and its standard error, which one run leaves unknown: infinite."""


def cells(rows: Sequence[Row]) -> dict[tuple[str, str, float], Cell]:
    """By network, activation and sparsity."""
    runs: dict[tuple[str, str, float], dict[str, list[float]]] = {}
    for row in rows:
        cell = runs.setdefault((row["network"], row["activation"], row["sparsity"]), {})
        cell.setdefault(row["method"], []).append(row["test_accuracy"])
    return {key: {method: _summary(found) for method, found in cell.items()} for key, cell in runs.items()}


def _summary(found: Sequence[float]) -> tuple[float, float]:
    mean = math.fsum(found) / len(found)
    if len(found) == 1:
        return mean, math.inf
    spread = math.sqrt(math.fsum((one - mean) ** 2 for one in found) / (len(found) - 1))
    return mean, spread / math.sqrt(len(found))


def ahead(cell: Cell, method: str, other: str) -> bool:
    """Whether a method is ahead of another by more than twice the standard error of the difference."""
    (a, da), (b, db) = cell[method], cell[other]
    return a - b > 2 * math.hypot(da, db)


def _leader(cell: Cell) -> tuple[str | None, list[str]]:
    """The method that is ahead of all others that prune at initialization, and these by their means."""
    ranked = sorted((method for method in cell if method in RIVALS), key=lambda method: -cell[method][0])
    leads = all(ahead(cell, ranked[0], other) for other in ranked[1:])
    return (ranked[0] if leads else None), ranked


def leaders(rows: Sequence[Row]) -> list[str]:
    """For each network and sparsity the best method, or that it is undetermined."""
    found = []
    for (network, activation, sparsity), cell in cells(rows).items():
        leader, (first, second, *_) = _leader(cell)
        said = f"{first} leads" if leader else f"undetermined, {first} is ahead"
        best, next_best = cell[first][0], cell[second][0]
        found.append(f"{network}, {activation}, {sparsity:.1%}: {said} with {best:.1%}; {second} has {next_best:.1%}.")
    return found


def winners(rows: Sequence[Row]) -> list[Row]:
    """For each network and sparsity the method that leads, C where none does, and the mean accuracy of the best."""
    found: list[Row] = []
    for (network, _, sparsity), cell in cells(rows).items():
        leader, (first, *_) = _leader(cell)
        row = {"network": network, "sparsity": sparsity, "winner": leader or "C", "ahead": first}
        found.append(row | {"accuracy": cell[first][0]})
    return found


def draw_tables(rows: Sequence[Row]) -> Figure:
    """Accuracy against sparsity, a panel a network; hollow marks are the paper's numbers."""
    found, methods = cells(rows), spread_out(rows, "method")
    nets = list(dict.fromkeys((network, activation) for network, activation, _ in found))
    figure, panels = canvas([f"{network}, {activation}" for network, activation in nets], width=5)
    theirs = {(r["network"], r["activation"], r["sparsity"], r["method"]): r["paper"] for r in rows}
    for panel, net in zip(panels, nets, strict=True):
        sparsities = [sparsity for *other, sparsity in found if tuple(other) == net]
        for i, method in enumerate(methods):
            colour = LIGHT[f"series-{i % 6}"] if i < 6 else (LIGHT["ink"], LIGHT["faint"], "#a05a2c")[i - 6]
            points = [(j, s) for j, s in enumerate(sparsities) if method in found[(*net, s)]]
            places = [j + 0.05 * (i - len(methods) / 2) for j, _ in points]
            means = [100 * found[(*net, s)][method][0] for _, s in points]
            errors = [100 * error if math.isfinite(error := found[(*net, s)][method][1]) else 0 for _, s in points]
            panel.errorbar(places, means, yerr=errors, marker="o", ms=4, linewidth=1, color=colour, label=method)
            papers = [theirs[(*net, s, method)] or math.nan for _, s in points]
            panel.plot(places, papers, "D", ms=5, markerfacecolor="none", color=colour)
        panel.set_xticks(range(len(sparsities)), [f"{100 * s:g} %" for s in sparsities])
        panel.set_xlabel("weights pruned (hollow: the paper)")
        panel.set_ylim(0, 100)
    panels[0].set_ylabel("test accuracy (%)")
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def draw_winners(rows: Sequence[Row]) -> Figure:
    """The matrix of winners, the paper's below ours."""
    networks, sparsities = spread_out(rows, "network"), sorted(spread_out(rows, "sparsity"))
    figure, (panel,) = canvas(
        ["who leads (below: in the paper)"], width=1.8 * len(sparsities) + 1, height=0.8 + len(networks)
    )
    for row in rows:
        i, j = networks.index(row["network"]), sparsities.index(row["sparsity"])
        panel.text(j, i - 0.12, row["winner"], ha="center", va="center")
        panel.text(j, i + 0.2, row["paper"] or "–", ha="center", va="center", color=LIGHT["faint"])
    panel.set_xlim(-0.5, len(sparsities) - 0.5)
    panel.set_ylim(len(networks) - 0.5, -0.5)
    panel.set_xticks(range(len(sparsities)), [f"{100 * s:g} %" for s in sparsities])
    panel.set_yticks(range(len(networks)), networks)
    panel.grid(visible=False)
    return figure
