"""Training: one loop for single networks and for whole families of equal shapes."""

from widthwise.training.config import TrainConfig
from widthwise.training.family import Family
from widthwise.training.loop import Progress, evaluate, train
from widthwise.training.objective import Objective, objective_for

__all__ = ["Family", "Objective", "Progress", "TrainConfig", "evaluate", "objective_for", "train"]
