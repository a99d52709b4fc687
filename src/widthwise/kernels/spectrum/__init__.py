"""Extreme eigenvalues of kernel matrices too large to diagonalise, and the width that they ask for."""

from widthwise.kernels.spectrum.api import Spectrum, extreme_eigenvalues
from widthwise.kernels.spectrum.chernoff import chernoff_width
from widthwise.kernels.spectrum.rows import PREPARATIONS, prepare_rows

__all__ = ["PREPARATIONS", "Spectrum", "chernoff_width", "extreme_eigenvalues", "prepare_rows"]
