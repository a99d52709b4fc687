"""One data set in memory: inputs, targets and what they mean. Every ``Dataset`` that exists is valid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from widthwise.errors import DataError, InputError, InputTypeError, check_choice, check_finite, check_type

__all__ = ["TASKS", "Dataset", "is_finite"]

TASKS = ("classification", "regression")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs and targets on the CPU, checked when made.

    Attributes:
        name: what reports and messages call it.
        x: float32 inputs ``(n, *shape)``: images ``(n, channels, height, width)`` in 0..1, tables ``(n, d)``
            as they are.
        y: int64 labels ``(n,)`` in ``0..K-1``, each class occurring, or float32 targets ``(n, k)``.
        task: ``"classification"`` or ``"regression"``.
        classes: names of the ``K`` classes in the order of their labels; may be empty.
        test: the official test set ``(x, y)`` where the source has one.

    Raises:
        InputTypeError: if a field has the wrong type.
        DataError: if shapes, dtypes or counts do not fit, an input is NaN or infinite, a label lies outside
            its range, a class is empty, or a target never varies.

    >>> Dataset("xor", torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]), torch.tensor([0, 1, 1, 0]),
    ...         "classification").n_outputs
    2
    """

    name: str
    x: Tensor
    y: Tensor
    task: str
    classes: tuple[str, ...] = ()
    test: tuple[Tensor, Tensor] | None = None

    def __post_init__(self) -> None:
        check_type("name", self.name, str)
        check_choice("task", self.task, TASKS)
        self._check_names()
        self._check_part("", self.x, self.y)
        if self.task == "classification":
            self._check_every_class()
        else:
            self._check_variation()
        if self.test is not None:
            if not isinstance(self.test, tuple) or len(self.test) != 2:
                raise InputTypeError(f"test: got a {type(self.test).__name__}, allowed is a pair (x, y)")
            x, y = self.test
            self._check_part("test ", x, y)
            if x.shape[1:] != self.x.shape[1:] or y.shape[1:] != self.y.shape[1:]:
                raise self._fault(
                    f"test examples have shape {_shape(x)} and targets {_shape(y)}, training examples "
                    f"{_shape(self.x)} and {_shape(self.y)}; both must have the same"
                )

    @property
    def n_outputs(self) -> int:
        """Number of classes, or of regression targets."""
        if self.task == "regression":
            return self.y.shape[1]
        return len(self.classes) or int(self.y.max()) + 1

    def _fault(self, what: str) -> DataError:
        return DataError(f"{self.name}: {what}")

    def _check_names(self) -> None:
        check_type("classes", self.classes, tuple)
        for name in self.classes:
            check_type("classes", name, str)
        if len(set(self.classes)) != len(self.classes):
            raise self._fault("two classes have the same name; give each its own")
        if self.classes and self.task == "regression":
            raise self._fault("regression has no classes; leave them out")

    def _check_part(self, part: str, x: Tensor, y: Tensor) -> None:
        """Check what holds for the training examples and the official test examples alike."""
        check_type(f"{part}x", x, Tensor)
        check_type(f"{part}y", y, Tensor)
        label = self.task == "classification"
        wanted = (torch.int64, 1) if label else (torch.float32, 2)
        if x.dtype != torch.float32 or x.ndim < 2:
            raise self._fault(f"{part}x is {x.dtype} {tuple(x.shape)}; it must be float32 (n, ...)")
        if x.device.type != "cpu" or y.device.type != "cpu":
            raise self._fault(f"{part}x is on {x.device} and y on {y.device}; keep both on the CPU")
        if (y.dtype, y.ndim) != wanted:
            form = "int64 (n,)" if label else "float32 (n, k)"
            raise self._fault(f"{part}y is {y.dtype} {tuple(y.shape)}; for {self.task} it must be {form}")
        if len(x) != len(y):
            raise self._fault(f"{len(x)} {part}examples but {len(y)} targets; there must be one for each")
        if not x.numel() or not y.numel():
            raise self._fault(f"{part}x {tuple(x.shape)} and y {tuple(y.shape)} are empty; give it examples")
        for role, values in (("x", x), ("y", y)):
            if not is_finite(values):
                self._refuse(f"{part}{role}", values)
        if label:
            self._check_range(part, y)

    def _refuse(self, role: str, values: Tensor) -> None:
        try:
            check_finite(role, values)
        except InputError as error:
            raise self._fault(f"{error}; remove or replace them") from None

    def _check_range(self, part: str, y: Tensor) -> None:
        highest = self.n_outputs - 1
        bad = torch.nonzero((y < 0) | (y > highest))
        if len(bad):
            first = int(bad[0])
            raise self._fault(
                f"{part}example {first} has label {int(y[first])}; the labels are 0 to {highest}: correct "
                f"the {len(bad)} labels outside"
            )

    def _check_every_class(self) -> None:
        present = torch.unique(self.y)
        if len(present) < self.n_outputs:
            gap = torch.nonzero(present != torch.arange(len(present)))
            empty = int(gap[0]) if len(gap) else len(present)
            known = f" ({self.classes[empty]!r})" if self.classes else ""
            raise self._fault(
                f"class {empty}{known} has no example although labels run to {self.n_outputs - 1}; add some, "
                "or leave the class out and number the others from 0 without gaps"
            )
        if self.n_outputs < 2:
            raise self._fault("all examples belong to one class; classification needs at least two")

    def _check_variation(self) -> None:
        constant = torch.nonzero(self.y.amax(0) == self.y.amin(0))
        if len(constant):
            raise self._fault(f"target {int(constant[0])} never varies; there is nothing to learn from it")


def is_finite(x: Tensor) -> bool:
    """Tell whether no value is NaN or infinite, in one pass and without a mask as large as ``x``."""
    return not x.numel() or bool(torch.isfinite(torch.stack(torch.aminmax(x))).all())


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape[1:])
