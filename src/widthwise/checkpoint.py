"""Trained models on disk: safetensors with the weights, the mask and, for a built-in model, how to rebuild it.

Of a sparse layer the file holds the values that exist, and about a byte each for where they stand
(:mod:`widthwise.sparse.files`).
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from widthwise import activations
from widthwise._maskfile import pack, unpack
from widthwise._scaled import forget_scaled, remember_scaled, scaled_in
from widthwise._tensorfile import read_tensors, write_tensors
from widthwise._version import __version__
from widthwise.errors import DataError, InputError, InputTypeError, check_type, outlined
from widthwise.masks import Mask
from widthwise.models import Recipe, build, recipe_of
from widthwise.sparse import files
from widthwise.weights import check_has_values, is_weight

__all__ = ["about", "load", "save"]

_KIND, _VERSION = "widthwise.model", 1
_FIELDS: dict[str, type | tuple[type, ...]] = {"model": (list, type(None)), "aliases": dict, "about": dict}
_MASK, _SPARSE, _SCALED = "mask:", "sparse", "stabilized"
_SMALL = 4096
_SPARE = 4  # parameters a builder may make for each that is left in the end

Path = str | os.PathLike[str]


def save(model: nn.Module, path: Path, *, about: Mapping[str, object] | None = None) -> None:
    """Write a model's weights and mask to one file, atomically; nothing in it can be executed.

    Args:
        model: any module; a built-in one (:mod:`widthwise.models`) is rebuilt by :func:`load` by itself, unless a
            function or a module of yours was among its arguments, an activation say: no file can hold that.
        path: the file; an older one is replaced in one step.
        about: JSON values to keep beside the weights, such as the names of the classes.

    Raises:
        OSError: if the folder cannot be written, the disk is full or ``path`` is a folder.
        InputError: if the model has no values (on the meta device).
        InputTypeError: if ``about`` holds what JSON cannot, or ``model`` is no module or ``path`` no path.
    """
    check_has_values(check_type("model", model, nn.Module))
    state, matrices = files.compact(model, model.state_dict())
    tensors, aliases = _untied(state)
    mask = Mask.of(model)
    header = {
        "widthwise": __version__,
        "model": _written(recipe_of(model)),
        "aliases": aliases,
        "about": _checked_about(about),
        **({_SPARSE: matrices} if matrices else {}),
        **({_SCALED: scaled} if (scaled := scaled_in(model)) else {}),
    }
    if mask is not None:
        tensors |= {_MASK + name: torch.from_numpy(pack(alive)) for name, alive in mask.items()}
    write_tensors(path, _KIND, _VERSION, header, tensors)


def load(path: Path, model: nn.Module | None = None) -> nn.Module:
    """Read a model that :func:`save` wrote, in evaluation mode, its mask in force, its sparse layers sparse.

    Args:
        path: the file.
        model: a module of the same architecture to fill, its layers dense or sparse; not needed for a built-in model.

    Returns:
        ``model``, or the built-in model rebuilt; a new layer where ``model`` itself is one that becomes sparse.

    Raises:
        DataError: if the file is missing, damaged or of another kind.
        InputError: if the model is not built in and none is given, or the one given has other weights; if it has an
            activation of your own that is not registered: do so before, under the name it had.
        InputTypeError: if ``path`` is no path or ``model`` no module.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputTypeError(f"path: got {outlined(path)}, allowed is the path of a file; the model comes second")
    header, tensors = read_tensors(path, _KIND, _VERSION, _FIELDS)
    masks = {name.removeprefix(_MASK): t for name, t in tensors.items() if name.startswith(_MASK)}
    state = {name: t for name, t in tensors.items() if not name.startswith(_MASK)}
    state |= {alias: state[name] for alias, name in _aliases(path, header) if name in state}
    matrices = files.checked_shapes(path, header.get(_SPARSE, {}), state)
    state = files.expand(path, state, matrices)
    if model is None:
        model = _rebuilt(path, header["model"], state, matrices)
    _check_fits(path, state, matrices, check_type("model", model, nn.Module))
    Mask.remove(model)
    model = files.sparsified(model, state, matrices)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:  # of numbers that cannot be copied, since names and shapes are right
        raise _unusable(path, "its weights are of a kind of numbers that the model cannot hold") from error
    _mark_scaled(path, model, header.get(_SCALED, []))
    if masks:
        shapes = {name: list(state[name].shape) for name in masks if name in state and is_weight(name, state[name])}
        Mask({name: unpack(path, name, masks[name], shape) for name, shape in shapes.items()}).apply(model)
    return model.eval()


def _mark_scaled(path: Path, model: nn.Module, names: Any) -> None:
    """Have the model's marks be those of the file."""
    modules = dict(model.named_modules())
    if not isinstance(names, list) or not all(isinstance(name, str) and name in modules for name in names):
        raise _unusable(path, f"its header gives the scaled modules as {names!r:.80}")
    for module in modules.values():
        forget_scaled(module)
    remember_scaled(model, names)


