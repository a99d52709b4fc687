"""What commands share in the console."""

from __future__ import annotations

import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest
import typer
from rich.console import Console

from widthwise.cli import console


class _Dropping:
    """Something whose end Ctrl-C comes upon."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def _in_a_finalizer() -> None:
    _Dropping()


def _in_a_callback() -> None:
    gone = threading.Lock()
    reference = weakref.ref(gone, lambda _: signal.raise_signal(signal.SIGINT))
    del gone
    assert reference() is None


def _turned() -> None:
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise SystemError("returned a result with an exception set") from None


@pytest.fixture(autouse=True)
def _own_handler() -> Iterator[None]:
    """Ctrl-C is ignored by what a shell starts in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _twice() -> None:
    gone = _Dropping()
    reference = weakref.ref(gone, lambda _: signal.raise_signal(signal.SIGINT))
    del gone
    assert reference() is None


@pytest.mark.parametrize("drop", [_in_a_finalizer, _in_a_callback, _twice, _turned])
def test_ctrl_c_is_not_lost_where_python_drops_it(
    drop: Callable[[], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_err", Console(stderr=True))
    hook = sys.unraisablehook

    @console.friendly
    def command() -> None:
        drop()
        time.sleep(60)

    with pytest.raises(typer.Exit) as end:
        command()
    assert end.value.exit_code == 130
    assert capsys.readouterr().err.startswith("stopped; files already written are whole")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert sys.unraisablehook is hook


def test_an_error_without_ctrl_c_keeps_its_trace() -> None:
    @console.friendly
    def command() -> None:
        raise SystemError("a mistake of ours")

    with pytest.raises(SystemError, match="a mistake of ours"):
        command()


def test_in_a_log_progress_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 1.0, 61.0, 80.0, 130.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(console, "_err", Console(stderr=True, force_terminal=False))
    with console.progress_bar() as watch:
        for done in range(4):
            watch(done, 12, "[seeds]")
    assert capsys.readouterr().err.splitlines() == [
        "61 s: [seeds], 8%, about 0:11:00 left",
        "130 s: [seeds], 25%, about 0:06:27 left",
    ]
