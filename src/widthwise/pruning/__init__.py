"""Choose which weights live: scores, allocation, collapse, and :func:`prune` that joins them."""

from widthwise.pruning import scores
from widthwise.pruning.api import prune
from widthwise.pruning.collapse import critical_sparsity, dead_layers, dead_units, effective_mask
from widthwise.pruning.repeat import train_prune_repeat
from widthwise.pruning.scores import register_score, score_names

__all__ = [
    "critical_sparsity",
    "dead_layers",
    "dead_units",
    "effective_mask",
    "prune",
    "register_score",
    "score_names",
    "scores",
    "train_prune_repeat",
]
