"""Are wider nets better given the same number of parameters? (Golubeva, Neyshabur, Gur-Ari): its figures and tables."""

from widthwise.experiments.wider_nets.claims import CLAIMS
from widthwise.experiments.wider_nets.distance import fig8
from widthwise.experiments.wider_nets.equal_time import equal_time
from widthwise.experiments.wider_nets.families import fig1, fig3, fig6, fig7, fig9, fig11, fig12, fig14
from widthwise.experiments.wider_nets.imagenet import fig13, table1
from widthwise.experiments.wider_nets.layerwise import fig4, fig10
from widthwise.experiments.wider_nets.predictor import width_predictor
from widthwise.experiments.wider_nets.shallow import fig5

_FIGURES = (fig1, fig3, fig4, fig5, fig6, fig7, fig8, fig9, fig10, fig11, fig12, fig13, fig14, table1)
_BEYOND = (width_predictor, equal_time)

__all__ = [
    "CLAIMS",
    "EXPERIMENTS",
    "equal_time",
    "fig1",
    "fig3",
    "fig4",
    "fig5",
    "fig6",
    "fig7",
    "fig8",
    "fig9",
    "fig10",
    "fig11",
    "fig12",
    "fig13",
    "fig14",
    "table1",
    "width_predictor",
]

EXPERIMENTS = {experiment.__name__: experiment for experiment in (*_FIGURES, *_BEYOND)}
"""By name. Figures of the same networks (1, 6, 7, 9, 11, 12, 13, 14 and the table) share them within one command."""
