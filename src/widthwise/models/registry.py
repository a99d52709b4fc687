"""Built-in models by name, each remembering the arguments it was made from so that a file can rebuild it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ParamSpec

from torch import nn

from widthwise.errors import check_choice, check_flag

__all__ = ["Recipe", "build", "builder", "builtin", "forget", "names", "recipe_of", "remember"]

P = ParamSpec("P")
_BUILDERS: dict[str, Callable[..., nn.Module]] = {}
_ATTRIBUTE = "_widthwise_recipe"


@dataclass(frozen=True)
class Recipe:
    """Which built-in model a module is.

    Attributes:
        name: the builder's name.
        arguments: its keyword arguments, all of them JSON values.
    """

    name: str
    arguments: Mapping[str, object] = field(default_factory=dict)


def builtin(function: Callable[P, nn.Module]) -> Callable[P, nn.Module]:
    """Register a function that builds a model from keyword arguments that are JSON values.

    One whose name begins with an underscore is for files only: :func:`names` leaves it out.
    """
    flags = {name for name, kind in function.__annotations__.items() if kind in (bool, "bool")}

    @functools.wraps(function)
    def remembering(*args: P.args, **kwargs: P.kwargs) -> nn.Module:
        names_of_args = function.__code__.co_varnames[: len(args)]
        given = {**dict(zip(names_of_args, args, strict=False)), **kwargs}
        for flag in flags.intersection(given):
            given[flag] = check_flag(flag, given[flag])  # a word, such as "no", would count as true
        model = function(*args, **kwargs)
        remember(model, Recipe(function.__name__, given))
        return model

    _BUILDERS[function.__name__] = remembering
    return remembering


def names() -> tuple[str, ...]:
    """Names of the built-in models."""
    return tuple(sorted(name for name in _BUILDERS if not name.startswith("_")))


def builder(name: str) -> Callable[..., nn.Module]:
    """The function that builds the model of a name.

    Raises:
        InputError: if the name is unknown; the message lists the known ones.
    """
    return _BUILDERS[name if name in _BUILDERS else check_choice("model", name, names())]


def build(recipe: Recipe) -> nn.Module:
    """Build a model from its recipe, freshly initialised.

    Raises:
        InputError: if the name is unknown or an argument is not allowed.
    """
    return builder(recipe.name)(**recipe.arguments)


def recipe_of(model: nn.Module) -> Recipe | None:
    """The recipe of a built-in model, ``None`` for any other module."""
    recipe = getattr(model, _ATTRIBUTE, None)
    return recipe if isinstance(recipe, Recipe) else None


def remember(model: nn.Module, recipe: Recipe) -> None:
    """Give a model the recipe that rebuilds it."""
    object.__setattr__(model, _ATTRIBUTE, recipe)


def forget(model: nn.Module) -> None:
    """Take from a model that was changed since it was built the recipe that no longer gives it."""
    vars(model).pop(_ATTRIBUTE, None)
