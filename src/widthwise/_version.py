"""The package's version, read by the build and by every file the package writes."""

__all__ = ["__version__"]

__version__ = "0.1.0"
