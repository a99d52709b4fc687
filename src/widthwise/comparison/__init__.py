"""The main job: which way of spending a weight budget is best."""

from widthwise.comparison.result import Comparison, Row

__all__ = ["Comparison", "Row"]
