"""Files made to do harm, one a test: what the fuzzer found, and what no fuzzer finds."""

from __future__ import annotations

import io
import json
import sqlite3
import struct
import tracemalloc
import zipfile
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from fuzz_folders import _ROWS, _spectrum
from safetensors.torch import save, save_file
from torch import nn

from widthwise import checkpoint
from widthwise._arrayfile import read_array
from widthwise.comparison.rows import check_result
from widthwise.compression.linearfile import LinearFile
from widthwise.data import idx, load
from widthwise.data.arrays import from_arrays
from widthwise.data.registry import register
from widthwise.errors import DataError, InputError, InputTypeError
from widthwise.kernels import extreme_eigenvalues
from widthwise.masks import Mask
from widthwise.models import mlp
from widthwise.report.runs import report_runs
from widthwise.sparse.calibration import _read
from widthwise.store import Store
from widthwise.sweep import read_plan, results
from widthwise.sweep.claims import Claims, State
from widthwise.tracking.tensorboard import TensorBoardTracker
from widthwise.training.ranks import Ranks
from widthwise.training.saved import Point, Saver


@dataclass(frozen=True)
class Config:
    width: int


def edited(path, change):
    """The header of one of our safetensors files after a change, its tensors as they are."""
    raw = path.read_bytes()
    end = 8 + struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8:end])
    (kind,) = head["__metadata__"]
    header = json.loads(head["__metadata__"][kind])
    change(header)
    head["__metadata__"][kind] = json.dumps(header)
    text = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[end:])
    return path


@pytest.mark.parametrize("name", ["../../out", "/etc/out", "..", "a/../../out", "\0", ""])
def test_names_of_runs_and_data_sets_are_no_paths(tmp_path, name):
    pytest.importorskip("tensorboard")
    tracker = TensorBoardTracker(tmp_path / "in" / "runs")
    with tracker.run(name, {name: 1}) as run:
        run.log(0, {name or "a": 1.0})
    made = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert made
    assert all(file.resolve().is_relative_to(tmp_path / "in" / "runs") for file in made)
    with pytest.raises(InputError):
        register(name)


def test_an_idx_file_of_no_images_of_any_size(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(struct.pack(">BBBBIII", 0, 0, 8, 3, 0, 2**32 - 1, 2**32 - 1))
    with pytest.raises(DataError, match="empty"):
        idx.read_array(path, 3)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("code", [0x110000, 0xFFFFFFFF, 0xD800])
def test_text_of_characters_that_do_not_exist(order, code):
    text = np.array([code, 65], dtype=f"{order}u4").view(f"{order}U1")
    with pytest.raises(DataError, match="characters"):
        from_arrays("toy", np.ones((2, 1)), text)
    assert from_arrays("toy", np.ones((2, 1)), np.array(["a", "\U0001f600"], f"{order}U1")).classes == (
        "a",
        "\U0001f600",
    )


def test_members_of_an_archive_are_read_by_name_and_never_written(tmp_path):
    """No name leads out of an archive: nothing is unpacked to the disk."""
    path, out = tmp_path / "data.npz", io.BytesIO()
    np.save(out, np.arange(2))
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("../x.npy", "/etc/x.npy", "..\\x.npy", "x.npy", "y.npy"):
            archive.writestr(name, out.getvalue())
    with pytest.raises(DataError):
        load(path)  # x is no matrix
    assert [file.name for file in tmp_path.rglob("*")] == ["data.npz"]
    assert not (tmp_path.parent / "x.npy").exists()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.complex64])
def test_a_mask_of_numbers_that_numpy_does_not_have(tmp_path, dtype):
    path = tmp_path / "m.safetensors"
    metadata = {"widthwise.mask": json.dumps({"version": 1, "shapes": {"w": [1]}})}
    save_file({"w": torch.zeros(1).to(dtype)}, path, metadata)
    with pytest.raises(DataError, match="bits of its shape"):
        Mask.load(path)


@pytest.mark.parametrize("shape", [[0, 2**62], [0, 2**40, 2**40], [1] * 65, [0], [2**70, 0]])
def test_a_mask_of_shapes_beyond_reason(tmp_path, shape):
    path = tmp_path / "m.safetensors"
    packed = torch.zeros(1 if 0 not in shape else 0, dtype=torch.uint8)
    save_file({"w": packed}, path, {"widthwise.mask": json.dumps({"version": 1, "shapes": {"w": shape}})})
    with pytest.raises(DataError):
        Mask.load(path)


def test_a_tensor_of_a_size_beyond_63_bits(tmp_path):
    head = json.dumps({"w": {"dtype": "F32", "shape": [0, 2**64 - 1], "data_offsets": [0, 0]}}).encode()
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(head)) + head)
    with pytest.raises(DataError):
        LinearFile.read(path)
    with pytest.raises(DataError):
        Mask.load(path)


