"""widthwise: spend a fixed budget of weights well.

>>> import widthwise as ww
>>> model, mask = ww.widen(lambda width: ww.models.mlp(64, 10, width=width), base_width=3, factor=4)
>>> mask.kept, round(mask.connectivity, 3)
(222, 0.25)
"""

from widthwise import activations, data, models, pruning, report
from widthwise._version import __version__
from widthwise.checkpoint import load, save
from widthwise.comparison import Comparison, compare
from widthwise.errors import CollapseError, CollapseWarning, DataError, InputError, InputTypeError
from widthwise.masks import Mask, prunable
from widthwise.pruning import critical_sparsity, prune, register_score, scores
from widthwise.training import TrainConfig
from widthwise.widening import widen

__all__ = [
    "CollapseError",
    "CollapseWarning",
    "Comparison",
    "DataError",
    "InputError",
    "InputTypeError",
    "Mask",
    "TrainConfig",
    "__version__",
    "activations",
    "compare",
    "critical_sparsity",
    "data",
    "load",
    "models",
    "prunable",
    "prune",
    "pruning",
    "register_score",
    "report",
    "save",
    "scores",
    "widen",
]
