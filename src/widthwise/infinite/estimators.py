"""scikit-learn estimators: the infinite ensemble of infinitely wide networks, fitted."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from widthwise._tables import class_codes
from widthwise.errors import InputError, check_type
from widthwise.infinite.ensemble import Ensemble
from widthwise.infinite.network import MLP, Network

__all__ = ["InfiniteWidthClassifier", "InfiniteWidthRegressor"]


class _InfiniteWidth(BaseEstimator):  # type: ignore[misc]
    """Parameters and kernels, which both estimators share."""

    def __init__(
        self,
        network: Network | None = None,
        *,
        depth: int = 2,
        activation: str = "relu",
        sigma_w: float = 2**0.5,
        sigma_b: float = 0.3,
        ridge: float = 1e-6,
        time: float = math.inf,
        learning_rate: float | None = None,
        initial_function: bool = True,
        input_shape: tuple[int, ...] | None = None,
    ) -> None:
        self.network = network
        self.depth = depth
        self.activation = activation
        self.sigma_w = sigma_w
        self.sigma_b = sigma_b
        self.ridge = ridge
        self.time = time
        self.learning_rate = learning_rate
        self.initial_function = initial_function
        self.input_shape = input_shape

    @property
    def largest_learning_rate_(self) -> float:
        """The step above which gradient descent on the half sum of squares diverges, 2 / lambda_max."""
        check_is_fitted(self)
        return self.ensemble_.largest_learning_rate

    def _fit(self, X: NDArray[Any], targets: NDArray[Any]) -> None:
        if self.network is None:
            self.network_: Network = MLP(self.depth, self.activation, self.sigma_w, self.sigma_b)
        else:
            self.network_ = check_type("network", self.network, Network)
        self.X_fit_ = self._inputs(X)
        kernels = self.network_.kernels(self.X_fit_)
        self.nngp_ = kernels.nngp
        self.ensemble_ = Ensemble(
            kernels.ntk,
            torch.from_numpy(np.array(targets, dtype=np.float64)),
            ridge=self.ridge,
            learning_rate=self.learning_rate,
        )
        self._mean(kernels.ntk[:1])  # a singular kernel is an error here, not later

    def _inputs(self, X: NDArray[Any]) -> Tensor:
        x = torch.from_numpy(np.array(X, dtype=np.float64))
        if self.input_shape is None:
            return x
        if math.prod(self.input_shape) != x.shape[1]:
            raise InputError(f"input_shape: got {self.input_shape}, allowed is a shape of {x.shape[1]} numbers")
        return x.reshape(len(x), *self.input_shape)

    def _checked(self, X: ArrayLike) -> Tensor:
        check_is_fitted(self)
        return self._inputs(validate_data(self, X, dtype=np.float64, reset=False))

    def _mean(self, across: Tensor) -> NDArray[Any]:
        found: NDArray[Any] = self.ensemble_.mean(across, self.time).numpy()
        return found

    def _variance(self, x: Tensor, ntk: Tensor, nngp: Tensor, *, full: bool) -> NDArray[Any]:
        """Variances ``(m,)``, or the covariance ``(m, m)`` if ``full``."""
        if not self.initial_function:
            return np.zeros((len(x),) * (1 + full))
        new = self.network_.nngp(x) if full else self.network_.diagonal(x).nngp
        found: NDArray[Any] = self.ensemble_.covariance(ntk, self.nngp_, nngp, new, self.time).numpy()
        return found


class InfiniteWidthRegressor(MultiOutputMixin, RegressorMixin, _InfiniteWidth):  # type: ignore[misc]
    """Regression by the mean of all infinitely wide networks of one architecture, trained by gradient flow.

    Args:
        network: the architecture; by default a perceptron of the next four.
        depth: hidden layers.
        activation: their activation.
        sigma_w: standard deviation of a weight times the root of its fan-in.
        sigma_b: standard deviation of a bias.
        ridge: weight of the squared distance of the parameters from where they began; the default is too small to
            matter, yet lets data hold equal rows. With 0, the exact theory, those are an error.
        time: of gradient flow on the half sum of squares, or the number of steps of gradient descent.
        learning_rate: of gradient descent; ``None`` for gradient flow.
        initial_function: whether a network's own initial function stays in its prediction, (16), which makes the
            ensemble vary; without it, as in a difference network, (21), the mean is the same and the variance 0.
        input_shape: ``(channels, *positions)`` of each row, for networks that convolve.

    Attributes:
        network_: the architecture.
        ensemble_: the :class:`~widthwise.infinite.Ensemble`.
        n_features_in_: number of features.

    Example:
        >>> X = np.linspace(-1, 1, 20)[:, None]
        >>> model = InfiniteWidthRegressor(activation="erf").fit(X, np.sin(3 * X[:, 0]))
        >>> mean, std = model.predict([[0.05], [3.0]], return_std=True)
        >>> bool(abs(mean[0] - np.sin(0.15)) < 0.01), bool(std[0] < 0.01 < std[1])
        (True, True)
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train on ``X`` ``(n, d)`` and ``y`` ``(n,)`` or ``(n, k)``.

        Raises:
            InputError: if a parameter is not allowed; if the kernel matrix is singular, as with equal rows, and there
                is no ridge.
            ValueError: if the data are not numbers, are not finite or do not match.
        """
        checked: Any = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        self._fit(*checked)
        return self

    def predict(
        self, X: ArrayLike, return_std: bool = False, return_cov: bool = False
    ) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
        """Predict ``(m,)`` or ``(m, k)`` targets of ``X`` ``(m, d)``.

        Args:
            X: new inputs.
            return_std: whether to return the standard deviation over networks too, ``(m,)``, the same for all targets.
            return_cov: whether to return the covariance ``(m, m)`` instead.

        Raises:
            InputError: if both are asked for.
        """
        if return_std and return_cov:
            raise InputError("return_cov: got True, allowed with return_std is False")
        x = self._checked(X)
        if not return_std and not return_cov:
            return self._mean(self.network_.ntk(x, self.X_fit_))
        nngp, ntk = self.network_.kernels(x, self.X_fit_)
        variance = self._variance(x, ntk, nngp, full=return_cov)
        return self._mean(ntk), variance if return_cov else np.sqrt(variance)


class InfiniteWidthClassifier(ClassifierMixin, _InfiniteWidth):  # type: ignore[misc]
    """Classification by the mean of all infinitely wide networks, trained on the half sum of squares.

    Targets are one for the class and zero for others, less their mean; two classes are -1 and 1. Arguments are those of
    :class:`InfiniteWidthRegressor`.

    Attributes:
        classes_: the labels.

    Example:
        >>> X, y = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 2.0], [2.0, 0.1]]), ["up", "right", "up", "right"]
        >>> InfiniteWidthClassifier().fit(X, y).predict([[0.1, 3.0], [1.0, 0.2]])
        array(['up', 'right'], dtype='<U5')
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train on ``X`` ``(n, d)`` and labels ``y`` ``(n,)``.

        Raises:
            InputError: if a parameter is not allowed, the kernel matrix singular, or there is one class only.
            ValueError: if the data are not numbers, are not finite or do not match.
        """
        checked: Any = validate_data(self, X, y, dtype=np.float64)
        self.classes_, _ = class_codes(checked[1])
        codes = LabelBinarizer().fit(self.classes_).transform(checked[1]).astype(np.float64)
        self._fit(checked[0], 2 * codes[:, 0] - 1 if codes.shape[1] == 1 else codes - 1 / codes.shape[1])
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[Any]:
        """Mean outputs, ``(m,)`` for two classes, ``(m, classes)`` for more."""
        x = self._checked(X)
        return self._mean(self.network_.ntk(x, self.X_fit_))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict labels ``(m,)`` for ``X`` ``(m, d)``."""
        scores = self.decision_function(X)
        chosen = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(1)
        found: NDArray[Any] = self.classes_[chosen]
        return found
