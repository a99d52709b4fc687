"""What every command shares: one-line errors, a progress bar, and options that hold several values."""

from __future__ import annotations

import functools
import math
import os
import select
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import ParamSpec

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from widthwise._atomic import check_folder
from widthwise._interrupt import INTERRUPTED, Listening, leave_calmly, loaded
from widthwise._memory import refused_memory
from widthwise.errors import InputError, InputTypeError

__all__ = ["as_options", "friendly", "numbers", "out", "own_folder", "progress_bar", "words"]

P = ParamSpec("P")
out = Console()
_err = Console(stderr=True)
_USAGE = 2
_NOBODY_READS = 141  # as of a command that the shell's own signal ends
_EVERY = 60.0  # seconds between lines where there is no terminal to draw a bar on
_LOOKS_BACK = 300.0  # seconds, of the bar's estimate: work that says nothing for longer has none
_LONGEST = 1e10  # seconds: more is not told apart


def friendly(command: Callable[P, None]) -> Callable[P, None]:
    """Turn an expected error into one line on stderr and exit code 2, and Ctrl-C into a calm word and 130."""

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        loaded()
        listening = Listening()
        try:
            try:
                with listening:
                    command(*args, **kwargs)
            finally:
                leave_calmly()  # nothing is left to keep
        except typer.Exit:
            raise
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, BrokenPipeError) and _nobody_reads():
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be flushed
                raise typer.Exit(_NOBODY_READS) from None
            if (said := _expected(error)) is not None:
                _say(said)
                raise typer.Exit(_USAGE) from None
            if not (listening.pressed or isinstance(error, KeyboardInterrupt)):
                raise
            _err.print("stopped; files already written are whole, and runs already finished are kept", highlight=False)
            raise typer.Exit(INTERRUPTED) from None

    return guarded


def _expected(error: BaseException) -> str | None:
    """What to say of an error that the user can mend."""
    if isinstance(error, (InputError, InputTypeError)):
        return str(error)
    if isinstance(error, OSError):
        said = error.strerror or str(error)  # without the number
        return f"{error.filename}: {said}" if error.filename else said
    if isinstance(error, (MemoryError, RuntimeError)) and (asked := refused_memory(error)) is not None:
        return f"memory: {asked} were asked for and not to be had; allowed are smaller networks, batches or data"
    return None


def _nobody_reads() -> bool:
    """Whether standard output is a pipe whose other end is closed, as by ``head``."""
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _say(error: str) -> None:
    line = " ".join(error.split())
    _err.print(f"[bold red]error:[/] {_escaped(line)}", soft_wrap=True, highlight=False)


def own_folder(folder: Path, files: Iterable[str], mark: str) -> None:
    """See, before the work, that a folder can be written and that nothing another command wrote there is lost.

    Args:
        folder: for results.
        files: that will be written into it.
        mark: the file by which an earlier run of the same command is known, whose files may be replaced.

    Raises:
        InputError: if one of the files is there and the mark is not.
        OSError: if it cannot be written.
    """
    check_folder(folder)
    there = [name for name in files if (folder / name).exists()]
    if there and not (folder / mark).exists():
        raise InputError(
            f"--out: got {str(folder)!r}, where another command wrote {there[0]}, which would be lost; allowed is "
            "another folder, with --out FOLDER"
        )


@contextmanager
def as_options(**options: str) -> Iterator[None]:
    """Have errors name an option, such as ``--to``, where they would name an argument that is called otherwise.

    Raises:
        InputError: as raised within, beginning with the option.
        InputTypeError: likewise.
    """
    try:
        yield
    except (InputError, InputTypeError) as error:
        argument, colon, rest = str(error).partition(":")
        if argument not in options:
            raise
        raise type(error)(f"{options[argument]}{colon}{rest}") from error


@contextmanager
def progress_bar() -> Iterator[Callable[[float, float, str], None]]:
    """A bar with an estimate of the time left, as a function ``(done, total, what)``.

    Into a file goes a line a minute. A total may be infinite, while another process is waited for.
    """
    if not _err.is_terminal:
        yield _lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_err, transient=True, speed_estimate_period=_LOOKS_BACK) as progress:
        task = progress.add_task("preparing", total=None)

        def watch(done: float, total: float, what: str) -> None:
            if math.isinf(total):
                progress.reset(task, total=None, description=what)
            else:
                progress.update(task, completed=done, total=total, description=what)

        yield watch


def _lines() -> Callable[[float, float, str], None]:
    began = told = time.monotonic()
    first: tuple[float, float] | None = None

    def watch(done: float, total: float, what: str) -> None:
        nonlocal told, first
        now, share = time.monotonic(), "" if math.isinf(total) else f", {done / (total or 1):.0%}"
        if share and first is None:
            first = now, done
        if now - told >= _EVERY or not share:
            told = now
            left = "" if first is None or not share else _left(now - first[0], done - first[1], total - done)
            _err.print(f"{now - began:.0f} s: {what}{share}{left}", soft_wrap=True, highlight=False, markup=False)

    return watch


def _left(seconds: float, done: float, to_do: float) -> str:
    """An estimate of the time left from what was done in so many seconds."""
    return f", about {timedelta(seconds=round(min(seconds * to_do / done, _LONGEST)))} left" if done > 0 else ""


def words(option: str, text: str) -> tuple[str, ...]:
    """The parts of a comma-separated option.

    Raises:
        InputError: if there is none.
    """
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if not parts:
        raise InputError(f"{option}: got {text!r}, allowed are values separated by commas")
    return parts


def numbers(option: str, text: str) -> tuple[float, ...]:
    """The numbers of a comma-separated option.

    Raises:
        InputError: if there is none, or one that is no number.
    """
    try:
        return tuple(float(part) for part in words(option, text))
    except ValueError:
        raise InputError(f"{option}: got {text!r}, allowed are numbers separated by commas") from None


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
