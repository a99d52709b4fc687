"""The shallow network of the paper on asymmetrical node scaling, (2) and (3)."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from widthwise import activations
from widthwise.activations import ActivationLike
from widthwise.errors import InputError, check_integer, check_number
from widthwise.models.mlp import mlp
from widthwise.models.registry import builtin
from widthwise.scaling import check_scaling, zipf

__all__ = ["Shallow", "node_scaled"]


class Shallow(nn.Module):
    """f(x) = sum_j sqrt(lambda_j) a_j phi(w_j . x / sqrt(d)), the a_j fixed signs, the w_j alone trained.

    With k outputs, each has signs of its own over the same nodes.

    Args:
        in_features: d, the size of a flattened example.
        lam: the node scalings lambda_j, ``(m,)``.
        out_features: number of outputs k.
        activation: phi.
        init_variance: the w_j(0) are N(0, init_variance I): 1 in the paper's (8), 2 in its published experiments.

    Attributes:
        weight: the w_j, ``(m, d)``; the only parameter.
        sign: the a_j, ``(k, m)``.
        lam: the node scalings, ``(m,)``.

    Raises:
        InputError: for a size below 1, scalings that are none, a variance that is not positive.

    Example:
        >>> model = Shallow(3, zipf(100, alpha=0.5, gamma=0.2))
        >>> model(torch.randn(7, 3)).shape
        torch.Size([7, 1])
    """

    sign: Tensor
    lam: Tensor

    def __init__(
        self,
        in_features: int,
        lam: Tensor | Sequence[float],
        out_features: int = 1,
        activation: ActivationLike = "relu",
        init_variance: float = 1.0,
    ) -> None:
        super().__init__()
        lam = check_scaling("lam", lam)
        check_integer("in_features", in_features, 1)
        check_integer("out_features", out_features, 1)
        check_number("init_variance", init_variance, 0, low_open=True)
        self.activation = activations.get(activation).module()
        self.weight = nn.Parameter(torch.randn(len(lam), in_features) * math.sqrt(init_variance))
        self.register_buffer("sign", 2.0 * torch.randint(2, (out_features, len(lam))) - 1)
        self.register_buffer("lam", lam.to(self.weight.device, copy=True))

    @property
    def out_weight(self) -> Tensor:
        """sqrt(lambda_j) a_j, ``(k, m)``, in the dtype of the weights."""
        return (self.lam.sqrt() * self.sign).to(self.weight.dtype)

    def features(self, x: Tensor) -> Tensor:
        """The hidden outputs phi(Z_j(x)), ``(n, m)``, for examples ``(n, ...)``.

        Raises:
            InputError: if examples have another number of features than the weights.
        """
        x = x.flatten(1)
        if x.shape[1] != self.weight.shape[1]:
            raise InputError(f"x: got {x.shape[1]} features an example, allowed are {self.weight.shape[1]}")
        out: Tensor = self.activation(x @ self.weight.T / math.sqrt(self.weight.shape[1]))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Outputs ``(n, k)`` for examples ``(n, ...)``."""
        return self.features(x) @ self.out_weight.T

    def dense(self, nodes: Tensor | None = None) -> nn.Module:
        """The same function as a plain multilayer perceptron, the scalings folded into its weights.

        It is the built-in :func:`~widthwise.models.mlp` where the activation has a name, so that a file can rebuild it.

        Args:
            nodes: indices of the nodes it shall have; all if omitted. The others' outputs count as zero.
        """
        weight, out = self.weight.detach(), self.out_weight
        if nodes is not None:
            weight, out = weight[nodes], out[:, nodes]
        (m, d), k = weight.shape, len(out)
        if _has_name(self.activation):
            plain = mlp(d, k, width=m, activation=activations.get(self.activation).name, bias=False)
        else:
            layers = nn.Flatten(), nn.Linear(d, m, False), copy.deepcopy(self.activation), nn.Linear(m, k, False)
            names = ("flatten", "hidden1", "act1", "output")
            plain = nn.Sequential(OrderedDict(zip(names, layers, strict=True)))
        plain.to(weight.device, weight.dtype).train(self.training)
        plain.load_state_dict({"hidden1.weight": weight / math.sqrt(d), "output.weight": out})
        return plain

    def extra_repr(self) -> str:
        """Show the sizes."""
        m, d = self.weight.shape
        return f"in_features={d}, nodes={m}, out_features={len(self.sign)}"


def _has_name(activation: nn.Module) -> bool:
    chosen = activations.get(activation)
    try:
        return activations.get(chosen.name) == chosen
    except InputError:
        return False


@builtin
def node_scaled(
    in_features: int,
    out_features: int = 1,
    width: int = 2000,
    gamma: float = 0.5,
    alpha: float | None = 0.7,
    activation: str = "relu",
    init_variance: float = 1.0,
) -> Shallow:
    """The shallow network (2) with Zipf scalings (1), (4).

    Args:
        in_features: size of a flattened example.
        out_features: number of outputs.
        width: number of hidden nodes m.
        gamma: the symmetrical part, in [0, 1]: 1 is the kernel regime, below it the network learns features.
        alpha: decay of the asymmetrical part, in (0, 1), the smaller the steeper; ``None`` where gamma is 1.
        activation: name of the activation.
        init_variance: variance of an initial weight.

    Raises:
        InputError: for a number out of range or an unknown activation.

    Example:
        >>> node_scaled(3, width=5, gamma=1.0, alpha=None).lam
        tensor([0.2000, 0.2000, 0.2000, 0.2000, 0.2000], dtype=torch.float64)
    """
    check_integer("width", width, 1)
    return Shallow(in_features, zipf(width, alpha, gamma), out_features, activation, init_variance)
