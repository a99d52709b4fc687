"""Compiled code. Loading it takes a while: import :mod:`widthwise.sparse._kernels.build` on first use only."""

from __future__ import annotations

__all__: list[str] = []
