"""Over-parameterised Shallow Neural Networks with Asymmetrical Node Scaling: its figures, and its theorems measured."""

from widthwise.experiments.asymmetrical_scaling.regression import fig2, fig6, fig7, fig8, fig9
from widthwise.experiments.asymmetrical_scaling.simulated import agreement, fig1, fig5, kernel_limit

__all__ = ["EXPERIMENTS", "agreement", "fig1", "fig2", "fig5", "fig6", "fig7", "fig8", "fig9", "kernel_limit"]

EXPERIMENTS = {
    "fig1": fig1,
    "fig2": fig2,
    "fig5": fig5,
    "fig6": fig6,
    "fig7": fig7,
    "fig8": fig8,
    "fig9": fig9,
    "kernel_limit": kernel_limit,
    "agreement": agreement,
}
"""By name. ``kernel_limit`` and ``agreement`` check the kernel regime and the solver."""
