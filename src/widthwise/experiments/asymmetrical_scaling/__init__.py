"""Over-parameterised Shallow Neural Networks with Asymmetrical Node Scaling: its figures, and its theorems measured."""

from widthwise.experiments.asymmetrical_scaling.checks import agreement, kernel_limit
from widthwise.experiments.asymmetrical_scaling.cifar import fig4, fig11
from widthwise.experiments.asymmetrical_scaling.claims import CLAIMS
from widthwise.experiments.asymmetrical_scaling.mnist import fig3, fig10
from widthwise.experiments.asymmetrical_scaling.regression import fig2, fig6, fig7, fig8, fig9
from widthwise.experiments.asymmetrical_scaling.simulated import fig1
from widthwise.experiments.asymmetrical_scaling.theorems import theorems
from widthwise.experiments.asymmetrical_scaling.variance import fig5

__all__ = ["CLAIMS", "EXPERIMENTS"]

EXPERIMENTS = {
    "fig1": fig1,
    "fig2": fig2,
    "fig3": fig3,
    "fig4": fig4,
    "fig5": fig5,
    "fig6": fig6,
    "fig7": fig7,
    "fig8": fig8,
    "fig9": fig9,
    "fig10": fig10,
    "fig11": fig11,
    "theorems": theorems,
    "kernel_limit": kernel_limit,
    "agreement": agreement,
}
"""By name. ``theorems`` draws the theory on what is measured; the last two check the kernel regime and the solver."""
