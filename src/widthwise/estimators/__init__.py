"""scikit-learn estimators for tables: wide sparse networks of a given number of weights."""

from widthwise.estimators.wide_sparse import WideSparseClassifier, WideSparseRegressor

__all__ = ["WideSparseClassifier", "WideSparseRegressor"]
