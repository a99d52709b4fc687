"""What the scikit-learn estimators share: standardised tables, and labels as numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from sklearn.utils.multiclass import check_classification_targets

from widthwise.errors import InputError, InputTypeError

__all__ = ["Targets", "class_codes", "standard"]

Array = NDArray[Any]


def standard(name: str, values: Array, weights: Array | None = None) -> StandardScaler:
    """What brings columns to mean 0 and deviation 1; missing values (NaN) do not count.

    Args:
        name: of the argument they come from.
        values: ``(n, k)``.
        weights: of the rows, ``(n,)``.

    Raises:
        InputError: if values are too large for a variance.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        scaler = StandardScaler().fit(values, sample_weight=weights)
    if (~np.isfinite(scaler.scale_) & np.isfinite(values).any(0)).any():
        raise InputError(
            f"{name}: got values up to {np.nanmax(np.abs(values)):.3g}, allowed are such as have a variance"
        )
    return scaler


class Targets:
    """Targets ``(n,)`` or ``(n, k)`` as standardised columns, and the way back; a constant one is predicted as it is.

    Args:
        values: those to learn.
        weights: of the examples, ``(n,)``, in mean and deviation.

    Raises:
        InputError: if values are too large for a variance.
    """

    def __init__(self, values: Array, weights: Array | None = None) -> None:
        self._flat = values.ndim == 1
        self._scaler = standard("y", values.reshape(len(values), -1), weights)
        constant = (self._scaler.scale_ == 1) & (self._scaler.var_ < 0.5)  # as the scaler takes it
        self._spread = np.where(constant, 0.0, self._scaler.scale_)

    def columns(self, values: Array) -> Array:
        """Standardised, ``(n, k)``."""
        found: Array = self._scaler.transform(values.reshape(len(values), -1))
        return found

    def back(self, outputs: Array) -> Array:
        """Predictions ``(m,)`` or ``(m, k)``, as the targets were, from standardised columns ``(m, k)``."""
        found: Array = (outputs * self._spread + self._scaler.mean_).astype(outputs.dtype)
        return found[:, 0] if self._flat else found


def class_codes(labels: Array) -> tuple[Array, Array]:
    """The different labels in order, and the number of each label's.

    Raises:
        InputError: if there is one only.
        InputTypeError: if they are of types that have no common order.
        ValueError: if they are no labels but real numbers.
    """
    try:
        check_classification_targets(labels)
        classes, codes = np.unique(labels, return_inverse=True)
    except TypeError as error:
        kinds = ", ".join(sorted({type(label).__name__ for label in labels.ravel()}))
        raise InputTypeError(f"y: got labels of types {kinds}, allowed are labels that can be sorted") from error
    if len(classes) < 2:
        raise InputError("y: got 1 class, allowed are at least 2 classes")
    return classes, codes
