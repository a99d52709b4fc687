"""Extreme eigenvalues against LAPACK on the whole matrix, closed forms, and runs that are killed."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from widthwise import duals
from widthwise.activations import get
from widthwise.data import load
from widthwise.errors import DataError, InputError, InputTypeError
from widthwise.kernels import chernoff_width, extreme_eigenvalues, prepare_rows
from widthwise.kernels.spectrum import PREPARATIONS, cholesky
from widthwise.kernels.spectrum.iterate import inverse_lanczos, refine
from widthwise.kernels.spectrum.limit import LimitKernel


def rows(n=150, d=20, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.rand(n, d, dtype=torch.float64, generator=generator))


def whole(x, activation="relu"):
    kernel = duals.f(activation, (x @ x.T).clamp(-1, 1))
    return kernel.fill_diagonal_(float(duals.f(activation, 1.0)))


def ends(x, activation="relu"):
    return float(torch.linalg.eigvalsh(x.T @ x)[-1]), torch.linalg.eigvalsh(whole(x, activation))


@pytest.mark.parametrize("activation", ["relu", "erf", "sincos", "tanh"])
@pytest.mark.parametrize("tile", [7, 64, 1000])
def test_against_lapack(activation, tile):
    x = rows()
    largest, values = ends(x, activation)
    found = extreme_eigenvalues(x, activation, tile=tile)
    assert found.largest == pytest.approx(largest, rel=1e-12)
    assert found.smallest == pytest.approx(float(values[0]), rel=1e-9)
    assert found.second == pytest.approx(float(values[1]), rel=1e-3)
    assert found.smallest_error <= 1e-6 * found.smallest
    assert found.n == 150


def test_a_factor_in_single_precision_gives_a_result_of_double():
    x = rows(400, 30)
    _, values = ends(x)
    found = extreme_eigenvalues(x, precision="single", tile=128)
    assert abs(found.smallest - float(values[0])) <= 1e-10
    assert found.smallest_error <= 1e-6 * found.smallest


def test_the_residual_bounds_the_error_at_any_tolerance():
    x = rows(200)
    _, values = ends(x)
    for tolerance in (0.3, 1e-2, 1e-4):
        found = extreme_eigenvalues(x, tolerance=tolerance, tile=50)
        assert float((values - found.smallest).abs().min()) <= found.smallest_error + 1e-14
        assert found.smallest >= float(values[0]) - 1e-14


@pytest.mark.slow
def test_against_lapack_on_mnist(shared_data):
    x = prepare_rows(load(shared_data / "mnist").x[:3000])
    largest, values = ends(x)
    for precision in ("double", "single"):
        found = extreme_eigenvalues(x, tile=700, precision=precision)
        assert found.largest == pytest.approx(largest, rel=1e-12)
        assert found.smallest == pytest.approx(float(values[0]), rel=1e-9)


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 40), st.integers(2, 12), st.integers(1, 45), st.integers(0, 2**20))
def test_the_factor_and_the_products_are_those_of_the_kernel(n, d, tile, seed):
    x = rows(n, d, seed)
    cosines = (x @ x.T).fill_diagonal_(0).abs()
    assume(float(cosines.max()) < 1 - 1e-6)  # nearer rows turn a cosine's last bit into more of an angle
    kernel, tiles = LimitKernel(x, get("relu"), tile), cholesky.Tiles(None, x.device)
    true = whole(x)
    v = torch.randn(n, 3, dtype=torch.float64)
    torch.testing.assert_close(kernel.apply(v), true @ v, rtol=0, atol=1e-12)
    if float(torch.linalg.eigvalsh(true)[0]) > 1e-6:
        cholesky.factorise(kernel, tiles, torch.float64, lambda done: None)
        torch.testing.assert_close(true @ cholesky.solve(kernel, tiles, v), v, rtol=0, atol=1e-7)


def test_orthogonal_rows():
    found = extreme_eigenvalues(torch.eye(9, dtype=torch.float64), tile=4)
    assert (found.largest, found.smallest) == pytest.approx((1.0, 0.5), abs=1e-13)
    assert found.kappa() == pytest.approx(2.0)
    assert found.kappa(lipschitz=2.0) == pytest.approx(8.0)
    assert found.width() == chernoff_width(2.0, 9)


def test_lanczos_and_corrections_on_a_known_matrix():
    values = torch.linspace(1, 50, 60, dtype=torch.float64)
    q = torch.linalg.qr(torch.randn(60, 60, dtype=torch.float64))[0]
    matrix = q @ (values[:, None] * q.T)
    found = inverse_lanczos(lambda v: torch.linalg.solve(matrix, v), torch.randn(60, dtype=torch.float64), 3, 1e-9)
    assert abs(float(found[:, 0] @ q[:, 0])) == pytest.approx(1, abs=1e-8)
    torch.testing.assert_close(found.T @ found, torch.eye(3, dtype=torch.float64))
    start = torch.randn(60, 3, dtype=torch.float64)
    low, vectors, residuals = refine(lambda v: matrix @ v, lambda v: v / values.mean(), start, 1e-8, most=60)
    assert float(low[0]) == pytest.approx(1.0, abs=1e-10)
    assert float((matrix @ vectors[:, 0] - low[0] * vectors[:, 0]).norm()) == pytest.approx(
        float(residuals[0]), abs=1e-12
    )


def test_few_products_correct_a_rough_inverse_near_a_cluster():
    n, made = 400, []
    values = torch.cat([torch.linspace(0.015, 0.03, 100), torch.logspace(-1.5, 4, 300)]).double()
    q = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))[0]
    matrix = q @ (values[:, None] * q.T)
    factor = torch.linalg.cholesky(matrix.float() + 2e-4 * torch.eye(n))

    def apply(v):
        made.append(v.shape[1])
        return matrix @ v

    def inverse(v):
        return torch.cholesky_solve(v.float(), factor).double()

    start = inverse_lanczos(inverse, torch.ones(n, dtype=torch.float64), 4, 1e-5)
    low, _, residuals = refine(apply, inverse, start, 1e-6)
    assert float(low[0]) == pytest.approx(float(torch.linalg.eigvalsh(matrix)[0]), rel=1e-6)
    assert float(residuals[0]) <= 1e-6 * 0.015
    assert len(made) <= 10, made  # 7; with depth 1 it is not there after 20


class StopError(Exception):
    pass


@pytest.mark.parametrize("stage", ["factor", "solve", "residual"])
def test_a_killed_run_goes_on_where_it_was(tmp_path, stage, monkeypatch):
    x = rows()
    seen = []

    def stop(done, total, what):
        seen.append(what)
        if what == stage and seen.count(stage) == 3:
            raise StopError

    with pytest.raises(StopError):
        extreme_eigenvalues(x, folder=tmp_path, tile=40, progress=stop)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("tile-*.npy")}
    assert before
    made = []
    original = LimitKernel.tile
    monkeypatch.setattr(LimitKernel, "tile", lambda self, i, j: made.append((i, j)) or original(self, i, j))
    monkeypatch.setattr(LimitKernel, "apply", lambda self, v, progress, kept: whole(x) @ v)
    found = extreme_eigenvalues(x, folder=tmp_path, tile=40, keep=True)
    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("tile-*.npy")}
    assert len(made) == len(after) - len(before) == 10 - len(before)
    assert before.items() <= after.items()
    assert found.smallest == pytest.approx(float(ends(x)[1][0]), rel=1e-9)


@pytest.mark.parametrize("stop_at", [1, 4, 7, 9, 10, 13, 19])
def test_corrections_go_on_where_they_were_killed(tmp_path, stop_at, monkeypatch):
    x, tile = rows(), 40  # four columns of 4, 3, 2 and 1 tiles
    alone = extreme_eigenvalues(x, folder=tmp_path / "a", tile=tile, precision="single")
    made = []
    original = LimitKernel.products

    def products(self, i, j, left, right):
        if len(made) == stop_at:
            raise StopError
        made.append((i, j))
        return original(self, i, j, left, right)

    monkeypatch.setattr(LimitKernel, "products", products)
    with pytest.raises(StopError):
        extreme_eigenvalues(x, folder=tmp_path / "b", tile=tile, precision="single")
    assert len(list((tmp_path / "b").glob("corrections-*.npy"))) == 1
    lost = {1: 1, 4: 0, 7: 0, 9: 0, 10: 0, 13: 3, 19: 0}[stop_at]  # what was added up of an unfinished column
    assert len(made) == stop_at
    stop_at = -1
    assert extreme_eigenvalues(x, folder=tmp_path / "b", tile=tile, precision="single") == alone  # to the last bit
    assert (len(made) - lost) % 10 == 0
    assert not list((tmp_path / "b").glob("corrections-*.npy"))


@pytest.mark.parametrize(
    ("name", "columns", "message"),
    [
        ("4-0-1", 7, "allowed is float64"),
        ("1-2-0", 2, "2 products of 1 vectors"),
        ("0-0-0", 0, "0 products of 0 vectors"),
        ("4-0-5", 8, "5 columns of tiles, allowed is .* 4 columns"),
        ("4-0-1", 8, "NaN"),
    ],
)
def test_damaged_corrections_are_refused(tmp_path, name, columns, message):
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / f"corrections-{name}.npy"
    np.save(path, np.full((150, columns), np.nan))
    with pytest.raises((DataError, InputError), match=message):
        extreme_eigenvalues(rows(), folder=tmp_path / "a", tile=40)


def test_products_that_no_kernel_gives_are_not_blamed_on_the_rows(tmp_path):
    (tmp_path / "a").mkdir()
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(150, 4)))[0]
    np.save(tmp_path / "a" / "corrections-4-4-0.npy", np.concatenate([basis, -basis], axis=1))
    with pytest.raises(DataError, match="damaged, an eigenvalue of what was factorised is negative"):
        extreme_eigenvalues(rows(), folder=tmp_path / "a", tile=40)


@pytest.mark.parametrize("scale", [1e-200, 1e-320])
def test_a_damaged_factor_is_refused(tmp_path, scale):
    folder = tmp_path / "a"
    extreme_eigenvalues(rows(), folder=folder, tile=40, keep=True)
    for name in ("result.json", "vectors.npy"):
        (folder / name).unlink()
    path = folder / "tile-0000-0000.npy"
    np.save(path, np.load(path) * scale)
    with pytest.raises(DataError, match="damaged"):
        extreme_eigenvalues(rows(), folder=folder, tile=40)


def test_a_finished_folder_answers_at_once(tmp_path, monkeypatch):
    x = rows()
    first = extreme_eigenvalues(x, folder=tmp_path, tile=40)
    assert not list(tmp_path.glob("tile-*"))
    monkeypatch.setattr(LimitKernel, "tile", lambda self, i, j: pytest.fail("worked"))
    again = extreme_eigenvalues(x, folder=str(tmp_path), tile=40)
    assert dataclasses.asdict(again) == dataclasses.asdict(first)


def test_a_folder_of_another_task_is_refused(tmp_path):
    extreme_eigenvalues(rows(), folder=tmp_path)
    with pytest.raises(InputError, match=r"folder: .* holds another task \(rows differ\)"):
        extreme_eigenvalues(rows(seed=1), folder=tmp_path)
    with pytest.raises(InputError, match=r"activation, precision, tile differ"):
        extreme_eigenvalues(rows(), "erf", folder=tmp_path, tile=9, precision="single")
    (tmp_path / "task.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="not whole JSON"):
        extreme_eigenvalues(rows(), folder=tmp_path)


def test_progress_grows_to_the_end():
    seen = []
    extreme_eigenvalues(rows(), tile=40, progress=lambda done, total, what: seen.append((what, done / total)))
    factor = [done for what, done in seen if what == "factor"]
    assert factor == sorted(factor)
    assert factor[-1] == 1.0
    assert {what for what, _ in seen} == {"factor", "solve", "residual"}


def test_preparations():
    x = load("digits").x.double()
    flat = x.flatten(1)
    torch.testing.assert_close(prepare_rows(x), flat / flat.norm(dim=1, keepdim=True))
    centred = flat - flat.mean(1, keepdim=True)
    torch.testing.assert_close(prepare_rows(x, "zero-mean"), centred / centred.norm(dim=1, keepdim=True))
    white = prepare_rows(x, "whitened-centred")
    assert white.shape[1] < 64
    for how in PREPARATIONS:
        torch.testing.assert_close(prepare_rows(x, how).norm(dim=1), torch.ones(len(x), dtype=torch.float64))
    # directions of equal weight before the norms are taken: rows times norms have covariance 1
    u = centred - centred.mean(0)
    s = np.linalg.svd(u.numpy(), compute_uv=False)
    assert white.shape[1] == int((s > 1e-5 * s[0]).sum())


@pytest.mark.parametrize("delta", [0.1, 0.5, 0.9])
def test_chernoff_width_meets_both_bounds_and_no_less_does(delta):
    kappa, n, failure = 40.0, 500, 0.02
    m = chernoff_width(kappa, n, delta=delta, failure=failure)

    def tails(m):
        low = n * (math.exp(-delta) / (1 - delta) ** (1 - delta)) ** (m / kappa)
        return low, n * (math.exp(delta) / (1 + delta) ** (1 + delta)) ** (m / kappa)

    assert sum(tails(m)) <= failure
    assert max(tails(m - 1)) > failure / 2


BAD = {
    "x: row 1 has norm 2": lambda x: extreme_eigenvalues(torch.cat([x[:1], 2 * x[:1], x])),
    "allowed is .rows, d. with at least 2 rows": lambda x: extreme_eigenvalues(x[:1]),
    "values are NaN": lambda x: extreme_eigenvalues(x * torch.nan),
    "x: got dtype torch.int64": lambda x: extreme_eigenvalues(x.long()),
    "zero to rounding|kernel is singular": lambda x: extreme_eigenvalues(torch.cat([x, x[:1]])),
    "singular to the precision of torch.float64 .*no two are equal or nearly so$": lambda x: extreme_eigenvalues(
        torch.cat([x, x, x]), "erf"
    ),
    "singular to the precision of torch.float32 .*, or precision='double'": lambda x: extreme_eigenvalues(
        torch.cat([x, x, x]), "erf", precision="single"
    ),
    "precision: got 'half'": lambda x: extreme_eigenvalues(x, precision="half"),
    "tile: got 0": lambda x: extreme_eigenvalues(x, tile=0),
    "tolerance: got 0": lambda x: extreme_eigenvalues(x, tolerance=0.0),
    "allowed is folder=": lambda x: extreme_eigenvalues(x[:1].expand(10**6, -1)),
    "how: got 'raw'": lambda x: prepare_rows(x, "raw"),
    "row 2 is zero": lambda x: prepare_rows(x * (torch.arange(len(x)) != 2)[:, None]),
    "kappa: got 0": lambda x: chernoff_width(0.0, 5),
    "delta: got 1": lambda x: chernoff_width(1.0, 5, delta=1.0),
    "failure: got 0": lambda x: chernoff_width(1.0, 5, failure=0.0),
    "lipschitz: got -1": lambda x: extreme_eigenvalues(x).kappa(-1.0),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_refused(message):
    with pytest.raises((InputError, InputTypeError), match=message):
        BAD[message](rows(12, 5))


def test_no_room_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(InputError, match="folder: the factor takes"):
        extreme_eigenvalues(rows(), folder=tmp_path)
