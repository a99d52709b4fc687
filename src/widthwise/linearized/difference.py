"""Difference networks: a network less what it was, and the same with its targets scaled down."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from widthwise.errors import check_number, told
from widthwise.linearized._frozen import Frozen, flat_name

__all__ = ["Difference", "RoundingWarning"]

_NOISE = 0.01  # part of the output that rounding may be


class RoundingWarning(UserWarning):
    """A difference of outputs is mostly rounding."""


class Difference(nn.Module):
    """(u_{theta0 + eps dtheta} - u_theta0) / eps: for eps = 1 the difference network, (27).

    As eps goes to zero this is the linearized difference network: it trains as the difference network does on targets
    times eps, its output divided by eps again. But the difference is a small one of large numbers. When eps is below
    what the precision can resolve, training fails as in the paper's Figure 3, and a :class:`RoundingWarning` says so;
    :func:`~widthwise.linearized.linearize` has no such limit.

    Args:
        model: any module with a parameter that requires gradients. It is copied and left as it is. The copy is in
            evaluation mode, always. Weights that the mask in force on it removes do not train.
        eps: the scale of the targets, above 0.

    Attributes:
        displacement: dtheta by parameter, slashes in the place of the dots of a name. It starts at zero and trains.

    Raises:
        InputTypeError: if an argument has the wrong type.
        InputError: if none of the parameters requires gradients, or ``eps`` is not positive.

    Warns:
        RoundingWarning: once, if more than 1 % of an output is rounding.

    Example:
        >>> net = Difference(nn.Linear(2, 1))
        >>> net(torch.ones(1, 2)).item()
        0.0
    """

    def __init__(self, model: nn.Module, eps: float = 1.0) -> None:
        super().__init__()
        self.eps = check_number("eps", eps, 0, low_open=True)
        self.base = Frozen(model)
        start = {flat_name(name): nn.Parameter(torch.zeros_like(p)) for name, p in self.base.origin().items()}
        self.displacement = nn.ParameterDict(start)
        self._warned = False

    def forward(self, x: Tensor) -> Tensor:
        """The output for a batch, of the shape of the module's.

        Raises:
            InputError: if the module fails on the batch.
        """
        step = self.base.displaced(self.displacement)
        moved = {name: p + self.eps * step[name] for name, p in self.base.origin().items()}
        with told(lambda: self.base.failure(x)):
            before = self.base(x)
            out: Tensor = (self.base.at(moved, x) - before) / self.eps
        if not self._warned:
            self._watch(out.detach(), before)
        return out

    def _watch(self, out: Tensor, before: Tensor) -> None:
        size, scale = float(out.abs().amax()), float(before.abs().amax())
        noise = torch.finfo(out.dtype).eps * scale / self.eps
        lost = size == 0 and any(bool(p.any()) for p in self.displacement.values())
        if lost or (size > 0 and noise > _NOISE * size):
            self._warned = True
            warnings.warn(
                f"eps: with {self.eps:g}, rounding is {noise:.1g} of an output of {size:.1g} in {out.dtype}; allowed "
                "is a larger eps, float64, or linearize(model, difference=True), which has no eps",
                RoundingWarning,
                stacklevel=3,
            )

    def extra_repr(self) -> str:
        """Show the scale."""
        return f"eps={self.eps:g}"
