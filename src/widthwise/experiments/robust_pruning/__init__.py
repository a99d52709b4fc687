"""Robust Pruning at Initialization (Hayou, Ton, Doucet, Teh): its figures and tables, and its theorems measured."""

from widthwise.experiments.robust_pruning.claims import CLAIMS
from widthwise.experiments.robust_pruning.collapse import critical, fig1
from widthwise.experiments.robust_pruning.growth import growth
from widthwise.experiments.robust_pruning.layers import fig2, fig4
from widthwise.experiments.robust_pruning.magnitude import table7
from widthwise.experiments.robust_pruning.signal import signal
from widthwise.experiments.robust_pruning.tables import (
    table1,
    table2,
    table3,
    table5,
    table6,
    table8,
    table9,
    table10,
)
from widthwise.experiments.robust_pruning.trainability import fig3, fig5, table4

__all__ = ["CLAIMS", "EXPERIMENTS"]

EXPERIMENTS = {
    "fig1": fig1,
    "fig2": fig2,
    "fig3": fig3,
    "fig4": fig4,
    "fig5": fig5,
    "table1": table1,
    "table2": table2,
    "table3": table3,
    "table4": table4,
    "table5": table5,
    "table6": table6,
    "table7": table7,
    "table8": table8,
    "table9": table9,
    "table10": table10,
    "critical": critical,
    "growth": growth,
    "signal": signal,
}
"""By name; ``critical``, ``growth`` and ``signal`` measure the theorems."""
