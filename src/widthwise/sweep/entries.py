"""What a sweep can run by name. An entry takes keyword arguments and returns a flat mapping.

To add one, write such a function and put it into :data:`ENTRIES`.
"""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from widthwise import data as datasets
from widthwise.data import Splits
from widthwise.errors import InputError, check_integer
from widthwise.masks import Mask
from widthwise.models.named import from_name
from widthwise.pruning import prune
from widthwise.training import TrainConfig, fit
from widthwise.training.objective import objective_of

__all__ = ["ENTRIES"]

Result = dict[str, float | int | str | bool | None]


def train(
    *,
    data: str = "digits",
    target: str | None = None,
    standardize: str = "global",
    validation: float = 0.2,
    model: str = "mlp",
    width: float | None = None,
    depth: int | None = None,
    activation: str | None = None,
    stable: bool | None = None,
    method: str = "dense",
    sparsity: float = 0.0,
    scope: str = "global",
    examples_per_class: int = 10,
    seed: int = 0,
    epochs: int = 20,
    batch_size: int = 100,
    lr: float = 0.1,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    schedule: str = "constant",
    precision: str = "full",
    device: str = "cpu",
) -> Result:
    """Train one network, pruned at initialization if asked.

    Args:
        data: a data set by name or path.
        target: the target column of a table.
        standardize: scale of the inputs, as :func:`widthwise.data.split` takes it.
        validation: share of the training examples set aside.
        model: a built-in network or ``package.module:factory``.
        width: of it, where it takes one; likewise ``depth``, ``activation`` and ``stable``.
        depth: hidden layers.
        activation: between layers.
        stable: whether residual branches are scaled down.
        method: ``"dense"``, or a pruning score's name, ``"random"`` among them.
        sparsity: share of the weights to prune.
        scope: how the weights left are shared out among layers.
        examples_per_class: to score on; of a regression set, 256 in all.
        seed: of initialization, pruning and the order of examples.
        epochs: passes over the training set.
        batch_size: examples a step.
        lr: learning rate.
        momentum: 0 for none.
        weight_decay: L2 penalty.
        schedule: ``"constant"`` or ``"cosine"``.
        precision: ``"full"``, ``"bfloat16"`` or ``"float16"``.
        device: where to train.
    """
    splits = _splits(data, target, standardize, validation)
    objective = objective_of(splits)
    shape = {"width": width, "depth": depth, "activation": activation, "stable": stable}
    chosen = {name: value for name, value in shape.items() if value is not None}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(check_integer("seed", seed, 0))
        network = from_name(model, chosen, shape=splits.train[0].shape[1:], outputs=splits.n_outputs)
    mask = _pruned(network, splits, method, sparsity, scope, examples_per_class, seed)
    network.to(device)
    config = TrainConfig(epochs, batch_size, lr, momentum, weight_decay, schedule)
    curve = fit(
        network,
        splits.train,
        config,
        objective,
        seed=seed,
        precision=precision,
        validation=splits.validation,
        record_every=epochs,
    )
    with torch.no_grad():
        outputs = torch.cat([network.eval()(part.to(device)) for part in torch.split(splits.test[0], 500)])
    test = float(objective.score(outputs[None].cpu(), splits.test[1])[0])
    return {"test": test, "validation": curve[-1][1], "weights": mask.kept, "sparsity": mask.sparsity}


def compare(
    *,
    data: str = "digits",
    target: str | None = None,
    budget: int | None = None,
    base_width: int | None = None,
    factors: Sequence[float] = (2, 4, 8, 16, 32),
    methods: Sequence[str] = ("dense", "sparse", "magnitude", "snip"),
    seeds: int = 5,
    depth: int = 1,
    activation: str = "relu",
    standardize: str = "global",
    epochs: int = 200,
    batch_size: int = 100,
    lr: float = 0.1,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    schedule: str = "constant",
    device: str = "cpu",
) -> Result:
    """The main job, as :func:`widthwise.compare`: its rows' mean metrics and which is best."""
    from widthwise.comparison import compare as compared

    found = compared(
        data,
        target=target,
        budget=budget,
        base_width=base_width,
        factors=factors,
        methods=methods,
        seeds=seeds,
        depth=depth,
        activation=activation,
        standardize=standardize,
        train=TrainConfig(epochs, batch_size, lr, momentum, weight_decay, schedule),
        device=device,
        jobs=1,
    )
    means = {row.label: row.mean for row in found.rows}
    return {"best": found.best.label, "metric": found.metric, "budget": found.budget, **means}


def reproduce(
    *,
    experiment: str,
    scale: str = "small",
    data: str | None = None,
    seed: int = 0,
    seeds: int | None = None,
    weights: str | None = None,
) -> Result:
    """One figure or table: whether the paper's claim held, the notes, and the rows as CSV.

    Args:
        experiment: ``PAPER/NAME`` as `widthwise reproduce --list` lists it.
        scale: ``"smoke"``, ``"small"`` or ``"paper"``.
        data: a data set instead of the paper's.
        seed: the first seed.
        seeds: how many to average over, where it does.
        weights: a file of a trained network, where it takes one.
    """
    from widthwise.experiments.claims import judged, substitute_for
    from widthwise.experiments.outcome import record_of
    from widthwise.experiments.registry import check_options, claim_of, find

    known = find(experiment)
    if list(known) != [experiment]:
        raise InputError(f"experiment: got {experiment!r}, allowed is one, PAPER/NAME")
    run = known[experiment]
    chosen = {name: value for name, value in {"seeds": seeds, "weights": weights}.items() if value is not None}
    check_options(known, {"data": data, **chosen})
    claim, record = claim_of(experiment), record_of(run(scale, data, seed, **chosen), experiment)
    record["substitute"] = substitute_for(claim, scale, data)
    found: Result = {"notes": "\n".join(record["notes"]), "rows": len(record["rows"]), "table": _csv(record["rows"])}
    if claim is not None:
        verdict = judged(claim, record)
        found |= {"claim": verdict.word, "why": verdict.why, "ours": verdict.ours}
    return found


ENTRIES: Mapping[str, Callable[..., Result]] = {"train": train, "compare": compare, "reproduce": reproduce}
"""Functions by the names a sweep knows."""


@functools.lru_cache(maxsize=2)
def _splits(data: str, target: str | None, standardize: str, validation: float) -> Splits:
    return datasets.split(datasets.load(data, target=target), standardize=standardize, validation=validation)


def _pruned(model: nn.Module, splits: Splits, method: str, sparsity: float, scope: str, each: int, seed: int) -> Mask:
    if method == "dense":
        if sparsity:
            raise InputError(f"sparsity: got {sparsity} with method 'dense', allowed is 0, or another method")
        return Mask.dense(model)
    x, y = splits.train
    if splits.task == "regression":
        return prune(model, sparsity, method, (x[:256], y[:256]), functional.mse_loss, scope=scope, seed=seed)
    return prune(
        model, sparsity, method, (x, y), functional.cross_entropy, scope=scope, seed=seed, examples_per_class=each
    )


def _csv(rows: Any) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
