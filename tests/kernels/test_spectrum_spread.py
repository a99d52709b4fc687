"""Tiles worked out by several workers: the same result to the last bit, and failures with their cause."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from widthwise.errors import InputError
from widthwise.kernels import extreme_eigenvalues


def rows(n: int = 70, d: int = 9) -> torch.Tensor:
    return functional.normalize(
        torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), dim=1
    )


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.npy")}


def same_everywhere(tmp_path: Path, **workers: object) -> None:
    """Result, factor and vectors; some tiles left by a run that was killed."""
    alone = extreme_eigenvalues(rows(), tile=20, folder=tmp_path / "alone", keep=True)
    (tmp_path / "many").mkdir()
    for left in ("task.json", "tile-0000-0000.npy", "tile-0002-0000.npy", "tile-0003-0001.npy"):
        shutil.copy(tmp_path / "alone" / left, tmp_path / "many")
    assert extreme_eigenvalues(rows(), tile=20, folder=tmp_path / "many", keep=True, **workers) == alone
    assert files(tmp_path / "many") == files(tmp_path / "alone")


def test_processes_give_the_same_bits(tmp_path):
    same_everywhere(tmp_path, jobs=2)


@pytest.mark.slow
def test_ray_gives_the_same_bits(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed", exc_type=ImportError)
    same_everywhere(tmp_path, jobs=2, ray="local")


def test_workers_need_a_folder():
    with pytest.raises(InputError, match="allowed is folder="):
        extreme_eigenvalues(rows(), jobs=2)


def test_equal_rows_are_refused(tmp_path):
    equal = rows()
    equal[1] = equal[0]
    with pytest.raises(InputError, match="singular|equal"):
        extreme_eigenvalues(equal, tile=20, folder=tmp_path / "a", jobs=1)