def about(path: Path) -> dict[str, object]:
    """What :func:`save` was told to keep beside the weights.

    Raises:
        DataError: if the file is missing, damaged or of another kind.
    """
    return dict(read_tensors(path, _KIND, _VERSION, _FIELDS)[0]["about"])


def _written(recipe: Recipe | None) -> list[Any] | None:
    """A recipe as JSON values; ``None`` where an argument is none, so that the model counts as the user's own."""
    if recipe is None:
        return None
    written = [recipe.name, dict(recipe.arguments)]
    try:
        json.dumps(written)
    except (TypeError, ValueError):
        return None
    return written


def _checked_about(about: Mapping[str, object] | None) -> dict[str, object]:
    found = dict(check_type("about", {} if about is None else about, Mapping))
    for name, value in found.items():
        try:
            json.dumps({name: value})
        except (TypeError, ValueError) as error:
            raise InputTypeError(
                f"about: got {outlined(value)} for {name!r}, allowed are JSON values: texts, numbers, lists, dicts"
            ) from error
    return found


def _untied(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Each tensor once, and for tied ones which name stands for which."""
    first: dict[tuple[int, tuple[int, ...], tuple[int, ...]], str] = {}
    tensors: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    for name, tensor in state.items():
        if name.startswith(_MASK):
            raise InputError(f"model: got an entry {name!r}, allowed are names that do not start with {_MASK!r}")
        if not isinstance(tensor, Tensor):
            raise InputTypeError(f"model: its entry {name!r} is a {type(tensor).__name__}, allowed are tensors")
        place = (tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride()))
        if tensor.numel() and place in first:
            aliases[name] = first[place]
            continue
        first[place] = name
        tensors[name] = tensor.detach().cpu()
    return tensors, aliases


def _rebuilt(path: Path, recipe: Any, state: Mapping[str, Tensor], matrices: Mapping[str, files.Shape]) -> nn.Module:
    """The built-in model of a recipe; its shapes are checked before any memory is taken."""
    if recipe is None:
        raise InputError(
            f"model: {os.fspath(path)} holds a network of your own; build it and pass it: load(path, model=...)"
        )
    try:
        name, arguments = recipe
        _check_modest(arguments, sum(t.numel() for t in state.values()) + sum(map(sum, matrices.values())))
        with torch.device("meta"), _at_most(_SPARE * len(state) + _SMALL // 16):
            _check_fits(path, state, matrices, build(Recipe(name, arguments)))
        return build(Recipe(name, arguments))
    except Exception as error:  # a builder may raise anything at arguments it was never meant for
        if (unknown := _unknown_activation(recipe)) is not None:
            raise InputError(
                f"activation: {os.fspath(path)} holds a network of {unknown!r:.80}, a name that is not registered; "
                f"before loading, call widthwise.activations.register(Activation({unknown!r:.80}, function))"
            ) from error
        raise DataError(f"{os.fspath(path)}: cannot rebuild the model {recipe!r:.200} ({error!s:.400})") from error


def _unknown_activation(recipe: Any) -> str | None:
    """The name of an activation of one's own that a recipe asks for and nothing here has."""
    match recipe:
        case [_, {"activation": str(name)}] if name.partition("(")[0].strip() not in activations.names():
            return name
    return None


@contextmanager
def _at_most(parameters: int) -> Iterator[None]:
    """Stop a builder of this thread that makes more parameters, however small: a hostile depth takes memory too."""
    made, here = 0, threading.get_ident()

    def count(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal made
        made += threading.get_ident() == here
        if made > parameters:
            raise InputError(f"model: has more than {parameters} parameters, the file far fewer")

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def _aliases(path: Path, header: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Names of tied tensors and what they stand for."""
    if not all(isinstance(name, str) for name in header["aliases"].values()):
        raise _unusable(path, "its aliases are not names")
    found: Mapping[str, str] = header["aliases"]
    return found.items()


def _unusable(path: Path, reason: str) -> DataError:
    return DataError(f"{os.fspath(path)}: not a usable model file, {reason}; save it again")


def _check_modest(arguments: Mapping[str, Any], numbers: int) -> None:
    """No size or count of a model exceeds the numbers it holds, but for small ones; a hostile file may say so."""
    for key, value in arguments.items():
        if isinstance(value, Mapping):
            _check_modest(value, numbers)
        elif isinstance(value, int) and value > max(numbers, _SMALL):
            raise InputError(f"{key}: got {value}, allowed is at most the {numbers} numbers in the file")


def _check_fits(path: Path, state: Mapping[str, Tensor], matrices: Mapping[str, files.Shape], model: nn.Module) -> None:
    mine = files.outline(model.state_dict(), files.matrices_of(model, matrices))
    theirs = files.outline(state, matrices)
    for name in [*mine, *theirs]:
        if mine.get(name) != theirs.get(name):
            raise InputError(
                f"model: {name!r} has shape {mine.get(name, 'none')}, in {os.fspath(path)} it has "
                f"{theirs.get(name, 'none')}; allowed is a model of the same architecture"
            )
