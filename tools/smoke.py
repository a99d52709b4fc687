"""Build the wheel and the sdist, install each into an empty environment, and use it without the repository.

``python tools/smoke.py`` needs the package ``build`` and some minutes. ``--offline`` borrows the libraries of the
Python that runs it instead of downloading them; widthwise itself is installed afresh either way.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[1]
USE = """
import pathlib, sys
import torch
import widthwise as ww
assert pathlib.Path(sys.argv[1]).resolve() not in pathlib.Path(ww.__file__).resolve().parents, ww.__file__
assert (pathlib.Path(ww.__file__).parent / "py.typed").is_file()
model = ww.models.mlp(64, 10, width=32)
x, y = torch.randn(64, 64), torch.randint(10, (64,))
mask = ww.prune(model, 0.9, "snip", data=(x, y), loss=torch.nn.functional.cross_entropy)
assert mask.kept == round(0.1 * mask.total)
ww.save(model, "model.safetensors")
again = ww.load("model.safetensors")
assert torch.equal(again(x), model.eval()(x))
fast = ww.sparsify(again, policy="always")
torch.testing.assert_close(fast(x), model(x))
print("widthwise", ww.__version__, "works in", sys.prefix)
"""


def main() -> None:
    """Build, install and use both; the first failure ends it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--offline", action="store_true", help="borrow the libraries of this Python")
    offline = parser.parse_args().offline
    with tempfile.TemporaryDirectory(prefix="widthwise-smoke-") as name:
        folder = Path(name)
        for path in built(folder / "dist", isolated=not offline):
            use(path, folder / path.suffix.strip("."), offline)


def built(folder: Path, *, isolated: bool) -> list[Path]:
    """The sdist, and the wheel that is made of it, in ``folder``."""
    run([sys.executable, "-m", "build", "--outdir", folder, *([] if isolated else ["--no-isolation"]), ROOT], ROOT)
    found = sorted(folder.iterdir())
    assert [path.suffix for path in found] == [".whl", ".gz"], found
    return found


def use(path: Path, folder: Path, offline: bool) -> None:
    """Install one file into an environment of its own, and use it from an empty folder."""
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    alone = ["--no-deps", "--no-build-isolation"] if offline else ["--constraint", ROOT / "constraints.txt"]
    if offline:
        borrow(python)
    run([python, "-m", "pip", "install", "--quiet", *alone, path], folder)
    (folder / "empty").mkdir()
    run([python, "-c", USE, ROOT], folder / "empty")
    for arguments in (["--version"], ["data"], ["prune", "mlp", "--sparsity", "0.9", "--out", "pruned"]):
        run([python, "-m", "widthwise", *arguments], folder / "empty")
    assert (folder / "empty" / "pruned" / "model.safetensors").is_file()


def borrow(python: Path) -> None:
    """Let an environment see this one's libraries, after its own."""
    inside = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    ).strip()
    (Path(inside) / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")


def run(command: list[str | Path], folder: Path) -> None:
    """Run a command without this shell's Python path."""
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([str(part) for part in command], cwd=folder, check=True, env=clean)


if __name__ == "__main__":
    main()
