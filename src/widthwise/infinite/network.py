r"""Networks as compositions of layers, and their kernels of data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from widthwise.activations import ActivationLike
from widthwise.errors import check_choice, check_depth
from widthwise.infinite.chain import Chain
from widthwise.infinite.gram import diagonal, gram
from widthwise.infinite.layers import Dense, Layer, as_layer
from widthwise.infinite.stream import blocks, save

__all__ = ["MLP", "Kernels", "Network", "serial"]


class Kernels(NamedTuple):
    """Both kernels of the same pairs of inputs.

    Attributes:
        nngp: covariances of the outputs of random networks.
        ntk: tangent kernels.
    """

    nngp: Tensor
    ntk: Tensor


class Network(Chain):
    """Layers one after another, of infinite width.

    Args:
        layers: :class:`Dense`, :class:`Conv`, ... and activations, as names, modules, functions or
            :class:`~widthwise.activations.Activation`.

    Raises:
        InputError: for no layers, or an unknown activation.

    Example:
        >>> import torch
        >>> net = Network(Dense(sigma_w=2**0.5), "relu", Dense())
        >>> net.nngp(torch.eye(2, dtype=torch.float64) * 2**0.5)
        tensor([[1.0000, 0.3183],
                [0.3183, 1.0000]], dtype=torch.float64)
    """

    def kernels(self, x1: Tensor, x2: Tensor | None = None) -> Kernels:
        """Both kernels at once, which costs little more than one.

        Args:
            x1: inputs ``(n1, d)``, or ``(n1, channels, *positions)`` where the first layer is a Conv or Flatten;
                float32 or float64.
            x2: further inputs ``(n2, ...)``; by default ``x1``, and the result is exactly symmetric.

        Returns:
            Two tensors ``(n1, n2)`` of the dtype of the inputs, differentiable in them.

        Raises:
            InputTypeError: if the inputs are not floating-point tensors.
            InputError: if they are empty, not finite, or do not match one another or the network; if an activation has
                no second moment; if the result does not fit into memory (the message says what to use instead).
        """
        nngp, ntk = gram(self, x1, x2, nngp=True, ntk=True)
        return Kernels(nngp, ntk)

    def nngp(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        """Covariances of the outputs of random networks; see :meth:`kernels`."""
        return gram(self, x1, x2, nngp=True, ntk=False)[0]

    def ntk(self, x1: Tensor, x2: Tensor | None = None) -> Tensor:
        """Tangent kernels; see :meth:`kernels`."""
        return gram(self, x1, x2, nngp=False, ntk=True)[0]

    def diagonal(self, x: Tensor) -> Kernels:
        """Both kernels of each input with itself, ``(n,)``, without the rest of the matrix."""
        nngp, ntk = diagonal(self, x)
        return Kernels(nngp, ntk)

    def blocks(
        self, x1: Tensor, x2: Tensor | None = None, *, kernel: str = "ntk", rows: int | None = None
    ) -> Iterator[tuple[slice, Tensor]]:
        """Some rows of a Gram matrix at a time, for matrices larger than memory.

        Args:
            x1: inputs.
            x2: further inputs; by default ``x1``.
            kernel: ``"ntk"`` or ``"nngp"``.
            rows: how many at a time; by default 64 MiB of them.

        Yields:
            Which rows, and the rows ``(rows, n2)``.

        Raises:
            InputError: as :meth:`kernels`, except that the result may be of any size.

        Example:
            >>> import torch
            >>> x = torch.eye(3)
            >>> [(rows.start, tuple(block.shape)) for rows, block in MLP(1).blocks(x, rows=2)]
            [(0, (2, 3)), (2, (1, 3))]
        """
        return blocks(self, x1, x2, kernel, rows)

    def save(
        self,
        path: str | Path,
        x1: Tensor,
        x2: Tensor | None = None,
        *,
        kernel: str = "ntk",
        watch: Callable[[float, float, str], None] | None = None,
        jobs: int | None = None,
        ray: str | None = None,
    ) -> Path:
        """Write a Gram matrix to an .npy file without holding it in memory.

        Without ``x2`` only one half is computed, and written twice. The file appears when it is complete. Read it with
        ``numpy.load(path, mmap_mode="r")``.

        Args:
            path: a name that ends in .npy.
            x1: inputs.
            x2: further inputs; by default ``x1``.
            kernel: ``"ntk"`` or ``"nngp"``.
            watch: called now and then with what is done, of how much, and where it stands.
            jobs: processes that work out tiles, each with as many threads as PyTorch has here; this one if omitted.
            ray: address of a Ray cluster to do so, or ``"local"``; its nodes must see the file's folder.

        Raises:
            InputError: as :meth:`blocks`, or if the name ends otherwise.
            OSError: if the file cannot be written, the cluster cannot be reached, or a worker fails.
        """
        return save(self, path, x1, x2, kernel, watch, jobs, ray)


def serial(*layers: Layer | ActivationLike) -> Network:
    """Return the network of these layers; the same as :class:`Network`."""
    return Network(*layers)


class MLP(Network):
    """Hidden layers of the same kind and a linear readout.

    Args:
        depth: number of hidden layers, at least 1.
        activation: between them.
        sigma_w: standard deviation of a weight times the root of its fan-in.
        sigma_b: standard deviation of a bias; ``None`` for no biases.
        train: which layers the tangent kernel counts: ``"all"``, ``"first"`` or ``"last"``.
        parameterisation: ``"ntk"`` or ``"standard"``; the latter needs ``width``.
        width: of the hidden layers.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
        >>> MLP(1, "relu", sigma_w=2**0.5).ntk(x)
        tensor([[4.0000, 0.6366],
                [0.6366, 4.0000]])
    """

    def __init__(
        self,
        depth: int,
        activation: ActivationLike = "relu",
        sigma_w: float = 1.0,
        sigma_b: float | None = None,
        *,
        train: str = "all",
        parameterisation: str = "ntk",
        width: int | None = None,
    ) -> None:
        depth = check_depth(depth)
        check_choice("train", train, ("all", "first", "last"))
        dense = []
        for index in range(depth + 1):
            counted = train == "all" or index == (0 if train == "first" else depth)
            size = width if index < depth else None
            dense.append(
                Dense(size, sigma_w=sigma_w, sigma_b=sigma_b, parameterisation=parameterisation, train=counted)
            )
        phi = as_layer(activation)
        super().__init__(*(layer for hidden in dense[:-1] for layer in (hidden, phi)), dense[-1])
