"""Ctrl-C while a command is loading, at work, or over already: never a trace, and never lost.

Loading takes seconds, most of which are PyTorch's, so this is the first that is imported. It acts in the process of the
command line alone; who imports the package keeps the handler they have.
"""

import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["INTERRUPTED", "Listening", "leave_calmly", "loaded"]

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


class Listening:
    """While a command works: Ctrl-C raises ``KeyboardInterrupt``, and again if what it came upon drops that.

    Python tells of an exception in a finalizer or a weak reference's callback and goes on; compiled code between two
    Python functions may turn it into another one.

    Attributes:
        pressed: whether it was pressed.
    """

    _WAIT = 0.01  # seconds in which such a callback is over

    def __init__(self) -> None:
        self.pressed = self._deaf = self._due = False
        self._over = threading.Event()
        self._insisting: list[threading.Thread] = []

    def __enter__(self) -> "Listening":
        self._hook = sys.unraisablehook
        main = threading.current_thread() is threading.main_thread()
        self._installed = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._installed:
            signal.signal(signal.SIGINT, self._press)
            sys.unraisablehook = self._dropped
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deaf = True  # nothing is left to stop
        self._over.set()
        for thread in self._insisting:
            thread.join()
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.unraisablehook = self._hook

    def _press(self, number: int, frame: FrameType | None) -> None:
        self.pressed = True
        if not self._deaf:
            self._due = False
            raise KeyboardInterrupt

    def _dropped(self, what: Any) -> None:
        if not issubclass(what.exc_type, KeyboardInterrupt):
            self._hook(what)
            return
        if self._due:
            return
        self._deaf = self._due = True  # pressed once more in here, it were dropped once more
        self._insisting.append(threading.Thread(target=self._insist, daemon=True))
        self._insisting[-1].start()
        self._deaf = False

    def _insist(self) -> None:
        while not self._over.wait(self._WAIT) and self._due:
            _press_again()


def _press_again() -> None:
    """Ctrl-C for the main thread, which wakes it where the system can."""
    if sys.platform == "win32":
        signal.raise_signal(signal.SIGINT)
    else:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _is_command_line() -> bool:
    """Whether this is ``widthwise`` or ``python -m widthwise``, whose name is not yet known while it is loaded."""
    name = sys.argv[0] if sys.argv else ""
    if name == "-m":
        name = sys.orig_argv[sys.orig_argv.index("-m") + 1]
    return name.rpartition(os.sep)[2] == "widthwise"


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"stopped\n")
    os._exit(INTERRUPTED)
