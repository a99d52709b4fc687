"""scikit-learn estimators: wide sparse networks of a given number of weights."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin, MultiOutputMixin, RegressorMixin

from widthwise._tables import Targets, class_codes
from widthwise.errors import InputError
from widthwise.estimators.base import Array, WideSparse, example_weights

__all__ = ["WideSparseClassifier", "WideSparseRegressor"]


class WideSparseRegressor(MultiOutputMixin, RegressorMixin, WideSparse):  # type: ignore[misc]
    """Regression by a wide sparse network: as many weights as you say, each unit seeing few inputs.

    Which weights live is drawn at random before training; features and targets are standardised. Trained by Adam on the
    squared error, natively sparse for ReLU and linear networks.

    Args:
        weights: number of weights, exactly; biases come on top.
        width: hidden units a layer; by default what :func:`~widthwise.best_width` predicts from the condition number of
            tangent kernels at initialization: that of the dense network of so many weights, or up to 16 times as many.
        depth: hidden layers.
        activation: name of the activation.
        last_layer: ``"balanced"`` cuts the largest layers first, ``"dense"`` keeps the last one whole.
        max_iter: passes over the data.
        batch_size: examples a step.
        learning_rate: of Adam at the start of :meth:`fit`, whence it falls as a cosine, and throughout
            :meth:`partial_fit`.
        weight_decay: share of each weight and of the rate that is taken off at each step.
        early_stopping: whether to set examples aside, stop when their loss falls no more, and keep the best epoch.
        validation_fraction: share of examples set aside.
        n_iter_no_change: epochs without a loss lower by ``tol`` after which to stop.
        tol: see there.
        missing: ``"error"`` refuses missing values (NaN), ``"mean"`` replaces them by their feature's mean. A feature
            without any value in training counts as constant, in prediction too, with a warning.
        n_jobs: threads; one by default, all of PyTorch's for -1.
        random_state: seed or generator of masks, weights, batches and validation.
        verbose: whether to show a bar. Before the first epoch kernels are loaded, and the first time on a machine
            compiled, which takes seconds.

    Attributes:
        width_: hidden units a layer.
        n_weights_: number of weights that live.
        model_: the network as a PyTorch module, on standardised inputs and targets.
        loss_curve_: training loss after each epoch, mean squared error of standardised targets.
        validation_curve_: the same of the examples set aside.
        n_iter_: epochs done.
        n_features_in_: number of features.

    Example:
        >>> X = np.random.default_rng(0).normal(size=(300, 5))
        >>> model = WideSparseRegressor(weights=200, random_state=0).fit(X, np.abs(X[:, 0]) + X[:, 1])
        >>> bool(model.score(X, np.abs(X[:, 0]) + X[:, 1]) > 0.9), model.n_weights_
        (True, 200)
    """

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train on ``X`` ``(n, d)`` and ``y`` ``(n,)`` or ``(n, k)``.

        Args:
            X: inputs ``(n, d)``.
            y: targets ``(n,)`` or ``(n, k)``.
            sample_weight: of each example in the loss and in standardisation, ``(n,)``; 1 by default.

        Raises:
            InputError: if a parameter is not allowed.
            ValueError: if the data are not numbers, are not finite or do not match.
        """
        x, values, weights = self._checked(X, y, sample_weight)
        self._targets = Targets(values, weights)
        columns = self._targets.columns(values)
        return self._fit(x, columns, weights, columns.shape[1], None)

    def partial_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """One more pass over these examples; those of the first call tell how features and targets are standardised.

        Args:
            X: inputs ``(n, d)``.
            y: targets ``(n,)`` or ``(n, k)``.
            sample_weight: of each example in the loss and in standardisation, ``(n,)``; 1 by default.

        Raises:
            InputError: if a parameter is not allowed.
            ValueError: if the data are not numbers, are not finite, do not match, or have other columns than before.
        """
        is_first = not hasattr(self, "_engine")
        x, values, weights = self._checked(X, y, sample_weight, reset=is_first)
        if is_first:
            self._targets = Targets(values, weights)
            self._start(x, weights, self._targets.columns(values).shape[1])
        return self._go_on(x, self._targets.columns(values), weights)

    def predict(self, X: ArrayLike) -> Array:
        """Predict ``(n,)`` or ``(n, k)`` targets for ``X`` ``(n, d)``."""
        outputs = self._outputs(X).numpy()
        return self._targets.back(outputs)

    def _checked(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, reset: bool = True
    ) -> tuple[Array, Array, Array]:
        checked: Any = self._validated(X, y=y, multi_output=True, y_numeric=True, reset=reset)
        x = checked[0]
        return x, np.asarray(checked[1], x.dtype), example_weights(sample_weight, x)


class WideSparseClassifier(ClassifierMixin, WideSparse):  # type: ignore[misc]
    """Classification by a wide sparse network of a given number of weights, trained on the cross-entropy.

    Arguments and attributes are those of :class:`WideSparseRegressor`, and:

    Attributes:
        classes_: the labels.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> bool(WideSparseClassifier(weights=100, random_state=0).fit(X, y).score(X, y) > 0.95)
        True
    """

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train on ``X`` ``(n, d)`` and labels ``y`` ``(n,)``.

        Args:
            X: inputs ``(n, d)``.
            y: labels ``(n,)``, of any type that can be sorted.
            sample_weight: of each example in the loss and in standardisation, ``(n,)``; 1 by default.

        Raises:
            InputError: if a parameter is not allowed, or there is one class only.
            ValueError: if the data are not numbers, are not finite or do not match.
        """
        checked: Any = self._validated(X, y=y)
        weights = example_weights(sample_weight, checked[0])
        self.classes_, codes = class_codes(checked[1])
        return self._fit(checked[0], codes, weights, len(self.classes_), codes)

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """One more pass over these examples; those of the first call tell how features are standardised.

        Args:
            X: ``(n, d)``.
            y: labels ``(n,)``.
            classes: all labels there will be, needed in the first call.
            sample_weight: of the examples.

        Raises:
            InputError: if ``classes`` is missing in the first call or others later, or a label is none of them.
        """
        is_first = not hasattr(self, "_engine")
        if is_first and classes is None:
            raise InputError("classes: got None, allowed in the first call of partial_fit are all labels there will be")
        checked: Any = self._validated(X, y=y, reset=is_first)
        weights = example_weights(sample_weight, checked[0])
        if is_first:
            self.classes_ = class_codes(np.asarray(classes))[0]
            self._start(checked[0], weights, len(self.classes_))
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise InputError(f"classes: got {classes}, allowed are those of the first call, {self.classes_}")
        codes = np.searchsorted(self.classes_, checked[1]).clip(max=len(self.classes_) - 1)
        if not np.array_equal(self.classes_[codes], checked[1]):
            raise InputError(f"y: got labels that are none of the classes {self.classes_}")
        return self._go_on(checked[0], codes, weights)

    def decision_function(self, X: ArrayLike) -> Array:
        """Outputs before the softmax, ``(n, classes)``; for two classes their difference, ``(n,)``."""
        outputs: Array = self._outputs(X).numpy()
        return outputs[:, 1] - outputs[:, 0] if len(self.classes_) == 2 else outputs

    def predict_proba(self, X: ArrayLike) -> Array:
        """Probability of each class, ``(n, classes)``."""
        found: Array = self._outputs(X).softmax(1).numpy()
        return found

    def predict(self, X: ArrayLike) -> Array:
        """Predict labels ``(n,)`` for ``X`` ``(n, d)``."""
        codes = self._outputs(X).argmax(1).numpy()
        found: Array = self.classes_[codes]
        return found
