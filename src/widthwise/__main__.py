"""``python -m widthwise`` is the command line."""

from widthwise.cli import main

if __name__ == "__main__":
    main()
