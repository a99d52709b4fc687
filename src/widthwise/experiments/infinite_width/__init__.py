"""The infinite-width limit and finite networks, measured.

Figures 1 to 3 and the table of section 9.3 of the paper on linearized difference networks; Figure 8 of that on wider
nets.
"""

from widthwise.experiments.infinite_width.difference import fig1, fig2, fig3
from widthwise.experiments.infinite_width.distance import fig8
from widthwise.experiments.infinite_width.spectrum import table1

__all__ = ["EXPERIMENTS"]

EXPERIMENTS = {"fig1": fig1, "fig2": fig2, "fig3": fig3, "fig8": fig8, "table1": table1}
"""By name. ``fig8`` is that of the paper on wider nets."""
