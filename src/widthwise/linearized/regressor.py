"""A scikit-learn regressor: the linearized difference network of finite width, trained in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn
from torch.func import vjp

from widthwise._tables import Targets, standard
from widthwise.errors import check_integer, check_number
from widthwise.kernels.empirical import empirical_ntk
from widthwise.linearized._frozen import flat_name
from widthwise.linearized.network import Linearized
from widthwise.models import mlp

__all__ = ["LinearizedDifferenceRegressor"]

_ROWS = 256  # examples worked on at a time


class LinearizedDifferenceRegressor(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Regression by J dtheta, the network's own output at the start left out, trained on squares by gradient flow.

    Gradient flow on a linear model has a closed form: with the empirical kernel H = J J^T, dtheta at time t is
    ``J^T H^-1 (1 - exp(-H t)) y``. Features and targets are standardised.

    Args:
        width: hidden units of the network; not used with ``build``.
        activation: name of its activation.
        build: makes another network, any module, from the numbers of features and outputs.
        time: of training, in units of 1/lambda_max of H; ``None`` for the end. Less regularises more.
        ridge: added to H's diagonal, in units of its mean; another way to regularise.
        random_state: seed or generator of the initial weights.

    Attributes:
        network_: the trained :class:`~widthwise.linearized.Linearized`, on standardised inputs.
        smallest_eigenvalue_, largest_eigenvalue_: of H.
        n_features_in_: number of features.

    Example:
        >>> X = np.linspace(-1, 1, 30)[:, None]
        >>> model = LinearizedDifferenceRegressor(width=200, random_state=0).fit(X, np.abs(X[:, 0]))
        >>> bool(model.score(X, np.abs(X[:, 0])) > 0.95)
        True
    """

    def __init__(
        self,
        width: int = 500,
        activation: str = "relu",
        build: Callable[[int, int], nn.Module] | None = None,
        time: float | None = None,
        ridge: float = 1e-6,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.width = width
        self.activation = activation
        self.build = build
        self.time = time
        self.ridge = ridge
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train on ``X`` ``(n, d)`` and ``y`` ``(n,)`` or ``(n, k)``.

        Raises:
            InputError: if a parameter is not allowed.
            ValueError: if the data are not numbers, are not finite or do not match.
        """
        time = None if self.time is None else check_number("time", self.time, 0, low_open=True)
        ridge = check_number("ridge", self.ridge, 0)
        checked: Any = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        x, values = checked[0], np.asarray(checked[1], np.float64)
        self._inputs, self._targets = standard("X", x), Targets(values)
        inputs = torch.from_numpy(self._inputs.transform(x))
        targets = torch.from_numpy(self._targets.columns(values))
        model = self._network(inputs.shape[1], targets.shape[1])
        kernel = empirical_ntk(model, inputs, outputs="full").transpose(1, 2).reshape(targets.numel(), -1)
        spectrum, vectors = torch.linalg.eigh(kernel)
        weights = vectors @ (_filter(spectrum, time, ridge) * (vectors.mT @ targets.flatten()))
        self.network_ = _displaced(model, inputs, weights.view_as(targets))
        self.smallest_eigenvalue_, self.largest_eigenvalue_ = float(spectrum[0]), float(spectrum[-1])
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict ``(n,)`` or ``(n, k)`` targets for ``X`` ``(n, d)``."""
        check_is_fitted(self)
        x: Any = validate_data(self, X, dtype=np.float64, reset=False)
        inputs = torch.from_numpy(self._inputs.transform(x))
        with torch.no_grad():
            parts = [self.network_(part).reshape(len(part), -1) for part in torch.split(inputs, _ROWS)]
        return self._targets.back(torch.cat(parts).numpy())

    def _network(self, features: int, outputs: int) -> nn.Module:
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self.build(features, outputs) if self.build is not None else self._default(features, outputs)
        return model.double().eval()

    def _default(self, features: int, outputs: int) -> nn.Module:
        width = check_integer("width", self.width, 1)
        model = mlp(features, outputs, width=width, activation=self.activation)
        for name, parameter in model.named_parameters():  # both layers matter alike at any width
            last = name.startswith("output")
            nn.init.normal_(parameter, std=math.sqrt(2 / width) if last else 1 / math.sqrt(features))
        return model


def _filter(spectrum: Tensor, time: float | None, ridge: float) -> Tensor:
    """What becomes of 1 / lambda at a finite time and with a ridge; 0 where lambda is rounding."""
    top = spectrum[-1].clamp_min(torch.finfo(spectrum.dtype).tiny)
    shifted = spectrum + ridge * spectrum.mean()
    real = shifted > len(spectrum) * torch.finfo(spectrum.dtype).eps * top
    inverse = torch.where(real, 1 / shifted.where(real, 1), 0)
    return inverse if time is None else inverse * -torch.expm1(-shifted * time / top)


def _displaced(model: nn.Module, x: Tensor, weights: Tensor) -> Linearized:
    """The network with dtheta = J^T weights."""
    network = Linearized(model, difference=True)
    origin = network.base.origin()
    for part, weight in zip(torch.split(x, _ROWS), torch.split(weights, _ROWS), strict=True):
        for name, gradient in _pulled(network, origin, part, weight):
            with torch.no_grad():
                network.displacement[flat_name(name)] += gradient
    return network


def _pulled(network: Linearized, origin: dict[str, Tensor], x: Tensor, v: Tensor) -> Iterator[tuple[str, Tensor]]:
    out, pull = vjp(lambda params: network.base.at(params, x), origin)[:2]
    yield from pull(v.view_as(out))[0].items()
