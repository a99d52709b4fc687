r"""The infinite ensemble of infinitely wide networks: its mean and variance at any time of training, exactly.

Under gradient flow on (1/2)|y - u|^2 + (ridge / 2)|theta - theta_0|^2 the outputs of an infinitely wide network obey

    u_t(z) = u_0(z) + H_z W_t (y - u_0),    W_t = A^-1 (1 - exp(-A t)),    A = H + ridge

with H the tangent kernel of the training inputs and H_z that between z and them: (12)-(16) of *Linearized difference
networks*. Over initializations u_0 is Gaussian with mean 0 and covariance K, the NNGP kernel, so that with S = H_z W_t

    mean = S y,    covariance = K_zz - S K_z^T - K_z S^T + S K S^T

(Lee et al., 2019). Without the initial function, as in a difference network, only S y is left, and no variance: (21).
Gradient descent of step eta puts (1 - eta A)^t in the place of exp(-A t).
"""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

from widthwise.errors import InputError, InputTypeError, check_finite, check_integer, check_number, check_type

__all__ = ["Ensemble"]

ITERATIONS = 12
"""Of the power method, enough to tell a singular matrix from another."""
COMFORT = 1e-12
"""The ridge advised for a singular matrix, in units of its largest eigenvalue."""
SYMMETRIC = 1e-4
"""How far two halves of a matrix may be apart, in units of its largest entry: more than float32 rounds."""


class Ensemble:
    """Trained networks of infinite width, from the kernels of their training inputs.

    Args:
        ntk: H, ``(n, n)``, symmetric, float64 for accuracy.
        targets: y, ``(n,)`` or ``(n, k)``.
        ridge: weight of the squared distance of the parameters from where they began.
        learning_rate: of gradient descent on the half sum of squares; ``None`` for gradient flow, the limit of small
            ones.

    Raises:
        InputTypeError: if a kernel or the targets are not tensors of one floating-point dtype.
        InputError: if they do not match or are not finite; if the kernel is not symmetric; if ``learning_rate`` is not
            below :attr:`largest_learning_rate`, so that descent diverges.

    Example:
        >>> H = torch.eye(2, dtype=torch.float64)
        >>> ensemble = Ensemble(H, torch.tensor([1.0, -1.0], dtype=torch.float64))
        >>> ensemble.mean(H[:1]), ensemble.mean(H[:1], time=math.log(2))
        (tensor([1.], dtype=torch.float64), tensor([0.5000], dtype=torch.float64))
    """

    def __init__(self, ntk: Tensor, targets: Tensor, *, ridge: float = 0.0, learning_rate: float | None = None) -> None:
        _check_square("ntk", ntk)
        if not ntk.is_floating_point():
            raise InputTypeError(f"ntk: got dtype {ntk.dtype}, allowed are floating-point numbers")
        check_finite("targets", check_type("targets", targets, Tensor))
        if targets.ndim not in (1, 2) or len(targets) != len(ntk):
            raise InputError(f"targets: got shape {tuple(targets.shape)}, allowed is ({len(ntk)},) or ({len(ntk)}, k)")
        _check_dtype("targets", targets, ntk)
        self.ntk, self.targets = ntk, targets
        self.ridge = check_number("ridge", ridge, low=0.0)
        self.learning_rate = learning_rate
        if learning_rate is not None:
            check_number("learning_rate", learning_rate, low=0.0, low_open=True)
            if learning_rate >= self.largest_learning_rate:
                raise InputError(
                    f"learning_rate: got {learning_rate:g}, with which descent diverges; allowed is below "
                    f"2 / lambda_max = {self.largest_learning_rate:.6g}"
                )

    @property
    def eigenvalues(self) -> Tensor:
        """Of the tangent kernel, increasing, ``(n,)``."""
        return self._spectrum[0]

    @property
    def largest_learning_rate(self) -> float:
        """2 / lambda_max of H + ridge, below which gradient descent on the half sum of squares converges."""
        return 2 / float(self.eigenvalues[-1] + self.ridge)

    def mean(self, across: Tensor, time: float = math.inf) -> Tensor:
        """Mean prediction, ``(m,)`` or ``(m, k)``.

        Args:
            across: H_z, the tangent kernel between new inputs and the training ones, ``(m, n)``.
            time: of gradient flow, or number of steps of gradient descent; infinite for trained to the end.

        Raises:
            InputError: for a negative time; at infinite time also if H + ridge is singular: the message gives the
                smallest eigenvalue and the ridge it takes.
        """
        return self._check_across("across", across) @ self._solved(self.targets, time)

    def covariance(
        self, across: Tensor, prior: Tensor, prior_across: Tensor, prior_new: Tensor, time: float = math.inf
    ) -> Tensor:
        """Covariance of predictions over initializations, the same for every output.

        Args:
            across: H_z, ``(m, n)``.
            prior: K, the NNGP kernel of the training inputs, ``(n, n)``.
            prior_across: K_z, ``(m, n)``.
            prior_new: K_zz, ``(m, m)``, or its diagonal ``(m,)`` where variances are enough.
            time: as in :meth:`mean`.

        Returns:
            ``(m, m)``, or variances ``(m,)``.
        """
        _check_square("prior", prior)
        _check_dtype("prior", prior, self.ntk)
        self._check_across("prior_across", prior_across)
        share = self._solved(self._check_across("across", across).mT, time).mT
        if prior_new.ndim == 1:
            variance = prior_new - 2 * (share * prior_across).sum(1) + ((share @ prior) * share).sum(1)
            return variance.clamp(min=0)
        mixed = share @ prior_across.mT
        return prior_new - mixed - mixed.mT + share @ prior @ share.mT

    def from_initial(self, across: Tensor, start: Tensor, start_new: Tensor, time: float = math.inf) -> Tensor:
        """Prediction of the one network that began at given outputs, (16): ``start`` on the training inputs.

        Args:
            across: H_z, ``(m, n)``.
            start: u_0 of the training inputs, of the shape of the targets.
            start_new: u_0 of the new inputs.
            time: as in :meth:`mean`.
        """
        return start_new + self._check_across("across", across) @ self._solved(self.targets - start, time)

    def _solved(self, right: Tensor, time: float) -> Tensor:
        """W_t times something."""
        if time == math.inf:
            return torch.cholesky_solve(right.reshape(len(right), -1), self._cholesky).reshape(right.shape)
        values, vectors = self._spectrum
        filtered = self._filter(values + self.ridge, time)
        return vectors @ (filtered.reshape(-1, *[1] * (right.ndim - 1)) * (vectors.mT @ right))

    def _filter(self, values: Tensor, time: float) -> Tensor:
        """(1 - exp(-a t)) / a for eigenvalues a, its limit t at 0, or the same of steps of descent."""
        values = values.clamp(min=0)
        positive = torch.where(values > 0, values, 1.0)
        if self.learning_rate is None:
            time = check_number("time", time, low=0.0)
            return torch.where(values * time > 1e-300, -torch.expm1(-values * time) / positive, time)
        steps = check_integer("time", int(time) if float(time).is_integer() else time, low=0)
        left = 1 - self.learning_rate * values
        # (1 - (1 - eta a)^t) / a, the first factor through log1p where it would cancel
        gentle = -torch.expm1(steps * torch.log1p(-(self.learning_rate * values).clamp(max=0.5)))
        change = torch.where(left >= 0.5, gentle, 1 - left**steps)
        return torch.where(values > 0, change / positive, steps * self.learning_rate)

    @cached_property
    def _spectrum(self) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(self.ntk)
        return values, vectors

    @cached_property
    def _cholesky(self) -> Tensor:
        matrix = self.ntk + self.ridge * torch.eye(len(self.ntk), dtype=self.ntk.dtype, device=self.ntk.device)
        factor: Tensor
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if int(failed) or _condition(matrix, factor) * len(matrix) * torch.finfo(matrix.dtype).eps > 1:
            values = torch.linalg.eigvalsh(self.ntk)
            if self.ridge > _enough(values):
                raise InputError(
                    f"ridge: got {self.ridge:g}, beside which numbers like {values[-1]:.3g}, the largest eigenvalue of "
                    "the kernel matrix, are lost; allowed is a smaller one"
                )
            raise InputError(
                f"ridge: got {self.ridge:g}, but the kernel matrix is singular, its smallest eigenvalue "
                f"{values[0]:.3g} and its largest {values[-1]:.3g}; allowed is a ridge of about "
                f"{_enough(values):.1g} or more, or inputs that differ"
            )
        return factor

    def _check_across(self, name: str, across: Tensor) -> Tensor:
        check_type(name, across, Tensor)
        if across.ndim != 2 or across.shape[1] != len(self.ntk):
            raise InputError(f"{name}: got shape {tuple(across.shape)}, allowed is (m, {len(self.ntk)})")
        _check_dtype(name, across, self.ntk)
        return across


