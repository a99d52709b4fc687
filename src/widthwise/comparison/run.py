"""The main job: train every way of spending a weight budget, and say which is best and why."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from widthwise import data as datasets
from widthwise._atomic import made_folder
from widthwise._locks import alone, elsewhere
from widthwise.checkpoint import save
from widthwise.comparison.execute import Watch, execute
from widthwise.comparison.findings import findings
from widthwise.comparison.group import Workplace
from widthwise.comparison.plan import Architecture, Plan, base_width_for
from widthwise.comparison.result import Comparison
from widthwise.comparison.rows import check_result, rows_of
from widthwise.comparison.tracking import tell
from widthwise.comparison.ways import last_layer
from widthwise.comparison.winner import load_winner
from widthwise.data import Splits
from widthwise.environment import machine
from widthwise.errors import InputError, InputTypeError, check_integer, check_number
from widthwise.models import mlp
from widthwise.store import Store
from widthwise.tracking import Tracker
from widthwise.training import TrainConfig
from widthwise.training.objective import objective_of

__all__ = ["compare", "perceptron"]

DEFAULT_BASE_WIDTH = 3


def compare(
    data: Any = "digits",
    build: Callable[[int], nn.Module] | None = None,
    *,
    budget: int | None = None,
    base_width: int | None = None,
    factors: Sequence[float] = (2, 4, 8, 16, 32),
    methods: Sequence[str] = ("dense", "sparse", "magnitude", "snip"),
    seeds: int = 5,
    train: TrainConfig | None = None,
    depth: int = 1,
    activation: str = "relu",
    scopes: Mapping[str, str] | None = None,
    last_layer_connectivity: Sequence[float] = (),
    target: str | None = None,
    standardize: str | None = None,
    validation: float = 0.2,
    out: str | os.PathLike[str] | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    jobs: int | None = None,
    watch: Watch | None = None,
    track: Tracker | None = None,
) -> Comparison:
    """Find the best way of spending a budget of weights on a data set.

    Trains the dense network whose width meets the budget, and at each wider width: a randomly sparse network and
    networks pruned at initialization, all of exactly as many weights, and the dense network for comparison; each
    with several seeds. Networks of one width are trained together, as one computation. Before training, the
    distance of each network's kernel from its infinite-width limit is predicted and measured. Rows are ranked by
    their mean on a validation set; the reported metric is that of a test set the ranking never saw.

    Args:
        data: a name (:func:`widthwise.data.names`), a path, a :class:`~widthwise.data.Dataset`, a pair ``(x, y)``,
            or a finite loader of such pairs.
        build: your own factory from a width to a module; by default a perceptron with ``depth`` hidden layers.
        budget: number of weights; some width must meet it exactly. By default that of ``base_width`` 3.
        base_width: width of the dense baseline, instead of a budget.
        factors: widening factors; above 32 no width may exceed the number of weights.
        methods: ``"dense"``, ``"sparse"``, ``"linear_bottleneck"``, ``"nonlinear_bottleneck"``, and names of pruning
            scores. A width at which a method would leave a unit less than one weight is left out; the findings say so.
        seeds: networks of each kind.
        train: epochs, batch size, learning rate.
        depth: hidden layers of the perceptron.
        activation: its activation.
        scopes: how a score's weights are shared out among layers (``"global"``, ``"uniform"``, ``"erk"``,
            ``"balanced"``); magnitude is balanced unless said otherwise, since its global scores would compare
            the layers' initial scales, every other score global.
        last_layer_connectivity: for each value a family of sparse networks that keep so much of the last layer, the
            rest of the weights balanced over the others; widths that it does not allow are left out.
        target: the target column of a table.
        standardize: ``"global"``, ``"pixel"`` or ``"none"``; by default ``"global"``, or ``"none"`` for your own
            module.
        validation: share of the training examples set aside to rank by, above 0.
        out: folder for ``results.sqlite`` and ``model.safetensors``; finished runs found there are not run again,
            an unfinished one goes on, and another process that works on it is waited for. Without it nothing is kept.
        device: where to train.
        dtype: ``"float32"`` or ``"float64"``.
        jobs: groups of networks trained at the same time, each in a process of its own; by default one a core where
            the work is worth it. It never changes a result.
        watch: called as ``watch(done, total, what)`` while training, in units of estimated cost; the total is
            infinite while another process is waited for.
        track: told of every row at the end, with its training curve.

    Returns:
        The rows, the findings and the best network.

    Raises:
        InputError: for an argument that is not allowed, or data that cannot be used.
        OSError: if the output folder cannot be written.
    """
    _check_device(device)
    if jobs is not None:
        check_integer("jobs", jobs, 1)
    dataset = datasets.load(_gathered(data), target=target)
    chosen = standardize or ("global" if build is None else "none")
    check_number("validation", validation, 0, 1, low_open=True, high_open=True)
    splits = datasets.split(dataset, standardize=chosen, validation=validation)
    objective_of(splits)  # refuses parts by which nothing can be judged
    architecture = perceptron(splits, depth, activation) if build is None else Architecture.of(build)
    _check_fits(architecture, splits)
    if budget is None and base_width is None:
        base_width = DEFAULT_BASE_WIDTH
    plan = Plan(
        architecture=architecture,
        base_width=base_width_for(architecture, budget, base_width),
        factors=tuple(factors),
        methods=(*methods, *map(last_layer, last_layer_connectivity)),
        seeds=seeds,
        train=train or TrainConfig(),
        scopes=tuple(sorted({"magnitude": "balanced", **(scopes or {})}.items())),
        dtype=dtype,
    )
    watch = watch or _silent
    with _folder(out, watch) as folder:
        began = time.monotonic()
        place = Workplace(folder)
        execute(plan, splits, place, jobs=jobs, device=device, watch=watch)
        seconds = time.monotonic() - began
        found = _concluded(plan, splits, place, seconds, {"standardize": chosen, "device": device})
    if track is not None:
        tell(track, found)
    return found


@dataclass(frozen=True)
class _Perceptron:
    """From a width to a perceptron; a class, so that processes can pass it on."""

    in_features: int
    out_features: int
    depth: int
    activation: str

    def __call__(self, width: int) -> nn.Module:
        return mlp(self.in_features, self.out_features, width=width, depth=self.depth, activation=self.activation)


def perceptron(splits: Splits, depth: int, activation: str) -> Architecture:
    """Perceptrons of every width for some data."""
    build = _Perceptron(splits.train[0][0].numel(), splits.n_outputs, depth, activation)
    name = f"mlp/{build.in_features}-{build.out_features}/depth {depth}/{activation}"
    return Architecture(name, build, depth, activation)


def _check_fits(architecture: Architecture, splits: Splits) -> None:
    """Refuse a factory whose networks do not take these examples or have too few outputs, before any is trained."""
    x = splits.train[0][:2]
    with torch.random.fork_rng([]), torch.no_grad():
        model = architecture.build(2).to(x.dtype).eval()
        try:
            y = model(x)
        except (RuntimeError, TypeError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise InputError(
                f"build: its network of width 2 fails on an x of shape {tuple(x.shape)}: {reason}"
            ) from error
    wanted = f"({len(x)}, {splits.n_outputs})"
    if not isinstance(y, Tensor):
        raise InputTypeError(f"build: its network gives {type(y).__name__}, allowed is a tensor of shape {wanted}")
    enough = y.dim() == 2 and (y.shape[1] == splits.n_outputs or splits.task == "classification")
    if not enough or y.shape[1] < splits.n_outputs:
        raise InputError(
            f"build: its network's output has shape {tuple(y.shape)}, allowed is {wanted} for {len(x)} examples"
        )


def _gathered(data: Any) -> Any:
    """A loader's batches as one pair; anything else as it is."""
    if not isinstance(data, DataLoader):
        return data
    batches = list(_in_order(data))
    if not batches or not all(isinstance(batch, tuple | list) and len(batch) == 2 for batch in batches):
        raise InputTypeError("data: got a loader without batches of (x, y), allowed is one that gives such pairs")
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


