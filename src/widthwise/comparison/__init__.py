"""The main job: which way of spending a weight budget is best."""

from widthwise.comparison.result import Comparison, Finding, Row
from widthwise.comparison.run import compare

__all__ = ["Comparison", "Finding", "Row", "compare"]
