"""Two-layer compression: the least loss M neurons can have, in theory and in a trained model.

Equations are those of *Sharp asymptotics on the compression of two-layer neural networks* by Amani, Bombari, Mondelli,
Pukdee and Rini (2022).
"""

from widthwise.compression.baselines import BASELINES
from widthwise.compression.descent import Descent, gradient_descent
from widthwise.compression.directions import METHODS
from widthwise.compression.etf import best_orientation, etf_objective, random_frames, simplex_etf
from widthwise.compression.lbfgs import lbfgs
from widthwise.compression.limit import limit_objective, network_distance, objective_bound, simplex_is_optimal
from widthwise.compression.manifold import FLAT, FRAMES, SPHERE, Manifold
from widthwise.compression.model import CompressedModel, compress_model
from widthwise.compression.neurons import GaussianNeurons, UnitNeurons, gram
from widthwise.compression.objectives import full_objective, limit_energy
from widthwise.compression.report import BlockReport, CompressionReport
from widthwise.compression.target import Target
from widthwise.compression.two_layer import Compressed, compress

__all__ = [
    "BASELINES",
    "FLAT",
    "FRAMES",
    "METHODS",
    "SPHERE",
    "BlockReport",
    "Compressed",
    "CompressedModel",
    "CompressionReport",
    "Descent",
    "GaussianNeurons",
    "Manifold",
    "Target",
    "UnitNeurons",
    "best_orientation",
    "compress",
    "compress_model",
    "etf_objective",
    "full_objective",
    "gradient_descent",
    "gram",
    "lbfgs",
    "limit_energy",
    "limit_objective",
    "network_distance",
    "objective_bound",
    "random_frames",
    "simplex_etf",
    "simplex_is_optimal",
]
