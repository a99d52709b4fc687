"""Sparse layers that run as fast, and take as little memory, as their zeros deserve."""

from __future__ import annotations

from widthwise.sparse._plan import Decision, plan
from widthwise.sparse.conv import SparseConv2d
from widthwise.sparse.convert import densify, sparsify
from widthwise.sparse.count import Count, Counts, count
from widthwise.sparse.export import to_onnx
from widthwise.sparse.fold import fold_batch_norms
from widthwise.sparse.linear import SparseLinear

__all__ = [
    "Count",
    "Counts",
    "Decision",
    "SparseConv2d",
    "SparseLinear",
    "count",
    "densify",
    "fold_batch_norms",
    "plan",
    "sparsify",
    "to_onnx",
]
