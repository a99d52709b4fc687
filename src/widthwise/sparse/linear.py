"""A linear layer of which only the nonzero weights exist."""

from __future__ import annotations

import math
import warnings
from operator import is_not
from typing import Any, Self

import torch
from torch import Tensor, nn

from widthwise.errors import InputError, InputTypeError, check_type
from widthwise.sparse import _small, ops
from widthwise.sparse._types import index_dtype
from widthwise.sparse.pattern import Pattern, row_pointers

__all__ = ["SparseLinear", "SparseWeight", "checked_bias"]

_DERIVED = ("column_bytes", "starts", "row_bytes", "row_starts", "order")
_Seen = tuple[tuple[Tensor | None, ...], tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]


class SparseWeight(nn.Module):
    """What sparse layers share: the values of a sparse matrix as a parameter, and where they stand as buffers.

    ``values``, ``bias``, ``pointers`` and ``columns`` travel in ``state_dict``; what the kernels derive from the latter
    two doesn't. Loading a state with other places gives the layer those places, and as many ``values``.

    Attributes:
        shape: rows and columns of the matrix.
        values: the nonzero weights in row-major order, those of ``weight[mask]``, shape (nnz,).
        pointers: where each row's values start, int64, shape (rows + 1,).
    """

    values: nn.Parameter
    pointers: Tensor
    column_bytes: Tensor  # bytes, because neither pickle nor DistributedDataParallel takes 16 bits without a sign
    starts: Tensor
    row_bytes: Tensor
    row_starts: Tensor
    order: Tensor
    phase_of: tuple[int, ...] = (0,)
    blocks = False  # whether very long rows and columns are cut

    def __init__(self, values: Tensor, pointers: Tensor, columns: Tensor, width: int) -> None:
        super().__init__()
        self.shape = (len(pointers) - 1, width)
        self._seen: _Seen | None = None
        self.values = nn.Parameter(values)
        self.register_buffer("pointers", pointers)
        self._derive(pointers, columns)

    @property
    def columns(self) -> Tensor:
        """Of each value, ascending within a row; 16 bits wide where that is enough."""
        return self.column_bytes.view(index_dtype(self.shape[1]))

    @property
    def rows(self) -> Tensor:
        """Of each value, columns first."""
        return self.row_bytes.view(index_dtype(self.shape[0] * len(self.phase_of)))

    @property
    def pattern(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What an operator takes after the bias: ``columns, starts, rows, row_starts, order``."""
        if torch.compiler.is_compiling():
            if torch.onnx.is_in_onnx_export():  # which catches what is raised and fails later, at something else
                warnings.warn(
                    "ONNX has no sparse layers, so torch.onnx.export fails; "
                    "widthwise.sparse.to_onnx(model, path, example) writes the dense model with zeros",
                    stacklevel=2,
                )
            return self._pattern()
        stored = tuple(map(self._buffers.__getitem__, _DERIVED))
        if self._seen is None or any(map(is_not, self._seen[0], stored)):
            with torch.inference_mode(False):  # what is seen in that mode can't be trained with later
                self._seen = stored, self._pattern()
        return self._seen[1]

    def _pattern(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        return self.columns, self.starts, self.rows, self.row_starts, self.order

    def __getstate__(self) -> dict[str, Any]:
        """All but what can be seen again in the buffers."""
        return {**self.__dict__, "_seen": None}

    @property
    def weight(self) -> Tensor:
        """The dense matrix, made anew at each look, for code that reads a layer's weight."""
        return self.dense()

    @property
    def nnz(self) -> int:
        """Number of weights that exist."""
        return self.values.numel()

    def dense(self) -> Tensor:
        """The matrix with its zeros, shape (rows, columns), differentiable in ``values``."""
        return self.values.new_zeros(self.shape).masked_scatter(self.mask(), self.values)

    def mask(self) -> Tensor:
        """Where the values stand, boolean, shape (rows, columns)."""
        height = torch.arange(self.shape[0], device=self.pointers.device)
        places = torch.zeros(self.shape, dtype=torch.bool, device=self.pointers.device)
        places[height.repeat_interleave(self.pointers.diff()), self.columns.long()] = True
        return places

    def _derive(self, pointers: Tensor, columns: Tensor) -> None:
        pattern = Pattern.from_rows(pointers.cpu(), columns.cpu(), self.shape[1], self.phase_of, blocks=self.blocks)
        device = pointers.device
        self.register_buffer("column_bytes", _bytes(pattern.columns).to(device), persistent=False)
        self.register_buffer("row_bytes", _bytes(pattern.rows).to(device), persistent=False)
        for name in ("starts", "row_starts", "order"):
            self.register_buffer(name, getattr(pattern, name).to(device), persistent=False)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}columns"] = self.columns

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, metadata: Any, strict: bool, missing: list[str], *rest: Any
    ) -> None:
        columns = state_dict.pop(f"{prefix}columns", None)
        pointers, values = (state_dict.get(prefix + name) for name in ("pointers", "values"))
        if columns is None:
            missing.append(f"{prefix}columns")
        elif pointers is not None and values is not None:
            self._move(pointers, columns, values, prefix)
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, missing, *rest)

    def _move(self, pointers: Tensor, columns: Tensor, values: Tensor, prefix: str) -> None:
        """Make room for values at other places."""
        if torch.equal(pointers.cpu(), self.pointers.cpu()) and torch.equal(columns.cpu(), self.columns.cpu()):
            return
        if pointers.shape != self.pointers.shape or values.shape != columns.shape or pointers.dtype != torch.int64:
            raise InputError(
                f"state_dict: {prefix!r} holds {tuple(values.shape)} values in {len(pointers) - 1} rows, allowed is "
                f"as many values as columns in {self.shape[0]} rows"
            )
        self._derive(pointers.to(self.pointers.device), columns.to(self.columns.dtype))
        self.pointers = pointers.to(self.pointers.device, copy=True)
        self.values.data = self.values.new_empty(values.shape)