@pytest.mark.parametrize("aliases", [{"a": ["0.weight"]}, {"a": {}}, {"a": 3}])
def test_aliases_that_are_no_names(tmp_path, aliases):
    path = tmp_path / "m.safetensors"
    checkpoint.save(mlp(2, 2, width=2), path)
    with pytest.raises(DataError, match="aliases"):
        checkpoint.load(edited(path, lambda header: header.update(aliases=aliases)))


def test_a_model_whose_depth_takes_memory_its_file_does_not_have(tmp_path):
    """Without memory for weights, since they would not fit; but half a million layers are large by themselves."""
    path = tmp_path / "m.safetensors"
    checkpoint.save(mlp(1000, 1000, width=1000), path)
    made = []
    hook = nn.modules.module.register_module_parameter_registration_hook(lambda *found: made.append(found[1]))
    try:
        with pytest.raises(DataError, match="more than"):
            checkpoint.load(edited(path, lambda header: header["model"][1].update(depth=999_999)))
    finally:
        hook.remove()
    assert len(made) < 1000


@pytest.mark.parametrize(
    "recipe", [["mlp", {"activation": []}], ["_bottlenecks", {"network": "mlp"}], ["mlp", 3], [[], {}]]
)
def test_recipes_that_build_nothing(tmp_path, recipe):
    path = tmp_path / "m.safetensors"
    checkpoint.save(mlp(2, 2, width=2), path)
    with pytest.raises(DataError, match="cannot rebuild"):
        checkpoint.load(edited(path, lambda header: header.update(model=recipe)))


def test_weights_of_a_kind_that_cannot_be_copied(tmp_path):
    model, path = nn.Linear(2, 2, bias=False), tmp_path / "m.safetensors"
    header = {"version": 1, "widthwise": "0", "model": None, "aliases": {}, "about": {}}
    raw = save({"weight": torch.zeros(4, dtype=torch.uint8)}, {"widthwise.model": json.dumps(header)})
    path.write_bytes(raw.replace(b'"dtype":"U8","shape":[4]', b'"dtype":"F4","shape":[2,4]'))
    with pytest.raises((DataError, InputError)):
        checkpoint.load(path, model)


@pytest.mark.parametrize("name", ["a²", "a" + "9" * 5000, "0", "1.2.3"])
def test_layers_of_any_name(tmp_path, name):
    path = tmp_path / "m.safetensors"
    save_file({f"{name}.weight": torch.ones(2, 2), "b.weight": torch.ones(2, 2)}, path)
    assert set(LinearFile.read(path).layers) == {name, "b"}


def test_layers_stand_in_the_order_of_their_numbers(tmp_path):
    path = tmp_path / "m.safetensors"
    save_file({f"l{n}.weight": torch.ones(2, 2) for n in ("10", "9", "002", "100")}, path)
    assert LinearFile.read(path).layers == ["l002", "l9", "l10", "l100"]


def saver(path):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return Saver(path, 0, "task", Ranks()), model, optimizer, torch.amp.GradScaler(enabled=False)


@pytest.mark.parametrize(
    "change", [{"curve": [1]}, {"curve": [[1, "a"]]}, {"epoch": -1}, {"step": -3}, {"curve": [[1.5, 0.5]]}]
)
def test_a_checkpoint_of_another_hand(tmp_path, change):
    path = tmp_path / "c.safetensors"
    writer, *state = saver(path)
    writer.maybe(Point(1, 2, [(1, float("nan"))]), *state, always=True)
    assert writer.restore(*state).epoch == 1  # one that diverged can be read
    with pytest.raises(DataError, match="damaged"):
        edited(path, lambda header: header.update(change)) and writer.restore(*state)


def test_a_checkpoint_of_another_shape(tmp_path):
    path = tmp_path / "c.safetensors"
    writer, model, optimizer, scaler = saver(path)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    writer.maybe(Point(), model, optimizer, scaler, always=True)
    path.write_bytes(path.read_bytes().replace(b'"shape":[2,2]', b'"shape":[4]  '))
    with pytest.raises(DataError, match="damaged"):
        writer.restore(model, optimizer, scaler)


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE runs; CREATE VIEW runs AS WITH RECURSIVE n(hash, kind) AS (SELECT 'a', 'sweep' UNION ALL SELECT "
        "hash || 'a', kind FROM n) SELECT hash, kind, '{}' config, '{}' result, 0 finished, 0 seconds FROM n",
        "CREATE TRIGGER t AFTER INSERT ON claims BEGIN DELETE FROM runs; END",
        "CREATE INDEX i ON runs (hex(randomblob(1000000000)))",
        "PRAGMA user_version = -1",
    ],
)
def test_a_store_that_runs_something(tmp_path, statement):
    """A view that never ends, a trigger that deletes, an index that takes memory: refused before anything is read."""
    path = tmp_path / "results.sqlite"
    Store(path).close()
    with closing(sqlite3.connect(path)) as db:
        try:
            db.executescript(statement)
        except sqlite3.OperationalError:  # some SQLites make no such index
            db.executescript("CREATE TABLE other (a)")
    with pytest.raises(DataError):
        results(tmp_path)
    with pytest.raises(DataError):
        report_runs([path])


