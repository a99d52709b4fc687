"""Built-in networks: plain ``nn.Module``s that a file can rebuild by name."""

from widthwise.models.by_width import ByWidth, by_width
from widthwise.models.cifar_resnet import resnet20, resnet32, resnet44, resnet50, resnet56, resnet104
from widthwise.models.gpt import gpt
from widthwise.models.mlp import Standardize, mlp
from widthwise.models.node_layers import NodeScaled, NodeScaledAttention, NodeScaledBlock
from widthwise.models.node_scaled import Shallow, node_scaled
from widthwise.models.registry import Recipe, build, builtin, names, recipe_of
from widthwise.models.residual import Residual
from widthwise.models.residual_mlp import residual_mlp
from widthwise.models.resnet18 import resnet18
from widthwise.models.vanilla_cnn import vanilla_cnn
from widthwise.models.vgg import vgg16
from widthwise.models.vit import vit

__all__ = [
    "ByWidth",
    "NodeScaled",
    "NodeScaledAttention",
    "NodeScaledBlock",
    "Recipe",
    "Residual",
    "Shallow",
    "Standardize",
    "build",
    "builtin",
    "by_width",
    "gpt",
    "mlp",
    "names",
    "node_scaled",
    "recipe_of",
    "residual_mlp",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet50",
    "resnet56",
    "resnet104",
    "vanilla_cnn",
    "vgg16",
    "vit",
]
