"""Are wider nets better given the same number of parameters? (Golubeva, Neyshabur, Gur-Ari): its figures and tables."""

from widthwise.experiments.wider_nets.distance import fig8

__all__ = ["EXPERIMENTS", "fig8"]

EXPERIMENTS = {"fig8": fig8}
"""By name."""
