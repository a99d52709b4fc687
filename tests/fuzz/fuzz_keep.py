"""Keeps the least of what the fuzzer left: ``python tests/fuzz/fuzz_keep.py [FOLDER]``, the folder of ``fuzz_run.py``.

Of each corpus the shortest inputs stay that reach a line of ours, or give a message, that no shorter one does; so does
what broke a loader once. They replace ``tests/fuzz/corpus``.
"""

from __future__ import annotations

import re
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[1] / "src"
sys.path.insert(0, str(SOURCE))
_MOST = 12_000  # bytes of one input
_DATE = (2000, 1, 1, 0, 0, 0)


def main(arguments: Sequence[str]) -> int:
    """Write the corpus of each loader; 0."""
    import fuzz_all

    out = Path(arguments[0]) if arguments else Path("build/fuzz")
    for name, which in fuzz_all.TARGETS.items():
        broke = [
            path.read_bytes()
            for path in sorted((out / "found" / name).glob("*"))
            if path.suffix != ".txt" and "slow-unit" not in path.name
        ]
        tried = [path.read_bytes() for path in (out / "corpus" / name).glob("*")]
        old = fuzz_all.corpus(name)
        kept = list(dict.fromkeys([*broke, *_least(which, [*old, *tried], which.inputs())]))
        if kept:
            _write(fuzz_all.CORPUS / f"{name}.zip", kept)
        print(f"{name}: {len(kept)} of {len(old) + len(tried)} inputs, {sum(map(len, kept))} bytes", flush=True)
    return 0


def _least(which: Any, inputs: Sequence[bytes], seeds: Sequence[bytes]) -> Iterator[bytes]:
    """The shortest inputs that show something new, beyond the seeds."""
    seen: set[Hashable] = set()
    with tempfile.TemporaryDirectory() as folder:
        for data in seeds:
            seen |= _reached(which, data, Path(folder))
        for data in sorted((data for data in inputs if len(data) <= _MOST), key=lambda data: (len(data), data)):
            new = _reached(which, data, Path(folder)) - seen
            seen |= new
            if new:
                yield data


def _reached(which: Any, data: bytes, folder: Path) -> set[Hashable]:
    """Lines of ours that an input reaches, and what is said of it, names and numbers left out."""
    from fuzz_target import attempt

    lines: set[Hashable] = set()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if "/widthwise/" not in frame.f_code.co_filename:
            return None
        lines.add((frame.f_code.co_filename, frame.f_lineno))
        return trace

    sys.settrace(trace)
    try:
        error = attempt(which, data, folder)
    finally:
        sys.settrace(None)
    return lines | {re.sub(r"'[^']*'|\"[^\"]*\"|[\d.]+|/\S+", "", str(error))[:60]}


def _write(path: Path, inputs: Sequence[bytes]) -> None:
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for place, data in enumerate(inputs):
            archive.writestr(zipfile.ZipInfo(f"{place:04d}", _DATE), data, zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main(sys.argv[1:]))
