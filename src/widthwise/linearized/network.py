"""The first-order expansion of a network in its parameters, by forward-mode differentiation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import jvp, vjp

from widthwise._forward_mode import forward_mode
from widthwise.errors import check_type, told
from widthwise.linearized._frozen import Frozen, flat_name

__all__ = ["Linearized", "linearize"]

Params = dict[str, Tensor]


class Linearized(nn.Module):
    """u0 + J dtheta, or J dtheta alone: (43), (44) of the paper on linearized difference networks.

    The displacement dtheta is what trains, with any loss and optimizer; it starts at zero. J dtheta is the derivative
    of ``u(theta0 + delta dtheta)`` at delta = 0, (49): one forward-mode pass, about the time of two passes, and no
    Jacobian. An operation without a forward rule is differentiated twice in reverse instead.

    Args:
        model: any module with a parameter that requires gradients. It is copied and left as it is. The copy is in
            evaluation mode, always. Weights that the mask in force on it removes do not train.
        difference: leave out u0, so that the network starts at zero and its training does not depend on it.

    Attributes:
        displacement: dtheta by parameter, slashes in the place of the dots of a name.

    Raises:
        InputTypeError: if ``model`` is no module, or its output no tensor.
        InputError: if none of its parameters requires gradients.

    Example:
        The features of a linear model are its inputs:

        >>> net = Linearized(nn.Linear(2, 1, bias=False), difference=True)
        >>> x = torch.tensor([[3.0, 4.0]])
        >>> net(x).item(), torch.autograd.grad(net(x).sum(), list(net.displacement.values()))
        (0.0, (tensor([[3., 4.]]),))
    """

    def __init__(self, model: nn.Module, difference: bool = False) -> None:
        super().__init__()
        self.difference = check_type("difference", difference, bool)
        self.base = Frozen(model)
        start = {flat_name(name): nn.Parameter(torch.zeros_like(p)) for name, p in self.base.origin().items()}
        self.displacement = nn.ParameterDict(start)
        self._forward_mode = True  # until an operation turns out to have no rule for it

    def forward(self, x: Tensor) -> Tensor:
        """The output for a batch, of the shape of the module's.

        Raises:
            InputError: if the module fails on the batch.
        """
        with told(lambda: self.base.failure(x)):
            value, moved = self._pushed(lambda params: self.base.at(params, x))
        return moved if self.difference else value + moved

    def _pushed(self, function: Callable[[Params], Tensor]) -> tuple[Tensor, Tensor]:
        origin = self.base.origin()
        tangent = self.base.displaced(self.displacement)
        with forward_mode():
            if self._forward_mode:
                try:
                    value, moved = jvp(function, (origin,), (tangent,))[:2]
                    return value, moved
                except RuntimeError:  # no rule, or an input that the model does not take: then the other way fails too
                    pass
            found = _twice_in_reverse(function, origin, tangent)
            self._forward_mode = False
            return found

    def extra_repr(self) -> str:
        """Show which of the two it is."""
        return f"difference={self.difference}"


def linearize(model: nn.Module, difference: bool = False) -> Linearized:
    """The first-order expansion of ``model`` around its parameters; see :class:`Linearized`.

    Example:
        >>> net = linearize(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)), difference=True)
        >>> sum(p.numel() for p in net.parameters() if p.requires_grad), net(torch.ones(2, 3)).shape
        (41, torch.Size([2, 1]))
    """
    return Linearized(model, difference)


def _twice_in_reverse(function: Callable[[Params], Tensor], at: Params, tangent: Params) -> tuple[Tensor, Tensor]:
    """The transpose of v -> J^T v is u -> J u."""
    value, pull = vjp(function, at)[:2]
    push = vjp(lambda v: pull(v)[0], torch.zeros_like(value))[1]
    return value, push(tangent)[0]
