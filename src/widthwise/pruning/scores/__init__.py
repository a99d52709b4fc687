"""Scores, one function a method: ``(model, data, loss)`` to a tensor for each prunable parameter, larger means keep.

Each leaves the model, its gradients, buffers and mode as they were. ``random``, ``obd`` and ``ntk_sap`` draw from
torch's generator; the others leave it as it was, too. :func:`register_score` adds a user's own.
"""

from widthwise.pruning.scores.hessian import grasp, obd
from widthwise.pruning.scores.registry import Method, Score, find_method, register_score, score_names
from widthwise.pruning.scores.simple import magnitude, random, snip
from widthwise.pruning.scores.synaptic import synflow
from widthwise.pruning.scores.tangent import ntk_sap

__all__ = [
    "Method",
    "Score",
    "find_method",
    "grasp",
    "magnitude",
    "ntk_sap",
    "obd",
    "random",
    "register_score",
    "score_names",
    "snip",
    "synflow",
]
