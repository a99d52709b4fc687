"""Compress a two-layer network: the best M neurons in place of N, knowing only its weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from widthwise import duals
from widthwise.activations import Activation, get
from widthwise.activations.registry import ActivationLike
from widthwise.compression._check import check_examples, check_network, check_tensor, is_homogeneous, unit_rows
from widthwise.compression.directions import METHODS, Choice, choose, degenerate, whitened
from widthwise.compression.etf import etf_objective
from widthwise.compression.inputs import Whitening
from widthwise.compression.neurons import GaussianNeurons
from widthwise.compression.target import Target
from widthwise.errors import InputError, InputTypeError, check_choice, check_integer

__all__ = ["Compressed", "compress"]

_DEGENERATE = "the limit is degenerate, since E[f_W] = 0 (mu_a = 0 or g(0) = 0): the limit loss does not depend on V"


@dataclass(frozen=True)
class Compressed:
    """A compressed network f_V(x) = (1/M) sum_m b_m phi(v_m.x + bias_m), and how good it is.

    All losses are expectations over Gaussian inputs, summed over outputs.

    Attributes:
        V: weights, shape (M, d); unit rows unless biases or a covariance were given.
        b: coefficients, shape (M,) or (M, k) as the target's.
        bias: shape (M,), or ``None`` where the target had neither bias nor a mean or covariance of the input.
        activation: phi.
        loss: E|f_W - f_V|^2 (6).
        start_loss: the loss before the directions were optimised, b being as good as it can be.
        limit_loss: the loss as N and d tend to infinity, at the same V and b (11).
        gap: abs(loss - limit_loss), computed as (2/M) abs(b'(s - mu_a g(0) 1)).
        power: E|f_W|^2, the loss of the empty network.
        limit_optimum: the limit loss of any simplex ETF (30, 32), known before anything is optimised; ``None`` where
            no simplex of M vectors exists, or rows are not unit vectors.
        note: what else to know, or empty: a degenerate limit, inputs that vary in few directions.
    """

    V: Tensor
    b: Tensor
    bias: Tensor | None
    activation: Activation
    loss: float
    start_loss: float
    limit_loss: float
    gap: float
    power: float
    limit_optimum: float | None
    note: str

    @property
    def relative_loss(self) -> float:
        """The part of the target's power that is lost, 0 for none."""
        return self.loss / self.power

    def __call__(self, x: Tensor) -> Tensor:
        """Return f_V(x), shape (n,) or (n, k), for inputs (n, d) in the dtype of V.

        Raises:
            InputTypeError: if ``x`` is no tensor, or one of another dtype.
            InputError: if it has another shape.
        """
        check_examples("x", x, self.V)
        hidden = x @ self.V.T if self.bias is None else x @ self.V.T + self.bias
        return self.activation(hidden) @ self.b / len(self.V)


def compress(
    W: Tensor,
    a: Tensor,
    M: int,
    activation: ActivationLike | None = None,
    bias: Tensor | None = None,
    *,
    mean: Tensor | None = None,
    covariance: Tensor | None = None,
    method: str = "optimal",
    restarts: int = 4,
    iterations: int = 100,
    seed: int = 0,
) -> Compressed:
    """Compress f_W(x) = (1/N) sum_n a_n phi(w_n.x + bias_n) to M neurons, for Gaussian inputs x.

    Without ``bias``, ``mean`` and ``covariance`` the inputs are standard normal and rows are unit vectors, as in the
    paper; a homogeneous activation (ReLU, leaky ReLU) takes the lengths of other rows into ``a``. With any of them
    rows have any length, and the result has biases.

    Args:
        W: weights, shape (N, d).
        a: coefficients, shape (N,), or (N, k) for k outputs.
        M: number of neurons wanted, at most N.
        activation: a name, an activation, a module or a function; to be given, since weights do not tell it.
        bias: shape (N,).
        mean: of the inputs, shape (d,).
        covariance: of the inputs, shape (d, d); directions in which they do not vary are ignored.
        method: one of :data:`~widthwise.compression.METHODS`. ``"optimal"`` descends with L-BFGS from the best-turned
            simplex ETF, the greedy selection and random subsets at once, and keeps the best.
        restarts: number of random starts.
        iterations: at most so many steps of the descent.
        seed: of everything random.

    Returns:
        The network and its losses, tensors in the dtype of ``W``; computed in float64.

    Raises:
        InputTypeError: if a tensor is none, or not floating, or there is no activation.
        InputError: for a wrong shape, NaN, M > N, rows that are not unit vectors where they must be, a covariance that
            is not positive semi-definite, an activation with jumps where rows have any length, a network whose power
            is 0 or infinite; for ``method="etf"`` also M > d + 1, rows of any length and E[f_W] = 0.

    Example:
        >>> W = torch.nn.functional.normalize(torch.randn(40, 5, dtype=torch.float64), dim=1)
        >>> small = compress(W, torch.ones(40, dtype=torch.float64), 6, "relu")
        >>> small.V.shape, small.loss < small.start_loss < small.power
        (torch.Size([6, 5]), True)
    """
    if activation is None:
        raise InputTypeError(
            "activation: none was given and weights do not tell it; allowed is what stands between the two layers, a "
            "name such as 'relu', a module or a function"
        )
    known = get(activation)
    check_choice("method", method, METHODS)
    target, whitening = _problem(W, a, known, bias, mean, covariance)
    if check_integer("M", M, 1) > len(W):
        raise InputError(f"M: got {M}, allowed is at most the number of neurons, N = {len(W)}")
    check_integer("restarts", restarts)
    check_integer("iterations", iterations)
    generator = torch.Generator().manual_seed(check_integer("seed", seed))
    chosen = choose(target, M, method, restarts=restarts, iterations=iterations, generator=generator)
    return _result(target.precise, chosen, whitening, like=W, flat=a.dim() == 1)


def _problem(
    W: Tensor,
    a: Tensor,
    activation: Activation,
    bias: Tensor | None,
    mean: Tensor | None,
    covariance: Tensor | None,
) -> tuple[Target, Whitening | None]:
    """Check everything and bring it to standard normal inputs."""
    if bias is None and mean is None and covariance is None:
        return _nonzero(Target.unit(W, a, activation)), None
    rows, coefficients = check_network(W, a)
    N, d = rows.shape
    if activation.jumps:
        raise InputError(
            f"activation: got {activation.name}, which jumps, allowed with biases or a covariance is a continuous one"
        )
    shift = rows.new_zeros(N) if bias is None else check_tensor("bias", bias, N)
    centre = rows.new_zeros(d) if mean is None else check_tensor("mean", mean, d)
    spread = torch.eye(d).to(rows) if covariance is None else check_tensor("covariance", covariance, d, d)
    whitening = Whitening.of(centre, spread)
    rows = whitening.rows(rows, shift)
    if is_homogeneous(activation):
        rows, coefficients = unit_rows(rows, coefficients, activation)
    return _nonzero(Target(rows, coefficients, GaussianNeurons(activation))), whitening


def _nonzero(target: Target) -> Target:
    if not 0 < target.power < math.inf:
        raise InputError(f"a: got a network with E|f|^2 = {target.power:g}, allowed is a positive finite power")
    return target


def _result(target: Target, chosen: Choice, whitening: Whitening | None, *, like: Tensor, flat: bool) -> Compressed:
    rows, b = chosen.V, chosen.b
    V, bias = (rows, None) if whitening is None else whitening.weights(rows)
    return Compressed(
        V=V.to(like.dtype),
        b=(b.squeeze(1) if flat else b).to(like.dtype),
        bias=None if bias is None else bias.to(like.dtype),
        activation=target.neurons.activation,
        loss=max(0.0, float(target.loss(rows, b))),
        start_loss=max(0.0, chosen.start_loss),
        limit_loss=float(target.limit_loss(rows, b)),
        gap=float(target.gap(rows, b)),
        power=target.power,
        limit_optimum=_limit_optimum(target, len(rows)),
        note=_note(target, whitening),
    )


def _limit_optimum(target: Target, M: int) -> float | None:
    if whitened(target) or target.W.shape[1] + 1 < M:
        return None
    if degenerate(target):
        return target.power
    activation = target.neurons.activation
    first = float(target.mean.square().sum()) * float(duals.g(activation, 0.0))  # (mu_a g(0))^2
    return target.power - first * etf_objective(M, activation)


def _note(target: Target, whitening: Whitening | None) -> str:
    if whitening is None:
        return _DEGENERATE if degenerate(target) else ""
    d, rank = whitening.root.shape
    return "" if rank == d else f"the inputs vary in {rank} of {d} directions; weights along the others are 0"
