"""Every loader on hostile files: what is kept of long runs of the fuzzer, and a few hundred new ones each time."""

from __future__ import annotations

import ast
import re
import warnings
from functools import cache
from pathlib import Path

import fuzz_all
import pytest
from fuzz_target import TARGETS, attempt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import widthwise

SOURCE = Path(widthwise.__file__).parent
SLOW = {"parquet", "results", "spectrum", "store"}
TOKENS = [
    b"0",
    b"-1",
    b"9" * 20,
    b"9" * 5000,
    b"1e400",
    b"NaN",
    b"null",
    b"[]",
    b"{}",
    b'""',
    b"[" * 2000,
    b"\xff",
    b"\0",
]
TOKENS += [b"true", b'"F4"', b'"BF16"', b'"C64"', b'"U8"', b"18446744073709551615", "²".encode(), b"\n"]


@cache
def valid(name: str) -> list[bytes]:
    return TARGETS[name].inputs()


@st.composite
def mutations(draw: st.DrawFn, name: str) -> bytes:
    """A valid file with a few bytes, a number or a piece changed, repeated, cut out or taken from another."""
    data = bytearray(draw(st.sampled_from(valid(name))))
    for _ in range(draw(st.integers(1, 3))):
        low, high = sorted(draw(st.tuples(st.integers(1, max(1, len(data))), st.integers(1, max(1, len(data))))))
        kind = draw(st.sampled_from(("cut", "bytes", "token", "value", "repeat", "other", "end")))
        values = [found.span() for found in re.finditer(rb'-?\d+(\.\d+)?|"[^"]*"|true|false|null', bytes(data))]
        if kind == "cut":
            del data[low : min(high, low + 8)]
        elif kind == "bytes":
            data[low : low + 4] = draw(st.binary(max_size=4))
        elif kind == "token":
            data[low:low] = draw(st.sampled_from(TOKENS))
        elif kind == "value" and values:
            start, stop = draw(st.sampled_from(values))
            data[max(1, start) : stop] = draw(st.sampled_from(TOKENS))
        elif kind == "repeat":
            data[low:low] = data[low : min(high, low + 64)]
        elif kind == "other":
            data[low:high] = draw(st.sampled_from(valid(name)))[low:high]
        else:
            del data[low:]
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_kept_is_loaded_or_refused(name, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inputs = [*valid(name), *fuzz_all.corpus(name)]
        accepted = [attempt(TARGETS[name], data, tmp_path) is None for data in inputs]
    assert any(accepted[: len(valid(name))]), "no valid file is loaded: the fuzzer would see the first check only"


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_mutated_is_loaded_or_refused(name, tmp_path):
    @settings(deadline=None, max_examples=60 if name in SLOW else 250, suppress_health_check=list(HealthCheck))
    @given(mutations(name))
    def check(data: bytes) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            attempt(TARGETS[name], data, tmp_path)

    check()


def test_the_watch_over_loaders_sees_what_it_should(tmp_path):
    """The fuzzer's oracle: unpickling, programs and files elsewhere, even where the error is swallowed as expected."""
    import pickle
    from collections import OrderedDict

    from fuzz_target import Target

    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "mine").mkdir()
    bad = [
        lambda data, folder: pickle.loads(pickle.dumps(OrderedDict())),
        lambda data, folder: elsewhere.write_text("x"),
        lambda data, folder: (_ for _ in ()).throw(ValueError("not ours")),
    ]
    for dialect in bad:
        with pytest.raises((AssertionError, ValueError)):
            attempt(Target("bad", [dialect], list, (OSError,)), b"0", tmp_path / "mine")
    assert not elsewhere.exists()


def test_nothing_in_the_source_unpickles_or_evaluates():
    """Processes that we start are the only ones to be sent pickles, through pipes without a name."""
    forbidden = {"pickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml"}
    calls, built_in = {"load": {"torch"}, "loads": {"pickle", "marshal"}}, {"eval", "exec", "compile", "__import__"}
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            place = f"{path.relative_to(SOURCE)}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                found += [(place, name) for name in names if name.partition(".")[0] in forbidden]
            elif isinstance(node, ast.Call):
                function = node.func
                owner = getattr(getattr(function, "value", None), "id", "")
                name = getattr(function, "attr", getattr(function, "id", ""))
                if owner in calls.get(name, ()) or (name in built_in and isinstance(function, ast.Name)):
                    found.append((place, name))
                if name == "load" and owner == "np":
                    found += [] if _keyword(node, "allow_pickle") is False else [(place, "np.load")]
                if name in ("recv", "Listener", "Client"):
                    found.append((place, name))
    assert {place for place, _ in found} == {"executor/local.py"}
    assert {name for _, name in found} == {"pickle", "loads", "recv"}
    text = (SOURCE / "executor" / "local.py").read_text(encoding="utf-8")
    assert text.count("pickle.loads(") == text.count("pickle.loads(message)  # of our own parent") == 1
    assert "_context.Pipe()" in text  # a pair of sockets without an address: nobody else can send to it


def _keyword(call: ast.Call, name: str) -> object:
    return next((k.value.value for k in call.keywords if k.arg == name and isinstance(k.value, ast.Constant)), None)
