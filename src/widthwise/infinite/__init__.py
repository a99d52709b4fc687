"""Networks of infinite width: their architectures, kernels and predictions, in closed form."""

from widthwise.infinite.chain import Residual
from widthwise.infinite.convolution import Conv
from widthwise.infinite.ensemble import Ensemble
from widthwise.infinite.flattening import Flatten
from widthwise.infinite.layers import Dense, Layer, LayerNorm, Nonlinear
from widthwise.infinite.module import from_module
from widthwise.infinite.network import MLP, Kernels, Network, serial
from widthwise.infinite.pooling import AvgPool, GlobalAvgPool

__all__ = [
    "MLP",
    "AvgPool",
    "Conv",
    "Dense",
    "Ensemble",
    "Flatten",
    "GlobalAvgPool",
    "Kernels",
    "Layer",
    "LayerNorm",
    "Network",
    "Nonlinear",
    "Residual",
    "from_module",
    "serial",
]
