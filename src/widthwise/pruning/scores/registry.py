"""The known methods by name, and how to add one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from torch import Tensor, nn

from widthwise.errors import InputError, InputTypeError, check_choice, check_integer, check_type

__all__ = ["Method", "Score", "find_method", "register_score", "score_names"]


class Score(Protocol):
    """A pruning method: a tensor for each prunable parameter, of its shape; larger means keep."""

    def __call__(self, model: nn.Module, data: Any, loss: Any, /) -> Mapping[str, Tensor]:
        """Score the weights of ``model``, on ``data`` with ``loss`` if the method needs them."""


@dataclass(frozen=True)
class Method:
    """A registered score.

    Attributes:
        name: by which it is known.
        score: the function.
        rounds: in how many rounds :func:`widthwise.prune` prunes by it if not told otherwise.
    """

    name: str
    score: Score
    rounds: int = 1


S = TypeVar("S", bound=Callable[..., Mapping[str, Tensor]])
_METHODS: dict[str, Method] = {}


def register_score(name: str, *, rounds: int = 1) -> Callable[[S], S]:
    """Decorate a function ``(model, data, loss) -> scores`` to make it a method of :func:`widthwise.prune`.

    The function gets the model, and ``data`` and ``loss`` as :func:`widthwise.prune` was given them, by position: data
    are a pair ``(x, y)``, an iterable of such pairs, or ``None``. It returns a tensor for each of
    :func:`widthwise.prunable` of the model, of its shape; larger means keep.
    :func:`widthwise.pruning.gradients.batches_for` makes batches of either kind of data and refuses ``None``, and
    :func:`widthwise.pruning.gradients.mean_gradient` takes the gradient over them.

    Args:
        name: by which it shall be known.
        rounds: in how many rounds it prunes if the caller does not say.

    Raises:
        InputError: if the name belongs to another function.
        InputTypeError: if what is decorated is not a function of three arguments.

    >>> from widthwise.masks import prunable
    >>> @register_score("most-negative")
    ... def most_negative(model, data=None, loss=None):
    ...     return {name: -weight.detach() for name, weight in prunable(model).items()}
    >>> find_method("most-negative").rounds
    1
    """
    check_type("name", name, str)
    check_integer("rounds", rounds, 1)

    def add(score: S) -> S:
        if not callable(score):
            raise InputTypeError(f"score: got {type(score).__name__}, allowed is a function (model, data, loss)")
        _check_takes_three(score)
        if name in _METHODS and _origin(_METHODS[name].score) != _origin(score):
            raise InputError(f"name: {name!r} belongs to another score, allowed is a name not among {score_names()}")
        _METHODS[name] = Method(name, score, rounds)
        return score

    return add


def score_names() -> tuple[str, ...]:
    """The names of all methods, sorted."""
    return tuple(sorted(_METHODS))


def find_method(method: str | Score) -> Method:
    """The method of that name, or the function itself as one.

    Raises:
        InputError: if no method has that name; the message lists them and suggests the nearest.
        InputTypeError: if it is neither a name nor a function of three arguments.
    """
    if isinstance(method, str):
        return _METHODS[check_choice("method", method, _METHODS)]
    if callable(method):
        _check_takes_three(method)
        return Method(getattr(method, "__name__", type(method).__name__), method)
    raise InputTypeError(f"method: got {type(method).__name__}, allowed is a name or a function (model, data, loss)")


def _check_takes_three(score: Callable[..., Any]) -> None:
    try:
        signature = inspect.signature(score)
    except (TypeError, ValueError):  # of a function in C, which does not tell
        return
    try:
        signature.bind(None, None, None)
    except TypeError as error:
        name = getattr(score, "__name__", type(score).__name__)
        raise InputTypeError(
            f"score: got {name}{signature}, allowed is a function (model, data, loss), whether or not it uses the "
            "latter two"
        ) from error


def _origin(score: Any) -> tuple[str | None, str | None]:
    """Where a function was written, so that running its definition again replaces it."""
    return getattr(score, "__module__", None), getattr(score, "__qualname__", None)
