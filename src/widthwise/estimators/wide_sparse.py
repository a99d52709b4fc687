"""scikit-learn estimators: wide sparse networks of a given number of weights."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor, nn

from widthwise._tables import Targets, class_codes, standard
from widthwise.errors import InputError, check_choice, check_integer, check_number
from widthwise.estimators.fitting import Engine, Examples, History, Settings, pass_over, run_epochs, threads
from widthwise.estimators.network import Budget, engine_of

__all__ = ["WideSparseClassifier", "WideSparseRegressor"]

Array = NDArray[Any]
_DTYPES = (np.float32, np.float64)
_SAMPLE = 1000  # examples from which those are drawn by which a width is chosen


class _WideSparse(BaseEstimator):  # type: ignore[misc]
    """Parameters and training, which both estimators share."""

    def __init__(
        self,
        weights: int = 5000,
        *,
        width: int | None = None,
        depth: int = 1,
        activation: str = "relu",
        last_layer: str = "balanced",
        max_iter: int = 200,
        batch_size: int = 64,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-2,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 20,
        tol: float = 1e-4,
        missing: str = "error",
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.weights = weights
        self.width = width
        self.depth = depth
        self.activation = activation
        self.last_layer = last_layer
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.missing = missing
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing == "mean"
        return tags

    @property
    def model_(self) -> nn.Module:
        """The network as a PyTorch module on standardised inputs, its pruned weights zero."""
        check_is_fitted(self)
        return self._engine.model(0)

    def _settings(self) -> Settings:
        check_choice("missing", self.missing, ("error", "mean"))
        if self.n_jobs is not None and self.n_jobs != -1:
            check_integer("n_jobs", self.n_jobs, 1)
        return Settings(
            check_integer("max_iter", self.max_iter, 1),
            check_integer("batch_size", self.batch_size, 1),
            check_number("learning_rate", self.learning_rate, 0, low_open=True),
            check_number("weight_decay", self.weight_decay, 0),
            check_integer("n_iter_no_change", self.n_iter_no_change, 1),
            check_number("tol", self.tol, 0),
            bool(self.verbose),
        )

    def _validated(self, X: ArrayLike, **options: Any) -> Any:
        finite = "allow-nan" if self.missing == "mean" else True
        try:
            return validate_data(self, X, dtype=_DTYPES, ensure_all_finite=finite, **options)
        except ValueError as error:
            if "contains NaN" in str(error) and self.missing == "error":
                error.add_note(f"{type(self).__name__}(missing='mean') puts a feature's mean where a value is missing.")
            raise

    def _start(self, x: Array, weights: Array, outputs: int) -> None:
        """A network at initialization, for standardised examples."""
        self._inputs = standard("X", x, weights)
        source = check_random_state(self.random_state)
        budget = Budget(self.weights, self.width, self.depth, self.activation, self.last_layer)
        sample = self._standardised(x[weights > 0][:_SAMPLE])
        self.width_ = budget.width_for(sample, outputs)
        model, pruned = budget.network(x.shape[1], outputs, self.width_, source.randint(2**31 - 1))
        self._engine: Engine = engine_of(model.to(sample.dtype), pruned)
        self._history = History(torch.zeros(2, len(self._engine.theta), dtype=self._engine.theta.dtype))
        self._source = torch.Generator().manual_seed(source.randint(2**31 - 1))
        self.n_weights_ = self.weights
        self.loss_curve_ = self._history.losses

    def _fit(self, x: Array, y: Array, weights: Array, outputs: int, labels: Array | None) -> Self:
        """Train from the start; ``labels`` say how to divide for validation."""
        settings = self._settings()
        kept, held = self._divided(len(x), labels)
        self._start(x[kept], weights[kept], outputs)
        with threads(self.n_jobs):
            train = self._examples(x[kept], y[kept], weights[kept])
            test = self._examples(x[held], y[held], weights[held]) if len(held) else None
            run_epochs(self._engine, train, test, settings, self._history, self._source)
        self.n_iter_ = len(self.loss_curve_)
        self.validation_curve_ = self._history.validation
        return self

    def _divided(self, n: int, labels: Array | None) -> tuple[Array, Array]:
        """Which examples to train on, and which to stop by."""
        rows = np.arange(n)
        if not self.early_stopping:
            return rows, rows[:0]
        if n < 2:
            raise InputError("X: got 1 sample, allowed with early stopping are at least 2")
        share = check_number("validation_fraction", self.validation_fraction, 0, 1, low_open=True, high_open=True)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        count = max(1, round(share * n))
        if labels is not None and (np.bincount(labels).min() < 2 or labels.max() >= min(count, n - count)):
            labels = None  # too few examples to have each class on both sides
        kept, held = train_test_split(rows, test_size=count, random_state=seed, stratify=labels)
        return kept, held

    def _go_on(self, x: Array, y: Array, weights: Array) -> Self:
        """One more pass."""
        settings = self._settings()
        with threads(self.n_jobs):
            examples = self._examples(x, y, weights)
            pass_over(self._engine, examples, settings.learning_rate, settings, self._history, self._source)
        self.n_iter_ = len(self.loss_curve_)
        return self

    def _examples(self, x: Array, y: Array, weights: Array) -> Examples:
        scale = weights.mean()
        return Examples(
            self._prepared(x),
            torch.from_numpy(y.astype(np.int64) if y.ndim == 1 else np.ascontiguousarray(y)),
            torch.from_numpy(weights / scale if scale > 0 else weights),
        )

    def _prepared(self, x: Array) -> Tensor:
        return self._engine.prepared(self._standardised(x))

    def _standardised(self, x: Array) -> Tensor:
        """What is missing, and what has no spread, at the mean, 0."""
        return torch.from_numpy(np.nan_to_num(self._inputs.transform(x), copy=False))

    def _outputs(self, X: ArrayLike) -> Tensor:
        check_is_fitted(self)
        x = self._validated(X, reset=False)
        with threads(self.n_jobs):
            return self._engine.forward(self._prepared(x))[0]


def _weights(sample_weight: ArrayLike | None, x: Array) -> Array:
    """Of the examples, not negative and not all zero."""
    weights: Array = _check_sample_weight(sample_weight, x, dtype=x.dtype, ensure_non_negative=True)
    if not weights.any():
        raise InputError("sample_weight: got zeros only, allowed is at least one positive weight")
    return weights


class WideSparseRegressor(MultiOutputMixin, RegressorMixin, _WideSparse):  # type: ignore[misc]
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
        missing: ``"error"`` refuses missing values (NaN), ``"mean"`` replaces them by their feature's mean.
        n_jobs: threads; one by default, all of PyTorch's for -1.
        random_state: seed or generator of masks, weights, batches and validation.
        verbose: whether to show a bar.

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
        return x, np.asarray(checked[1], x.dtype), _weights(sample_weight, x)


class WideSparseClassifier(ClassifierMixin, _WideSparse):  # type: ignore[misc]
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
        weights = _weights(sample_weight, checked[0])
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
        weights = _weights(sample_weight, checked[0])
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
