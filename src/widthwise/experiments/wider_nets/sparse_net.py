"""The network of Figure 8, its sparse first layer multiplied as what it is."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from widthwise.experiments.common import seeded

__all__ = ["SparseNet", "Task", "accuracy_after"]

_BATCH = 256


@dataclass(frozen=True)
class Task:
    """Standardised inputs ``(n, d)`` and labels, to train on and to test on."""

    x: Tensor
    labels: Tensor
    test: Tensor
    test_labels: Tensor


class SparseNet:
    """f(x) = V relu(U x) / sqrt(n d) with ``live`` entries of U, N(0, 1/p), and all of V, N(0, 1).

    Args:
        d: inputs.
        n: hidden units.
        outputs: outputs.
        live: weights of the first layer.
        seed: of masks and weights.
    """

    def __init__(self, d: int, n: int, outputs: int, live: int, seed: int) -> None:
        source = seeded(seed)
        place = torch.randperm(n * d, generator=source)[:live].sort()[0]
        values = torch.randn(live, generator=source) * (n * d / live) ** 0.5
        self.last = torch.randn(outputs, n, generator=source)
        self.inner, self.outer = d**-0.5, n**-0.5
        self._dense = live > 0.1 * n * d
        self._mask = torch.zeros(n, d).flatten().index_fill(0, place, 1.0).view(n, d)
        self.first = torch.zeros(n * d).index_put((place,), values).view(n, d)
        if not self._dense:
            with warnings.catch_warnings():  # that PyTorch calls its sparse tensors young
                warnings.simplefilter("ignore", UserWarning)
                self.first = self.first.to_sparse_csr()

    def hidden(self, x: Tensor) -> Tensor:
        """relu(U x / sqrt(d)) for ``(b, d)``, ``(b, n)``."""
        return (self.first @ x.mT.contiguous()).mT.mul(self.inner).relu_()

    def outputs(self, x: Tensor) -> Tensor:
        """``(b, outputs)``."""
        return self._read(self.hidden(x))

    def step(self, x: Tensor, labels: Tensor, rate: float) -> None:
        """One step of descent on the mean cross-entropy."""
        h = self.hidden(x)
        grad = self._read(h).softmax(1)
        grad[torch.arange(len(x)), labels] -= 1
        grad *= self.outer / len(x)
        back = ((grad @ self.last) * (h > 0) * self.inner).mT
        self.last -= rate * (grad.mT @ h)
        if self._dense:
            self.first -= rate * (back @ x) * self._mask
        else:
            moved = torch.sparse.sampled_addmm(self.first, back.contiguous(), x, beta=0.0)
            self.first.values().sub_(moved.values(), alpha=rate)

    def _read(self, h: Tensor) -> Tensor:
        out: Tensor = h @ self.last.mT * self.outer
        return out


def accuracy_after(task: Task, width: int, live: int, epochs: int, rate: float, seed: int) -> float:
    """The fraction of the test set classified correctly after training; 0 for a network that diverged."""
    net = SparseNet(task.x.shape[1], width, int(task.labels.max()) + 1, live, seed)
    source = seeded(seed)
    for _ in range(epochs):
        for batch in torch.split(torch.randperm(len(task.x), generator=source), _BATCH):
            net.step(task.x[batch], task.labels[batch], rate)
    out = net.outputs(task.test)
    return float((out.argmax(1) == task.test_labels).double().mean()) if bool(out.isfinite().all()) else 0.0
