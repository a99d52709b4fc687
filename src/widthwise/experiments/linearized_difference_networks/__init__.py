"""Linearized difference networks, finite and in the infinite-width limit: the paper's figures and tables."""

from widthwise.experiments.linearized_difference_networks.claims import CLAIMS
from widthwise.experiments.linearized_difference_networks.difference import fig1, fig2, fig3
from widthwise.experiments.linearized_difference_networks.duals import fig4, fig5
from widthwise.experiments.linearized_difference_networks.spectrum import table1

__all__ = ["CLAIMS", "EXPERIMENTS", "fig1", "fig2", "fig3", "fig4", "fig5", "table1"]

EXPERIMENTS = {"fig1": fig1, "fig2": fig2, "fig3": fig3, "fig4": fig4, "fig5": fig5, "table1": table1}
"""By name. ``table1`` is that of section 9.3."""
