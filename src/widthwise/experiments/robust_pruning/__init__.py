"""Robust Pruning at Initialization (Hayou, Ton, Doucet, Teh): its figures and tables, and its theorems measured."""

from widthwise.experiments.robust_pruning.collapse import critical, fig1
from widthwise.experiments.robust_pruning.growth import growth
from widthwise.experiments.robust_pruning.layers import fig2
from widthwise.experiments.robust_pruning.magnitude import table7
from widthwise.experiments.robust_pruning.residual_training import table2
from widthwise.experiments.robust_pruning.signal import signal
from widthwise.experiments.robust_pruning.trainability import fig3, fig5, table4

__all__ = ["EXPERIMENTS", "critical", "fig1", "fig2", "fig3", "fig5", "growth", "signal", "table2", "table4", "table7"]

EXPERIMENTS = {
    "fig1": fig1,
    "fig2": fig2,
    "fig3": fig3,
    "fig5": fig5,
    "table2": table2,
    "table4": table4,
    "table7": table7,
    "critical": critical,
    "growth": growth,
    "signal": signal,
}
"""By name. ``fig2`` is Figure 4 too; ``critical``, ``growth`` and ``signal`` measure the theorems."""
