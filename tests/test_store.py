"""The store: each run once, all or nothing, nothing of another program's overwritten."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from widthwise.errors import DataError, InputTypeError
from widthwise.store import Store, run_hash


@dataclass(frozen=True)
class Config:
    width: int
    lr: float = 0.1


@dataclass(frozen=True)
class Other:
    width: int
    lr: float = 0.1


@dataclass(frozen=True)
class Holder:
    content: object


def test_a_config_is_named_by_its_content():
    assert run_hash(Config(3)) == run_hash(Config(3, 0.1)) != run_hash(Config(4))
    assert run_hash(Config(3)) != run_hash(Other(3))
    code = (
        "from dataclasses import make_dataclass as m; from widthwise.store import run_hash;"
        "print(run_hash(m('Config', [('width', int), ('lr', float, 0.1)], frozen=True)(3)))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == run_hash(Config(3))


@pytest.mark.parametrize("bad", [3, Config, Config(object()), Config(1, float("nan"))])
def test_only_plain_configs_have_a_name(bad):
    with pytest.raises(InputTypeError, match="config: got"):
        run_hash(bad)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner) | st.builds(Holder, inner),
        max_leaves=9,
    )
)
def test_the_name_is_that_of_a_deep_copy(content):
    config = Holder(content)
    text = json.dumps({"type": "Holder", **asdict(config)}, sort_keys=True)
    assert run_hash(config) == hashlib.sha256(text.encode()).hexdigest()[:32]


def test_results_come_back_and_the_first_stays(tmp_path):
    with Store(tmp_path / "deep" / "r.sqlite") as store:
        store.put("net", [(Config(1), {"test": 0.5}), (Config(2), {"test": 0.25})])
        store.put("net", [(Config(1), {"test": 0.9})])
    with Store(tmp_path / "deep" / "r.sqlite") as store:
        assert store.get(Config(1)) == {"test": 0.5}
        assert store.get(Config(3)) is None
        assert [(c["width"], r["test"]) for c, r in store.all("net")] == [(1, 0.5), (2, 0.25)]
        assert store.all("other") == []


def test_a_batch_is_stored_whole_or_not_at_all(tmp_path):
    with Store(tmp_path / "r.sqlite") as store:
        with pytest.raises(TypeError):
            store.put("net", [(Config(1), {"test": 0.5}), (Config(2), {"test": object()})])
        assert store.get(Config(1)) is None
        store.put("net", [(Config(1), {"test": 0.5})])
        assert store.get(Config(1)) == {"test": 0.5}


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to look like one" * 20, b"x"])
def test_a_file_that_is_no_store_is_refused_and_kept(tmp_path, content):
    path = tmp_path / "r.sqlite"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"r\.sqlite: not a store"):
        Store(path)
    assert path.read_bytes() == content


def test_a_later_version_and_a_foreign_database_are_refused(tmp_path):
    for name, statement in [("later", "PRAGMA user_version = 99"), ("foreign", "CREATE TABLE t (a)")]:
        path = tmp_path / name
        db = sqlite3.connect(path)
        db.execute(statement)
        db.commit()
        db.close()
        before = path.read_bytes()
        with pytest.raises(DataError, match="version 99|another program"):
            Store(path)
        assert path.read_bytes() == before


def test_a_store_of_the_first_version_is_brought_to_this_one(tmp_path):
    path = tmp_path / "r.sqlite"
    db = sqlite3.connect(path)
    db.execute(
        "CREATE TABLE runs (hash TEXT PRIMARY KEY, kind TEXT NOT NULL, config TEXT NOT NULL, result TEXT NOT NULL, "
        "finished REAL NOT NULL)"
    )
    db.execute("CREATE INDEX runs_kind ON runs (kind)")
    db.execute("INSERT INTO runs VALUES (?, 'net', '{}', '{\"test\": 0.5}', 1.0)", (run_hash(Config(1)),))
    db.execute("PRAGMA user_version = 1")
    db.commit()
    db.close()
    for _ in range(2):
        with Store(path) as store:
            assert store.get(Config(1)) == {"test": 0.5}
            assert store.seconds("net")[run_hash(Config(1))] is None
            store.put("net", [(Config(2), {"test": 0.1})], seconds=3.0)
            assert store.seconds("net")[run_hash(Config(2))] == 3.0
    with Store(tmp_path / "new.sqlite") as new, Store(path) as old:
        schema = "SELECT type, name, sql FROM sqlite_master ORDER BY name"
        assert new._db.execute(schema).fetchall() == old._db.execute(schema).fetchall()


def test_an_outer_transaction_keeps_all_or_nothing(tmp_path):
    with Store(tmp_path / "r.sqlite") as store:
        with pytest.raises(DataError), store.transaction():  # noqa: PT012  # what is done before the error counts
            store.put("net", [(Config(1), {"test": 0.5})])
            raise DataError("stop")
        assert store.results("net") == {}


def test_a_store_that_must_exist(tmp_path):
    with pytest.raises(DataError, match=r"r\.sqlite: there is no store"):
        Store.existing(tmp_path / "r.sqlite")
    assert not list(tmp_path.iterdir())


def test_two_processes_may_write_at_once(tmp_path):
    path = tmp_path / "r.sqlite"
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_store import Config; from widthwise.store import Store\n"
        "with Store(sys.argv[2]) as s:\n"
        "    for i in range(40): s.put('net', [(Config(i), {'by': sys.argv[3]})])"
    )
    here = str(Path(__file__).parent)
    workers = [subprocess.Popen([sys.executable, "-c", code, here, str(path), str(i)]) for i in range(2)]
    assert [w.wait() for w in workers] == [0, 0]
    with Store(path) as store:
        assert sorted(c["width"] for c, _ in store.all("net")) == list(range(40))


def test_a_full_disk_is_an_oserror_and_loses_nothing(tmp_path):
    with Store(tmp_path / "r.sqlite") as store:
        store.put("net", [(Config(1), {"test": 0.5})])
        store._db.execute("PRAGMA max_page_count = 1")
        with pytest.raises(OSError, match="full"):
            store.put("net", [(Config(2), {"blob": "x" * 10**6})])
        assert store.get(Config(1)) == {"test": 0.5}
        assert store.get(Config(2)) is None


def counted(path: Path) -> int:
    """Runs in a store as a process sees that opens it, looks and leaves."""
    code = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1])\n"
        "print(*db.execute('SELECT count(*) FROM runs').fetchone()); db.close()"
    )
    command = [sys.executable, "-c", code, str(path)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_a_second_store_of_the_same_process_leaves_the_first_ones_locks(tmp_path):
    """Any close of a file drops the locks a process holds on it; without them others take the log away."""
    path = tmp_path / "r.sqlite"
    with Store(path) as store:
        with Store(path) as other:
            other.put("net", [(Config(1), {})])
        assert counted(path) == 1
        store.put("net", [(Config(2), {})])
        assert counted(path) == 2


def test_many_processes_may_make_the_store_at_once(tmp_path):
    code = (
        "import sys; from widthwise.store import Store; sys.stdin.read()\n"
        "for i in range(30):\n"
        "    for _ in range(2):\n"
        "        with Store(f'{sys.argv[1]}/{i}') as s: s.kinds()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for worker in workers:
        worker.stdin.close()
        worker.stdin = None
    assert [worker.communicate()[1] for worker in workers] == [""] * 3


def test_results_are_in_order_though_the_clock_was_set_back(tmp_path, monkeypatch):
    times = iter([2000.0, 1000.0, 3000.0])
    monkeypatch.setattr("time.time", lambda: next(times))
    with Store(tmp_path / "r.sqlite") as store:
        for width in (3, 1, 2):
            store.put("net", [(Config(width), {})])
        assert [config["width"] for config, _ in store.all("net")] == [3, 1, 2]


def test_a_store_in_a_folder_that_cannot_be_written_can_be_read(tmp_path, monkeypatch):
    path = tmp_path / "r.sqlite"
    with Store(path) as store:
        store.put("net", [(Config(1), {"test": 0.5})])
    monkeypatch.setattr("os.access", lambda *_: False)  # permission bits do not stop a superuser
    with Store.existing(path) as store:
        assert store.get(Config(1)) == {"test": 0.5}
        with pytest.raises(OSError, match="readonly"):
            store.put("net", [(Config(2), {})])
    assert [p.name for p in tmp_path.iterdir()] == ["r.sqlite"]
    monkeypatch.undo()
    with Store(path) as store:
        store.put("net", [(Config(2), {})])
        monkeypatch.setattr("os.access", lambda *_: False)
        with Store.existing(path) as reader:  # the log of a process that writes, or that was killed
            assert reader.get(Config(2)) == {}
