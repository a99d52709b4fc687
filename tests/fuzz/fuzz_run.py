"""Coverage-guided fuzzing of every loader: ``python tests/fuzz/fuzz_run.py [NAME...] [--runs N] [--out FOLDER]``.

Each loader runs in a process of its own, in bounded memory and a folder of its own, from the committed corpus and the
seeds. What it finds is kept: one input for each kind of error, in ``FOLDER/found/NAME``; the corpus in
``FOLDER/corpus/NAME``; the counts in ``FOLDER/counts.jsonl``. Needs ``pip install atheris``.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[1] / "src"
MEMORY = 2**30  # bytes that a loader may map beyond what is mapped at the start
PATIENCE = 5.0  # seconds of processor time for one input
LONGEST = 16384  # bytes of an input
_SHARED = Path("/dev/shm")  # a disk in memory


class Hang(BaseException):
    """An input took too long."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz the loaders named, or all; 1 if anything was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--runs", type=int, default=1_000_000, help="inputs a loader")
    parser.add_argument("--seconds", type=int, default=0, help="at most so many a loader")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"))
    chosen = parser.parse_args(arguments)
    with redirect_stderr(io.StringIO()):  # a line a module
        fuzz_all = _instrumented()
    found = 0
    for name in chosen.names or fuzz_all.TARGETS:
        place: Path = chosen.out / "found" / name
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"fuzz-{name}-", dir=_SHARED if _SHARED.is_dir() else None) as folder:
            child = os.fork()
            if not child:
                _fuzz(fuzz_all.TARGETS[name], fuzz_all.corpus(name), chosen, Path(folder))
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        kinds = [file.name for file in place.iterdir() if file.suffix != ".txt" and "slow-unit" not in file.name]
        found += len(kinds) + (code != 0)
        print(f"{name}: exit {code}, found {', '.join(kinds) or 'nothing'}", flush=True)
    return int(found > 0)


def _instrumented() -> Any:
    """The loaders, their code made to tell where it has been."""
    import atheris

    sys.path.insert(0, str(SOURCE))
    import fuzz_before  # noqa: F401  # what is not to be instrumented

    with atheris.instrument_imports(include=["widthwise", "zipfile", "numpy.lib", "safetensors"]):
        import fuzz_all
    return fuzz_all


def _fuzz(which: Any, kept: Sequence[bytes], chosen: argparse.Namespace, place: Path) -> None:
    """One loader, its files in ``place``, in this process, which ends within."""
    import atheris

    runs, out = chosen.runs, chosen.out
    corpus, found = out / "corpus" / which.name, out / "found" / which.name
    corpus.mkdir(parents=True, exist_ok=True)
    for data in [*which.inputs(), *kept]:
        (corpus / hashlib.sha1(data).hexdigest()).write_bytes(data)
    harness = _Harness(which, place, found, out / "counts.jsonl", runs)
    with (out / f"{which.name}.log").open("w") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    warnings.simplefilter("ignore")
    _bound_memory()
    signal.signal(signal.SIGPROF, _hang)
    options = [f"-atheris_runs={runs}", f"-max_len={LONGEST}", "-timeout=1200", "-rss_limit_mb=0"]
    options += [f"-max_total_time={chosen.seconds}"] if chosen.seconds else []
    atheris.Setup([sys.argv[0], *options, "-print_final_stats=1", f"-artifact_prefix={found}/", str(corpus)], harness)
    atheris.Fuzz()


def _bound_memory() -> None:
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))


def _hang(*_: object) -> None:
    raise Hang


class _Harness:
    """Loads inputs, counts them, and keeps one of each kind that is refused in another way than it should be."""

    def __init__(self, which: Any, place: Path, found: Path, counts: Path, runs: int) -> None:
        from fuzz_target import attempt

        self._attempt, self._which, self._place, self._found = attempt, which, place, found
        self._counts, self._runs = counts, runs
        self._done, self._refused, self._kinds = 0, 0, set[str]()
        self._began = time.monotonic()

    def __call__(self, data: bytes) -> None:
        signal.setitimer(signal.ITIMER_PROF, PATIENCE)
        try:
            self._refused += self._attempt(self._which, data, self._place) is not None
        except (Exception, Hang) as error:
            self._keep(data, error)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self._done += 1
            if self._done % 1000 == 0 or self._done == self._runs:
                self._count()

    def _keep(self, data: bytes, error: BaseException) -> None:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "widthwise" in f.filename] or [None]
        where = "" if frames[-1] is None else f"{Path(frames[-1].filename).stem}-{frames[-1].lineno}"
        kind = f"{type(error).__name__}-{where}"
        if kind in self._kinds:
            return
        self._kinds.add(kind)
        (self._found / kind).write_bytes(data)
        trace = "".join(traceback.format_exception(error))
        (self._found / f"{kind}.txt").write_text(trace[-4000:], encoding="utf-8", errors="replace")

    def _count(self) -> None:
        line = {
            "name": self._which.name,
            "runs": self._done,
            "refused": self._refused,
            "seconds": round(time.monotonic() - self._began, 1),
            "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "found": sorted(self._kinds),
        }
        rows = [json.loads(row) for row in self._counts.read_text().splitlines()] if self._counts.exists() else []
        rows = [row for row in rows if row.get("process") != os.getpid()] + [line | {"process": os.getpid()}]
        self._counts.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
