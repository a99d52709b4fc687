"""The kernel in blocks of examples, so that what is held beside the result stays within bounds."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from torch import Tensor

from widthwise.kernels.empirical.factors import mirrored
from widthwise.kernels.empirical.subject import Subject

__all__ = ["Method", "in_blocks", "rows_within"]


class Method(Protocol):
    """A way to the kernel: prepare blocks of examples, then bring any two together."""

    name: ClassVar[str]

    @property
    def subject(self) -> Subject:
        """The network."""
        ...

    @property
    def row_size(self) -> int:
        """Numbers held for a prepared example, about."""
        ...

    def prepare(self, x: Tensor) -> Any:
        """What the kernel of a block with any other is made from."""
        ...

    def kernel(self, first: Any, second: Any, full: bool) -> Tensor:
        """``(b1, b2, k, k)``, or summed over equal outputs ``(b1, b2)``."""
        ...


def rows_within(method: Method, memory: int, full: bool, itemsize: int) -> int:
    """How many examples a block may have: two blocks prepared, and two kernels of them, within ``memory`` bytes."""
    room = memory / itemsize
    a, b = 2.0 * (method.subject.outputs**2 if full else 1), 2.0 * method.row_size
    return max(1, int(((b * b + 4 * a * room) ** 0.5 - b) / (2 * a)))


def in_blocks(method: Method, x1: Tensor, x2: Tensor | None, full: bool, rows: int) -> Tensor:
    """The whole kernel, summed over equal outputs unless ``full``; exactly symmetric where ``x2`` is ``None``."""
    other = x1 if x2 is None else x2
    out: Tensor | None = None
    for i in range(0, len(x1), rows):
        first = method.prepare(x1[i : i + rows])
        for j in range(0 if x2 is not None else i, len(other), rows):
            second = first if x2 is None and i == j else method.prepare(other[j : j + rows])
            block = method.kernel(first, second, full)
            if second is first:
                block = _mirrored(block)
            if block.shape[:2] == (len(x1), len(other)):
                return block
            if out is None:
                out = block.new_empty(len(x1), len(other), *block.shape[2:])
            out[i : i + rows, j : j + rows] = block
            if x2 is None and i != j:
                out[j : j + rows, i : i + rows] = block.transpose(0, 1).mT if full else block.mT
    assert out is not None  # there is at least one example
    return out


def _mirrored(block: Tensor) -> Tensor:
    """Exactly symmetric, which products of matrices are not quite."""
    if block.dim() == 2:
        return mirrored(block)
    b, _, k, _ = block.shape
    square = mirrored(block.transpose(1, 2).reshape(b * k, b * k))
    return square.view(b, k, b, k).transpose(1, 2).contiguous()
