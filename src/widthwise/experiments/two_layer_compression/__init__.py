"""Sharp asymptotics on the compression of two-layer neural networks (Amani et al.): its figures, and past them."""

from widthwise.experiments.two_layer_compression.beyond import activations, configurations
from widthwise.experiments.two_layer_compression.claims import CLAIMS
from widthwise.experiments.two_layer_compression.descent import fig2, fig3, fig4
from widthwise.experiments.two_layer_compression.limit import decay, orientation
from widthwise.experiments.two_layer_compression.mnist import mnist

__all__ = [
    "CLAIMS",
    "EXPERIMENTS",
    "activations",
    "configurations",
    "decay",
    "fig2",
    "fig3",
    "fig4",
    "mnist",
    "orientation",
]

EXPERIMENTS = {
    "fig2": fig2,
    "fig3": fig3,
    "fig4": fig4,
    "decay": decay,
    "orientation": orientation,
    "configurations": configurations,
    "activations": activations,
    "mnist": mnist,
}
"""By name. ``decay`` and ``orientation`` measure Theorem 1; the last three go past the paper."""
