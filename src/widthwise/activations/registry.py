"""From whatever names an activation (a string, a module, a function) to the :class:`Activation`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Hashable
from functools import lru_cache

import torch
from torch import Tensor, nn

from widthwise.activations.base import Activation, Elementwise
from widthwise.activations.catalogue import FAMILIES, FUNCTIONS
from widthwise.activations.kinks import find_kinks
from widthwise.errors import InputError, InputTypeError, check_choice, check_type

__all__ = ["ActivationLike", "get", "in_catalogue", "names", "of_model", "of_module", "register"]

ActivationLike = str | Activation | nn.Module | Callable[[Tensor], Tensor]
"""Whatever :func:`get` takes."""

_REGISTERED: dict[str, Activation] = {}
_CALL = re.compile(r"\s*(?P<family>\w+)\s*(?:\((?P<arguments>[^()]*)\))?\s*")

_MODULES: dict[type[nn.Module], Callable[..., str]] = {
    nn.ReLU: lambda m: "relu",
    nn.LeakyReLU: lambda m: f"leaky_relu({m.negative_slope})",
    nn.ReLU6: lambda m: "relu6",
    nn.ELU: lambda m: f"elu({m.alpha})",
    nn.CELU: lambda m: f"celu({m.alpha})",
    nn.SELU: lambda m: "selu",
    nn.GELU: lambda m: "gelu" if m.approximate == "none" else "gelu_tanh",
    nn.SiLU: lambda m: "silu",
    nn.Mish: lambda m: "mish",
    nn.Softplus: lambda m: f"softplus({m.beta})",
    nn.Tanh: lambda m: "tanh",
    nn.Sigmoid: lambda m: "sigmoid",
    nn.LogSigmoid: lambda m: "logsigmoid",
    nn.Softsign: lambda m: "softsign",
    nn.Tanhshrink: lambda m: "tanhshrink",
    nn.Hardtanh: lambda m: f"hardtanh({m.min_val},{m.max_val})",
    nn.Hardsigmoid: lambda m: "hardsigmoid",
    nn.Hardswish: lambda m: "hardswish",
    nn.Softshrink: lambda m: f"softshrink({m.lambd})",
    nn.Hardshrink: lambda m: f"hardshrink({m.lambd})",
    nn.Identity: lambda m: "linear",
}


def names() -> list[str]:
    """Return every name :func:`get` knows, sorted."""
    return sorted({*FAMILIES, *_REGISTERED})


def register(activation: Activation) -> Activation:
    """Make ``activation`` known by its name, and return it.

    Raises:
        InputTypeError: if it is not an :class:`Activation`.
        InputError: if the name is taken by another one, or is not a word.
    """
    check_type("activation", activation, Activation)
    name = activation.name
    if not name.isidentifier():
        raise InputError(f"activation.name: got {name!r}, allowed is a word of letters, digits and underscores")
    if name in FAMILIES or _REGISTERED.get(name, activation) != activation:
        raise InputError(f"activation.name: got {name!r}, which is taken; choose another")
    _REGISTERED[name] = activation
    return activation


def get(activation: ActivationLike) -> Activation:
    """Return the :class:`Activation` meant.

    Args:
        activation: a name, with its parameters in parentheses if they are not the defaults (``"relu"``,
            ``"erf(2)"``, ``"abrelu(-0.1,1)"``); an :class:`Activation`; a module such as ``nn.ELU(0.5)``;
            or any elementwise function of a tensor that autograd can follow. Its kinks are searched for, which
            takes a moment: resolve a function once and keep the result.

    Raises:
        InputError: for an unknown name (the message lists the known ones and the nearest), wrong parameters,
            or a function that is not elementwise and of the dtype it is given.
        InputTypeError: for anything else.

    Example:
        >>> get(nn.LeakyReLU(0.2)) == get("leaky_relu(0.2)")
        True
    """
    if isinstance(activation, Activation):
        return activation
    if isinstance(activation, str):
        return _from_name(activation)
    if isinstance(activation, nn.Module):
        return of_module(activation) or _from_function(activation, type(activation).__name__)
    if not callable(activation):
        wanted = "a name, an Activation, an activation module or a function of a tensor"
        raise InputTypeError(f"activation: got {activation!r}, allowed is {wanted}")
    if isinstance(activation, Hashable) and activation in FUNCTIONS:
        return _from_name(FUNCTIONS[activation])
    return _from_function(activation, getattr(activation, "__name__", type(activation).__name__))


def of_module(module: nn.Module) -> Activation | None:
    """Return the activation that ``module`` is, or ``None`` if it is not an activation known to this package.

    Subclasses count as their own kind and are not taken for their parents.

    Raises:
        InputTypeError: if ``module`` is no module.

    Example:
        >>> of_module(nn.ELU(0.5)).name, of_module(nn.Linear(2, 2))
        ('elu(0.5)', None)
    """
    check_type("module", module, nn.Module)
    if isinstance(module, Elementwise):
        return module.activation
    if isinstance(module, nn.PReLU) and module.num_parameters == 1:
        return _from_name(f"leaky_relu({module.weight.item()})")
    naming = _MODULES.get(type(module))
    return None if naming is None else _from_name(naming(module))


def of_model(model: nn.Module) -> Activation:
    """Return the one activation among a model's modules, identities aside.

    Raises:
        InputError: if there is none, as where the forward pass calls functions, or more than one kind.

    Example:
        >>> of_model(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 3), nn.Tanh())).name
        'tanh'
    """
    check_type("model", model, nn.Module)
    kinds = {found.name: found for module in model.modules() if (found := of_module(module)) is not None}
    kinds.pop("linear", None)
    if len(kinds) != 1:
        got = ", ".join(sorted(kinds)) or "no module that is a known activation"
        known = ", ".join(names())
        raise InputError(
            f"activation: the model has {got}; name the one between its layers, of {known}, or pass its function"
        )
    return next(iter(kinds.values()))


def in_catalogue(activation: Activation) -> bool:
    """Say whether its name alone determines it, so that what is computed for it may be kept."""
    try:
        return _from_family(activation.name) == activation
    except InputError:
        return False


def _from_name(name: str) -> Activation:
    known = _REGISTERED.get(name)
    return _from_family(name) if known is None else known


@lru_cache(maxsize=256)
def _from_family(name: str) -> Activation:
    match = _CALL.fullmatch(name)
    family, given = (match["family"], match["arguments"] or "") if match else (name, "")
    check_choice("activation", family, FAMILIES if family in FAMILIES else names())
    if family not in FAMILIES:
        raise InputError(f"activation: got {name!r}, allowed is {family} without parameters")
    factory = FAMILIES[family]
    try:
        values = [float(part) for part in given.split(",") if part.strip()]
        inspect.signature(factory).bind(*values)
    except (TypeError, ValueError):
        wanted = ", ".join(inspect.signature(factory).parameters)
        allowed = f"{family}({wanted}) with numbers" if wanted else f"{family} without parameters"
        raise InputError(f"activation: got {name!r}, allowed is {allowed}") from None
    return factory(*values)


def _from_function(function: Callable[[Tensor], Tensor], name: str) -> Activation:
    """Wrap a user's function with its kinks, after checking on a few points that it is elementwise."""
    if isinstance(function, nn.Module) and any(True for _ in function.parameters()):
        raise InputError(f"activation: got {name}, which has parameters; allowed is an elementwise function")
    if isinstance(function, type):
        raise InputError(f"activation: got the class {name}, allowed is an instance of it, {name}()")
    x = torch.linspace(-1.5, 1.25, 12, dtype=torch.float64)
    try:
        function(x.clone().requires_grad_())  # so that NumPy's functions are found out
        with torch.no_grad():
            whole, parts = function(x), torch.cat([function(part) for part in (x[:5], x[5:])])
    except Exception as error:
        raise InputError(f"activation: {name} fails on a float64 tensor of shape (12,): {error}") from error
    same = isinstance(whole, Tensor) and whole.shape == x.shape and whole.dtype == x.dtype
    if not same or not torch.allclose(whole, parts, rtol=1e-9, atol=1e-12, equal_nan=True):
        raise InputError(f"activation: {name} is not elementwise, keeping shape and dtype, as is required here")
    kinks, jumps = find_kinks(function)
    return Activation(name, function, kinks=kinks, jumps=jumps)
