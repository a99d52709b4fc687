"""widthwise: spend a fixed budget of weights well."""

from widthwise._version import __version__

__all__ = ["__version__"]
