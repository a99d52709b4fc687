"""What the estimators of wide sparse networks share: parameters, checks and training."""

from __future__ import annotations

import warnings
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor, nn

from widthwise._tables import standard
from widthwise.errors import InputError, check_choice, check_flag, check_integer, check_number, check_threads
from widthwise.estimators.fitting import Engine, Examples, History, Settings, pass_over, run_epochs, threads
from widthwise.estimators.network import Budget, engine_of

__all__ = ["Array", "WideSparse", "example_weights"]

Array = NDArray[Any]
_DTYPES = (np.float32, np.float64)
_SAMPLE = 1000  # examples from which those are drawn by which a width is chosen


class WideSparse(BaseEstimator):  # type: ignore[misc]
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
        if self.n_jobs is not None and self.n_jobs != -1:
            check_threads("n_jobs", self.n_jobs)
        return Settings(
            check_integer("max_iter", self.max_iter, 1),
            check_integer("batch_size", self.batch_size, 1),
            check_number("learning_rate", self.learning_rate, 0, low_open=True),
            check_number("weight_decay", self.weight_decay, 0),
            check_integer("n_iter_no_change", self.n_iter_no_change, 1),
            check_number("tol", self.tol, 0),
            _shows(self.verbose),
            check_flag("early_stopping", self.early_stopping),
            check_number("validation_fraction", self.validation_fraction, 0, 1, low_open=True, high_open=True),
        )

    def _validated(self, X: ArrayLike, **options: Any) -> Any:
        finite = "allow-nan" if check_choice("missing", self.missing, ("error", "mean")) == "mean" else True
        try:
            given = {name: _plain(value) for name, value in options.items()}
            return validate_data(self, _plain(X), dtype=_DTYPES, ensure_all_finite=finite, **given)
        except ValueError as error:
            if "contains NaN" in str(error) and self.missing == "error":
                error.add_note(f"{type(self).__name__}(missing='mean') puts a feature's mean where a value is missing.")
            raise

    def _start(self, x: Array, weights: Array, outputs: int) -> None:
        """A network at initialization, for standardised examples."""
        self._inputs = standard("X", x, weights)
        self._warn_of_empty()
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

    def _warn_of_empty(self) -> None:
        """Say which features have no value to take the mean of."""
        empty = np.flatnonzero(np.isnan(self._inputs.mean_))
        if len(empty):
            names = getattr(self, "feature_names_in_", np.arange(self.n_features_in_))[empty].tolist()
            warnings.warn(
                f"X: features {names} have no value in the training examples, so missing='mean' has no mean for them; "
                "they count as constant, whatever comes to predict: leave them out",
                stacklevel=5,
            )

    def _fit(self, x: Array, y: Array, weights: Array, outputs: int, labels: Array | None) -> Self:
        """Train from the start; ``labels`` say how to divide for validation."""
        settings = self._settings()
        kept, held = self._divided(len(x), labels, settings)
        self._start(x[kept], weights[kept], outputs)
        with threads(self.n_jobs):
            train = self._examples(x[kept], y[kept], weights[kept])
            test = self._examples(x[held], y[held], weights[held]) if len(held) else None
            run_epochs(self._engine, train, test, settings, self._history, self._source)
        self.n_iter_ = len(self.loss_curve_)
        self.validation_curve_ = self._history.validation
        return self

    def _divided(self, n: int, labels: Array | None, settings: Settings) -> tuple[Array, Array]:
        """Which examples to train on, and which to stop by."""
        rows = np.arange(n)
        if not settings.early_stopping:
            return rows, rows[:0]
        if n < 2:
            raise InputError("X: got 1 sample, allowed with early stopping are at least 2")
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        count = max(1, round(settings.validation_fraction * n))
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


def _shows(verbose: Any) -> bool:
    """Whether to show a bar: a flag or, as elsewhere in scikit-learn, a number."""
    is_number = isinstance(verbose, Integral) and not isinstance(verbose, bool)
    return bool(check_integer("verbose", verbose, 0)) if is_number else check_flag("verbose", verbose)


def _plain(given: Any) -> Any:
    """A tensor as an array of its values, whether it requires a gradient or not; all else as it is."""
    return given.numpy(force=True) if isinstance(given, Tensor) else given


def example_weights(sample_weight: ArrayLike | None, x: Array) -> Array:
    """Of the examples, not negative and not all zero."""
    weights: Array = _check_sample_weight(_plain(sample_weight), x, dtype=x.dtype, ensure_non_negative=True)
    if not weights.any():
        raise InputError("sample_weight: got zeros only, allowed is at least one positive weight")
    return weights
