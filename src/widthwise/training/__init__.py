"""Training: one loop for single networks and whole families of equal shapes, one for a network of many processes."""

from widthwise.training.config import TrainConfig
from widthwise.training.divergence import DivergenceWarning
from widthwise.training.family import Family
from widthwise.training.fit import fit
from widthwise.training.loop import Progress, evaluate, train
from widthwise.training.objective import Objective, objective_for
from widthwise.training.ranks import Ranks, joined

__all__ = [
    "DivergenceWarning",
    "Family",
    "Objective",
    "Progress",
    "Ranks",
    "TrainConfig",
    "evaluate",
    "fit",
    "joined",
    "objective_for",
    "train",
]