def _check_dtype(name: str, got: Tensor, ntk: Tensor) -> None:
    if got.dtype != ntk.dtype:
        raise InputTypeError(f"{name}: got dtype {got.dtype}, allowed is that of ntk, {ntk.dtype}")


def _check_square(name: str, matrix: Tensor) -> None:
    check_finite(name, check_type(name, matrix, Tensor))
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise InputError(f"{name}: got shape {tuple(matrix.shape)}, allowed is (n, n)")
    apart, largest = float((matrix - matrix.mT).detach().abs().max()), float(matrix.detach().abs().max())
    if apart > SYMMETRIC * largest:
        raise InputError(
            f"{name}: got a matrix that differs from its transpose by up to {apart:.3g}, its largest entry being "
            f"{largest:.3g}; allowed is a symmetric one, the kernel of one set of inputs with itself"
        )


def _condition(matrix: Tensor, factor: Tensor) -> float:
    """An estimate, from below, of the condition number of a matrix with a Cholesky factor."""
    generator = torch.Generator().manual_seed(0)
    high = torch.randn(len(matrix), 1, generator=generator, dtype=torch.float64).to(matrix)
    low = high.clone()
    for _ in range(ITERATIONS):
        high, low = matrix @ (high / high.norm()), torch.cholesky_solve(low / low.norm(), factor)
    found = float(high.norm() * low.norm())
    return found if math.isfinite(found) else math.inf


def _enough(values: Tensor) -> float:
    """A ridge with which a matrix of these eigenvalues is well enough conditioned."""
    share = max(COMFORT, 100 * len(values) * torch.finfo(values.dtype).eps)
    return max(-float(values[0]), 0.0) + share * float(values[-1])