def _in_order(loader: DataLoader[Any]) -> DataLoader[Any]:
    """The same examples unshuffled, so that the same data are known again."""
    if isinstance(loader.dataset, IterableDataset):
        return loader
    return DataLoader(loader.dataset, loader.batch_size or 1, collate_fn=loader.collate_fn)


@contextmanager
def _folder(out: str | os.PathLike[str] | None, watch: Watch) -> Iterator[Path]:
    """The output folder, which no other process works on meanwhile."""
    if out is not None:
        folder = made_folder(out)
        with alone(folder / ".compare-lock", partial(watch, 0.0, math.inf, elsewhere(folder))):
            yield folder
        return
    with tempfile.TemporaryDirectory(prefix="widthwise-") as name:
        yield Path(name)


def _concluded(
    plan: Plan, splits: Splits, place: Workplace, seconds: float, settings: Mapping[str, object]
) -> Comparison:
    with Store(place.store) as store:
        results = [(run, check_result(place.store, store.get(run))) for run in plan.runs(splits.fingerprint())]
    found = Comparison(
        data=splits.name,
        task=splits.task,
        metric=objective_of(splits).metric,
        budget=plan.budget,
        rows=rows_of(plan, results, splits.train[0][0].numel()),
        settings={**_settings(plan, splits), **settings},
        machine=machine(),
        seconds=seconds,
    )
    model = load_winner(found.best, plan, results, splits, place)
    save(model, place.folder / "model.safetensors", about={"data": splits.name, "classes": list(splits.classes)})
    return replace(found, findings=(*findings(found), *plan.left_out()), model=model)


def _settings(plan: Plan, splits: Splits) -> dict[str, object]:
    return {
        "architecture": plan.architecture.name,
        "base width": plan.base_width,
        "factors": ", ".join(f"{f:g}" for f in plan.factors),
        "methods": ", ".join(plan.methods),
        "seeds": plan.seeds,
        **asdict(plan.train),
        "scopes": ", ".join(f"{method}: {scope}" for method, scope in plan.scopes),
        "dtype": plan.dtype,
        "training examples": len(splits.train[0]),
        "validation examples": len(splits.validation[0]),
        "test examples": len(splits.test[0]),
    }


def _check_device(name: str) -> None:
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device: got {name!r}, allowed is a device this machine has ({reason})") from None


def _silent(done: float, total: float, what: str) -> None:
    """Watch nothing."""
