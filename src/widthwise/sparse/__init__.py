"""Sparse layers that run as fast, and take as little memory, as their zeros deserve."""

from __future__ import annotations

from widthwise.sparse.conv import SparseConv2d
from widthwise.sparse.convert import Decision, densify, plan, sparsify
from widthwise.sparse.linear import SparseLinear

__all__ = ["Decision", "SparseConv2d", "SparseLinear", "densify", "plan", "sparsify"]
