"""Ctrl-C while a command is still loading or over already, with nothing to keep: a word instead of a trace.

Loading takes seconds, most of which are PyTorch's, so this is the first that is imported. It acts in the process of the
command line alone; who imports the package keeps the handler they have.
"""

import os
import signal
import sys
from types import FrameType

__all__ = ["INTERRUPTED", "leave_calmly", "loaded"]

INTERRUPTED = 130
"""Exit code of a command stopped by Ctrl-C, as of a shell's own."""


def leave_calmly() -> None:
    """End at Ctrl-C at once, until :func:`loaded`."""
    if _is_command_line() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def loaded() -> None:
    """Have Ctrl-C raise ``KeyboardInterrupt`` again, now that somebody listens."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_command_line() -> bool:
    """Whether this is ``widthwise`` or ``python -m widthwise``, whose name is not yet known while it is loaded."""
    name = sys.argv[0] if sys.argv else ""
    if name == "-m":
        name = sys.orig_argv[sys.orig_argv.index("-m") + 1]
    return name.rpartition(os.sep)[2] == "widthwise"


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"stopped\n")
    os._exit(INTERRUPTED)
