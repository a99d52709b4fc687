"""``python -m widthwise`` is the command line."""

from widthwise.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