@pytest.mark.parametrize("text", ["", "3", "[1]", "{", "[" * 100_000, None, b"\xff"])
def test_a_run_that_is_not_what_was_stored(tmp_path, text):
    path = tmp_path / "results.sqlite"
    with Store(path) as store:
        store.put("sweep", [(Config(1), {"a": 1})])
        store.transaction()
        with store.transaction() as db:
            db.execute("PRAGMA ignore_check_constraints = 1")
            db.execute("UPDATE runs SET result = ?", (text if text is not None else "null",))
        for read in (lambda: store.get(Config(1)), lambda: store.all("sweep"), lambda: store.results("sweep")):
            with pytest.raises(DataError):
                read()
    with pytest.raises(DataError):
        results(tmp_path)


@pytest.mark.parametrize("owner", ["", "a", "a/b", "///", f"x/{'9' * 30}/1", b"\0"])
def test_a_claim_by_nobody(tmp_path, owner):
    with Store(tmp_path / "s.sqlite") as store:
        with store.transaction() as db:
            db.execute("INSERT INTO claims VALUES ('run', ?, 9e99)", (owner if isinstance(owner, str) else "\0",))
        assert Claims(store, 0).take("run") is State.ELSEWHERE
        with store.transaction() as db:
            db.execute("UPDATE claims SET until = 'text'")
        assert Claims(store, 0).take("run") is State.OURS


@pytest.mark.parametrize(
    "result",
    [None, {}, {"test": "a"}, {"test": 1, "validation": 1, "measured": None, "layers": 1, "notes": [], "curve": []}],
)
def test_a_result_of_a_comparison_by_somebody_else(tmp_path, result):
    with pytest.raises(DataError, match="remove the store"):
        check_result(tmp_path, result)


@pytest.mark.parametrize(
    "text",
    [
        "seeds = " + "9" * 5000,
        "a = " + "[" * 5000,
        'run = "train"\nseeds = 1000000000000',
        'run = "train"\n[grid]\n' + "\n".join(f"{name} = {list(range(1000))}" for name in ("width", "seed", "lr")),
        'run = ".:f"',
        'run = "..a:f"',
        'run = "builtins:dict"',
        'run = "x\\u0000.py:f"',
        f'run = "train"\nfixed.a = {"[" * 900}{"]" * 900}',
    ],
)
def test_configs_of_sweeps_beyond_reason(tmp_path, text):
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises((InputError, InputTypeError, OSError)):
        read_plan(path)


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", "[" * 100_000, '{"n": 3}', '{"n": 3, "largest": "1"}', "\ud800".encode("utf-8", "surrogatepass")],
)
def test_a_spectrum_of_another_hand(tmp_path, content):
    _spectrum(tmp_path)
    content = content.encode() if isinstance(content, str) else content
    for name in ("result.json", "task.json"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError):
            extreme_eigenvalues(_ROWS, folder=tmp_path, tile=2)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_a_header_of_gigabytes_is_not_waited_for(tmp_path, version):
    """NumPy asks for as many bytes as a header says it has, which a file object makes room for at once."""
    path, width = tmp_path / "a.npy", 2 if version == (1, 0) else 4
    path.write_bytes(b"\x93NUMPY" + bytes(version) + b"\xff" * width + b"{")
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="header declares"):
            read_array(path, (None,), np.float64)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["vectors.npy", "tile-0000-0000.npy", "tile-0001-0000.npy"])
@pytest.mark.parametrize(
    "array", [np.array([None]), np.ones((7, 7)), np.ones(3), np.ones((3, 1), "f2"), np.ones((0, 3)), "zip", b"", None]
)
def test_tiles_of_another_hand(tmp_path, name, array):
    _spectrum(tmp_path)
    for other in ("result.json", "vectors.npy"):
        (tmp_path / other).unlink()
    out = io.BytesIO()
    if array is None:  # many more numbers than the file has
        np.lib.format.write_array_header_1_0(out, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 2**20)})
    elif isinstance(array, str):
        np.savez(out, x=np.ones(3))
    elif not isinstance(array, bytes):
        np.save(out, array, allow_pickle=True)
    (tmp_path / name).write_bytes(out.getvalue())
    with pytest.raises(DataError, match=name):
        extreme_eigenvalues(_ROWS, folder=tmp_path, tile=2)


@pytest.mark.parametrize(
    "text", ["[]", "{", "{}", '{"batches": []}', "[" * 100_000, '{"batches": [1, 8, 32, 128], "forward": 1}']
)
def test_costs_of_another_hand(tmp_path, text):
    path = tmp_path / "costs.json"
    path.write_text(text)
    with pytest.raises(DataError):
        _read(path, (1, 8, 32, 128))
