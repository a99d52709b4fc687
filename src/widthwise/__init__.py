"""widthwise: spend a fixed budget of weights well.

>>> import widthwise as ww
>>> model, mask = ww.widen(lambda width: ww.models.mlp(64, 10, width=width), base_width=3, factor=4)
>>> mask.kept, round(mask.connectivity, 3)
(222, 0.25)
"""

from widthwise._interrupt import leave_calmly

leave_calmly()  # before what takes seconds

from importlib import import_module
from typing import TYPE_CHECKING, Any

from widthwise import activations, compression, data, duals, init, kernels, meanfield, models, pruning, scaling
from widthwise._version import __version__
from widthwise.checkpoint import load, save
from widthwise.comparison import Comparison, compare
from widthwise.compression import compress_model as compress
from widthwise.errors import CollapseError, CollapseWarning, DataError, InputError, InputTypeError
from widthwise.masks import Mask
from widthwise.meanfield import edge_of_chaos
from widthwise.pruning import critical_sparsity, prune, register_score, scores
from widthwise.pruning.rescale import rescale
from widthwise.stabilize import stabilize
from widthwise.training import TrainConfig
from widthwise.weights import prunable
from widthwise.widening import widen
from widthwise.width import best_width

if TYPE_CHECKING:
    from widthwise import flow, linearized, nodes, report, sparse, sweep, tracking, training
    from widthwise.estimators import WideSparseClassifier, WideSparseRegressor
    from widthwise.flow import NodeScaledRegressor
    from widthwise.infinite.estimators import InfiniteWidthClassifier, InfiniteWidthRegressor
    from widthwise.linearized import LinearizedDifferenceRegressor, linearize
    from widthwise.sparse import densify, sparsify

__all__ = [
    "CollapseError",
    "CollapseWarning",
    "Comparison",
    "DataError",
    "InfiniteWidthClassifier",
    "InfiniteWidthRegressor",
    "InputError",
    "InputTypeError",
    "LinearizedDifferenceRegressor",
    "Mask",
    "NodeScaledRegressor",
    "TrainConfig",
    "WideSparseClassifier",
    "WideSparseRegressor",
    "__version__",
    "activations",
    "best_width",
    "compare",
    "compress",
    "compression",
    "critical_sparsity",
    "data",
    "densify",
    "duals",
    "edge_of_chaos",
    "flow",
    "init",
    "kernels",
    "linearize",
    "linearized",
    "load",
    "meanfield",
    "models",
    "nodes",
    "prunable",
    "prune",
    "pruning",
    "register_score",
    "report",
    "rescale",
    "save",
    "scaling",
    "scores",
    "sparse",
    "sparsify",
    "stabilize",
    "sweep",
    "tracking",
    "training",
    "widen",
    "widening",
]

_LAZY = ("flow", "linearized", "nodes", "report", "sparse", "sweep", "tracking")  # imported when asked for
_LAZY_NAMES = {  # what comes from them
    "InfiniteWidthClassifier": "infinite.estimators",
    "InfiniteWidthRegressor": "infinite.estimators",
    "LinearizedDifferenceRegressor": "linearized",
    "NodeScaledRegressor": "flow",
    "WideSparseClassifier": "estimators",
    "WideSparseRegressor": "estimators",
    "densify": "sparse",
    "linearize": "linearized",
    "sparsify": "sparse",
}


def __dir__() -> list[str]:
    """Every public name, of what is imported when asked for too."""
    return sorted({*globals(), *__all__} - {"Any", "TYPE_CHECKING", "import_module"})


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return import_module(f"widthwise.{name}")
    if name in _LAZY_NAMES:
        return getattr(import_module(f"widthwise.{_LAZY_NAMES[name]}"), name)
    raise AttributeError(f"module 'widthwise' has no attribute {name!r}")
