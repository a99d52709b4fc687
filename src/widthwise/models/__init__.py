"""Built-in networks: plain ``nn.Module``s that a file can rebuild by name."""

from widthwise.models.mlp import Standardize, mlp
from widthwise.models.registry import Recipe, build, builtin, names, recipe_of

__all__ = ["Recipe", "Standardize", "build", "builtin", "mlp", "names", "recipe_of"]
