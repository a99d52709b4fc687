"""Experiments in parts: each is shown on a bar and kept when done, so that a stopped experiment goes on from there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from widthwise._atomic import made_folder
from widthwise._locks import shared
from widthwise.store import Store, run_hash

__all__ = ["Watch", "in_parts", "kept_in", "tell", "unfinished"]

Watch = Callable[[float, float, str], None]
"""Told how many parts are done, of how many, and what they are."""

C = TypeVar("C")


@dataclass(frozen=True)
class _Keeper:
    path: Path
    store: Store
    watch: Watch | None


_keeper: ContextVar[_Keeper | None] = ContextVar("widthwise_experiment", default=None)


@contextmanager
def kept_in(path: Path, watch: Watch | None = None) -> Iterator[None]:
    """Within it, parts are kept in a file, which is removed when all went well, with all named after it.

    Of several processes that use the file at the same time, the last one removes it.
    """
    made_folder(path.parent)
    with shared(path.with_name(f"{path.name}-lock")) as alone:
        with Store(path) as store:
            token = _keeper.set(_Keeper(path, store, watch))
            try:
                yield
            finally:
                _keeper.reset(token)
        if alone():
            for left in (path, *path.parent.glob(f"{path.name}-*"), *path.parent.glob(f".{path.name}-*")):
                left.unlink(missing_ok=True)


def in_parts(what: str, configs: Sequence[C], run: Callable[[C], Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What ``run`` gives for each config, those found not run again.

    Args:
        what: the parts are, for the bar.
        configs: frozen dataclasses of JSON values, which hold all that the result depends on.
        run: from one of them to JSON values.
    """
    keeper, results = _keeper.get(), []
    for done, config in enumerate(configs):
        if keeper is not None and keeper.watch is not None:
            keeper.watch(done, len(configs), what)
        found = None if keeper is None else keeper.store.get(config)
        if found is None:
            found = json.loads(json.dumps(run(config)))
            if keeper is not None:
                keeper.store.put(what, [(config, found)])
        results.append(found)
    return results


def unfinished(config: Any) -> Path | None:
    """Where a long part may keep what it has; ``None`` where nothing is kept."""
    keeper = _keeper.get()
    return None if keeper is None else keeper.path.with_name(f"{keeper.path.name}-{run_hash(config)}")


def tell(done: float, total: float, what: str) -> None:
    """Show on the bar how far a long part is."""
    keeper = _keeper.get()
    if keeper is not None and keeper.watch is not None:
        keeper.watch(done, total, what)
