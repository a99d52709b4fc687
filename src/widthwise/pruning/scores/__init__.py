"""Scores, one function a method: ``(model, data, loss)`` to a tensor for each prunable parameter, larger means keep.

Each is a pure function: the model, its gradients, buffers and mode, and the random generators are left as they
were. :func:`register_score` adds a user's own.
"""

from widthwise.pruning.scores.registry import Method, Score, find_method, register_score, score_names
from widthwise.pruning.scores.simple import magnitude, random, snip

__all__ = ["Method", "Score", "find_method", "magnitude", "random", "register_score", "score_names", "snip"]