class SparseLinear(SparseWeight):
    """``x W' + bias`` for a sparse ``W``: time and memory go with the number of its nonzeros.

    Args:
        weight: dense matrix, shape (out_features, in_features), float; its zeros are left out.
        bias: shape (out_features,), or None.
        mask: boolean, of the weight's shape; where it is given it says which weights exist, zeros among them too.

    Attributes:
        batch_last: give the result batch last in memory, as a following sparse layer likes it: strides (1, B), the same
            numbers. Such a tensor can't be ``view``-ed as any other; ``sparsify`` sets this where it does no harm.
        clip: apply ReLU to the result.

    Raises:
        InputError: if the shapes disagree, or the weight is not a float matrix or not finite.

    >>> layer = SparseLinear(torch.tensor([[0.0, 2.0], [3.0, 0.0]]))
    >>> layer.nnz, layer(torch.tensor([[1.0, 10.0]])).tolist()
    (2, [[20.0, 3.0]])
    """

    blocks = True

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, mask: Tensor | None = None) -> None:
        places = _places(weight, mask)
        pointers, columns = (part.to(weight.device) for part in row_pointers(places))
        super().__init__(weight.detach()[places], pointers, columns, weight.shape[1])
        self.bias = None if bias is None else nn.Parameter(checked_bias(bias, weight))
        self.batch_last = False
        self.clip = False

    @classmethod
    def from_linear(cls, layer: nn.Linear, mask: Tensor | None = None) -> Self:
        """The same as a dense layer, for its nonzero weights or those under ``mask``."""
        check_type("layer", layer, nn.Linear)
        return cls(layer.weight.detach(), None if layer.bias is None else layer.bias.detach(), mask=mask)

    @property
    def in_features(self) -> int:
        """Size of an example."""
        return self.shape[1]

    @property
    def out_features(self) -> int:
        """Size of a result."""
        return self.shape[0]

    def forward(self, x: Tensor) -> Tensor:
        """``x`` of shape (..., in_features) to (..., out_features).

        Raises:
            InputError: if ``x`` has another number of features.
            InputTypeError: if it is no tensor, or of another dtype than the weights.
        """
        if (answer := _small.respond(self, x)) is not None:
            return answer
        check_type("x", x, Tensor)
        if x.dim() == 0 or x.shape[-1] != self.in_features:
            raise InputError(f"x: got shape {tuple(x.shape)}, allowed is (..., {self.in_features})")
        values = self.values
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(values.dtype)
        if x.dtype != values.dtype:
            raise InputTypeError(f"x: got {x.dtype}, allowed is {values.dtype}, the type of this layer's weights")
        bias: Tensor = values.new_zeros(self.out_features) if self.bias is None else self.bias
        flat = x if x.dim() == 2 else x.reshape(-1, self.in_features)
        result: Tensor = ops.sparse_linear(flat, values, bias, *self.pattern, self.clip, self.batch_last)
        return result if x.dim() == 2 else result.view(*x.shape[:-1], self.out_features)

    def to_linear(self) -> nn.Linear:
        """The dense layer with the same numbers, zeros included."""
        weight = self.dense().detach()
        layer = nn.Linear(
            self.in_features, self.out_features, self.bias is not None, device=weight.device, dtype=weight.dtype
        )
        layer.weight.data = weight
        if self.bias is not None:
            layer.bias.data = self.bias.detach().clone()
        return layer

    def extra_repr(self) -> str:
        """Sizes, and the fraction of weights that exist."""
        kept = self.nnz / max(1, math.prod(self.shape))
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, nnz={self.nnz}, connectivity={kept:.4g}"
        )


def _bytes(indices: Tensor) -> Tensor:
    return indices.view(torch.uint8) if len(indices) else torch.empty(0, dtype=torch.uint8)


def _places(weight: Tensor, mask: Tensor | None) -> Tensor:
    """The entries of ``weight`` that will exist."""
    check_type("weight", weight, Tensor)
    if weight.dim() != 2 or not weight.is_floating_point():
        raise InputError(f"weight: got {weight.dtype} of shape {tuple(weight.shape)}, allowed is a float matrix")
    if not weight.isfinite().all():
        raise InputError("weight: holds numbers that are not finite")
    if mask is None:
        return weight.detach() != 0
    if mask.shape != weight.shape or mask.dtype != torch.bool:
        raise InputError(
            f"mask: got {mask.dtype} of shape {tuple(mask.shape)}, allowed is bool of {tuple(weight.shape)}"
        )
    return mask.to(weight.device)


def checked_bias(bias: Tensor, weight: Tensor) -> Tensor:
    """A copy of ``bias`` that fits the rows of ``weight``."""
    if bias.shape != weight.shape[:1]:
        raise InputError(f"bias: got shape {tuple(bias.shape)}, allowed is ({weight.shape[0]},)")
    return bias.detach().to(weight).clone()
