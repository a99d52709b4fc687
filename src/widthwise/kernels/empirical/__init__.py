"""Kernels of finite networks: the tangent kernel and the Gaussian-process kernel of any module, as it is."""

from widthwise.kernels.empirical.api import empirical_nngp, empirical_ntk

__all__ = ["empirical_nngp", "empirical_ntk"]
