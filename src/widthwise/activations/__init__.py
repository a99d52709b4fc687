"""Activations: one type, the ones known by name, and the way from a name, module or function to it."""

from widthwise.activations.base import Activation, ClosedForm, Elementwise, affine
from widthwise.activations.registry import ActivationLike, get, names, of_model, of_module, register

__all__ = [
    "Activation",
    "ActivationLike",
    "ClosedForm",
    "Elementwise",
    "affine",
    "get",
    "names",
    "of_model",
    "of_module",
    "register",
]
