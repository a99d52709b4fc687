"""Built-in models by name, each remembering the arguments it was made from so that a file can rebuild it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ParamSpec

from torch import nn

from widthwise.errors import check_choice

__all__ = ["Recipe", "build", "builtin", "forget", "names", "recipe_of"]

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


def builtin(builder: Callable[P, nn.Module]) -> Callable[P, nn.Module]:
    """Register a function that builds a model from keyword arguments that are JSON values."""

    @functools.wraps(builder)
    def remembering(*args: P.args, **kwargs: P.kwargs) -> nn.Module:
        model = builder(*args, **kwargs)
        names_of_args = builder.__code__.co_varnames[: len(args)]
        recipe = Recipe(builder.__name__, {**dict(zip(names_of_args, args, strict=True)), **kwargs})
        object.__setattr__(model, _ATTRIBUTE, recipe)
        return model

    _BUILDERS[builder.__name__] = remembering
    return remembering


def names() -> tuple[str, ...]:
    """Names of the built-in models."""
    return tuple(sorted(_BUILDERS))


def build(recipe: Recipe) -> nn.Module:
    """Build a model from its recipe, freshly initialised.

    Raises:
        InputError: if the name is unknown or an argument is not allowed.
    """
    check_choice("model", recipe.name, _BUILDERS)
    return _BUILDERS[recipe.name](**recipe.arguments)


def recipe_of(model: nn.Module) -> Recipe | None:
    """The recipe of a built-in model, ``None`` for any other module."""
    recipe = getattr(model, _ATTRIBUTE, None)
    return recipe if isinstance(recipe, Recipe) else None


def forget(model: nn.Module) -> None:
    """Take from a model that was changed since it was built the recipe that no longer gives it."""
    vars(model).pop(_ATTRIBUTE, None)
