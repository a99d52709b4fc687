"""Data sets: load them by name, path or array, and divide them.

>>> parts = split(load("digits"), seed=1)
>>> parts.task, parts.n_outputs
('classification', 10)
"""

from widthwise.data.dataset import Dataset
from widthwise.data.loading import load
from widthwise.data.registry import names, register
from widthwise.data.sampling import examples_per_class
from widthwise.data.splits import Splits, split

__all__ = ["Dataset", "Splits", "examples_per_class", "load", "names", "register", "split"]
