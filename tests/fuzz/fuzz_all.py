"""Every loader, and the inputs kept of each."""

from __future__ import annotations

import zipfile
from pathlib import Path

import fuzz_data  # noqa: F401
import fuzz_folders  # noqa: F401
import fuzz_models  # noqa: F401
import fuzz_paths  # noqa: F401
from fuzz_target import TARGETS

__all__ = ["CORPUS", "TARGETS", "corpus"]

CORPUS = Path(__file__).resolve().parent / "corpus"


def corpus(name: str) -> list[bytes]:
    """Inputs that reach different parts of a loader, or once broke it."""
    path = CORPUS / f"{name}.zip"
    if not path.is_file():
        return []
    with zipfile.ZipFile(path) as archive:
        return [archive.read(entry) for entry in archive.namelist()]
