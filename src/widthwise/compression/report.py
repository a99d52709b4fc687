"""What compressing a model did: plain numbers, and a table of them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BlockReport", "CompressionReport"]


@dataclass(frozen=True)
class BlockReport:
    """One Linear-activation-Linear block before and after.

    Attributes:
        first: name of the first layer.
        second: name of the second.
        activation: between them.
        N: hidden units before.
        M: hidden units after.
        weights_before: entries of both weight matrices.
        weights_after: the same, after.
        predicted: part of the power lost for Gaussian inputs of the measured mean and covariance (loss / power).
        error: part of the output's variance not reproduced, on inputs held out from the refit but for the choice of
            its strength.
        raw_error: the same before b was refitted on data.
        seconds_before: median time of one pass of the measured inputs through the block.
        seconds_after: the same, after.
        curve: (M, error) for every size tried, by size.
    """

    first: str
    second: str
    activation: str
    N: int
    M: int
    weights_before: int
    weights_after: int
    predicted: float
    error: float
    raw_error: float
    seconds_before: float
    seconds_after: float
    curve: tuple[tuple[int, float], ...]

    @property
    def speedup(self) -> float:
        """How many times faster the block has become."""
        return self.seconds_before / self.seconds_after


@dataclass(frozen=True)
class CompressionReport:
    """Every block of a model; printing it gives a table.

    Attributes:
        blocks: in the order of the forward pass.
        rows: how many inputs a block was measured on, at most.
        inputs: where they came from.
    """

    blocks: tuple[BlockReport, ...]
    rows: int
    inputs: str

    def __str__(self) -> str:
        """Lay the blocks out as a table."""
        head = ("block", "N", "M", "weights", "left", "predicted", "error", "faster")
        lines = [head, *(_cells(block) for block in self.blocks)]
        width = [max(len(line[column]) for line in lines) for column in range(len(head))]
        table = ["  ".join(cell.rjust(w) for cell, w in zip(line, width, strict=True)) for line in lines]
        table.append(f"{self.rows} inputs, {self.inputs}; error: part of the variance, on the fifth held out")
        return "\n".join(table)


def _cells(block: BlockReport) -> tuple[str, ...]:
    return (
        f"{block.first} -> {block.second} ({block.activation})",
        str(block.N),
        str(block.M),
        str(block.weights_after),
        f"{block.weights_after / block.weights_before:.1%}",
        f"{block.predicted:.2e}",
        f"{block.error:.2e}",
        f"x{block.speedup:.2f}",
    )
