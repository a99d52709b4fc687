"""What commands share in the console."""

from __future__ import annotations

import pytest
from rich.console import Console

from widthwise.cli import console


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
        "61 s: [seeds], 8%",
        "130 s: [seeds], 25%",
    ]
