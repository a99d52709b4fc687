"""A scikit-learn regressor: the shallow network of unequal node scalings, trained by gradient flow."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from widthwise._tables import Targets, standard
from widthwise.errors import check_integer
from widthwise.flow.checks import DegenerateWarning
from widthwise.flow.training import train
from widthwise.models.node_scaled import Shallow
from widthwise.scaling import zipf

__all__ = ["NodeScaledRegressor"]

_DTYPES = (np.float64, np.float32)


class NodeScaledRegressor(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Regression by the shallow network (2) with Zipf scalings, its first layer trained by gradient flow.

    Features and targets are standardised, and a constant feature is appended, so that the network has biases.

    Args:
        width: number of hidden nodes.
        gamma: the symmetrical part of the scalings, in [0, 1]: 1 is kernel regression, below it features are learned.
        alpha: decay of the asymmetrical part, in (0, 1), the smaller the steeper.
        activation: name of the activation.
        steps: time of training, in units of 1/lambda_max of the tangent kernel at the start: as long as so many steps
            of gradient descent of that size. Fewer regularise more.
        rtol: error allowed a step of the solver, relative to the initial residual.
        random_state: seed or generator of the initial weights and signs.

    Attributes:
        model_: the network, on standardised inputs.
        loss_: half the sum of squares, in units of the standardised targets, at the end.
        n_features_in_: number of features.

    Example:
        >>> X = np.linspace(-1, 1, 30)[:, None]
        >>> model = NodeScaledRegressor(width=200, random_state=0).fit(X, np.abs(X[:, 0]))
        >>> bool(model.score(X, np.abs(X[:, 0])) > 0.95)
        True
    """

    def __init__(
        self,
        width: int = 1000,
        gamma: float = 0.5,
        alpha: float | None = 0.7,
        activation: str = "relu",
        steps: int = 1000,
        rtol: float = 0.01,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.width = width
        self.gamma = gamma
        self.alpha = alpha
        self.activation = activation
        self.steps = steps
        self.rtol = rtol
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train on ``X`` ``(n, d)`` and ``y`` ``(n,)`` or ``(n, k)``.

        Raises:
            InputError: if a parameter is not allowed, or values are too large to be standardised.
            ValueError: if the data are not numbers, are not finite or do not match.
        """
        check_integer("steps", self.steps, 1)
        checked: Any = validate_data(self, X, y, dtype=_DTYPES, multi_output=True, y_numeric=True)
        x, values = checked[0], np.asarray(checked[1], checked[0].dtype)
        self._inputs, self._targets = standard("X", x), Targets(values)
        inputs, targets = self._tensor(x), torch.from_numpy(self._targets.columns(values))
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore", DegenerateWarning)
            torch.manual_seed(seed)
            lam = zipf(check_integer("width", self.width, 1), self.alpha, self.gamma)
            model = Shallow(inputs.shape[1], lam, targets.shape[1], self.activation).to(inputs.dtype)
            run = train(model, inputs, targets, steps=self.steps, rtol=self.rtol)
        self.model_, self.loss_ = model, float(run["loss"][-1])
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict ``(n,)`` or ``(n, k)`` targets for ``X`` ``(n, d)``."""
        check_is_fitted(self)
        x: Any = validate_data(self, X, dtype=_DTYPES, reset=False)
        with torch.no_grad():
            outputs = self.model_(self._tensor(x).to(self.model_.weight.dtype)).numpy()
        return self._targets.back(outputs)

    def _tensor(self, x: NDArray[Any]) -> torch.Tensor:
        """Standardised features and a constant one."""
        scaled = self._inputs.transform(x)
        return torch.from_numpy(np.column_stack([scaled, np.ones(len(scaled), scaled.dtype)]))
