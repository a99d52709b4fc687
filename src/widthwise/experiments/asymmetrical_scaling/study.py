"""What Figures 2, 3 and 6 to 10 show of a network: its training, the risk without some nodes, and what carries over."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor

from widthwise import flow
from widthwise.experiments.asymmetrical_scaling.common import Curves, Part, draw_bands, log_height, network, spaced
from widthwise.experiments.common import canvas
from widthwise.experiments.outcome import Row
from widthwise.models import Shallow
from widthwise.nodes import NodeFeatures, importance, risk_curve, train_heads

__all__ = ["Head", "Sizes", "Task", "curves_of", "draw_brief", "draw_full", "notes_on", "studied"]

Pair = tuple[Tensor, Tensor]
_RECORD = ("largest_movement", "ntg_change", "smallest_eigenvalue")


@dataclass(frozen=True)
class Head:
    """A network put on features: its hidden layers, their width and its step of gradient descent."""

    depth: int
    width: int
    lr: float


@dataclass(frozen=True)
class Sizes:
    """What a scale chooses.

    Attributes:
        width: nodes.
        steps: gradient steps of size 1.0 on the mean squared error, to whose time the flow is followed.
        seeds: how many.
        head_steps: of the heads.
        removed: numbers of nodes removed.
        features: numbers of features carried over.
        rtol: of the flow.
    """

    width: int
    steps: int
    seeds: int
    head_steps: int
    removed: tuple[int, ...]
    features: tuple[int, ...]
    rtol: float = 0.05


@dataclass(frozen=True, eq=False)
class Task:
    """Examples with targets ``(n, k)``, each part for one use: to train on, to test on, to carry over to."""

    train: Pair
    test: Pair
    held_train: Pair
    held_test: Pair


def studied(part: Part, task: Task, sizes: Sizes, heads: Mapping[str, Head]) -> dict[str, list[float]]:
    """Train the network of a part and measure it: quantity -> a number for each place on its axis."""
    x, y = task.train
    model = network(part, x[0].numel(), sizes.width, outputs=y.shape[1])
    measured = _trained(model, x, y, sizes)
    scores = importance(model)
    for name, (inputs, targets) in (("train_risk", task.train), ("test_risk", task.test)):
        measured[name] = risk_curve(model, inputs, targets, scores, sizes.removed)
        if y.shape[1] > 1:
            measured[f"{name}_classes"] = risk_curve(model, inputs, targets, scores, sizes.removed, _misclassified)
    measured["train_risk_growth"] = measured["train_risk"] - measured["train_risk"][0]
    for name, head in heads.items():
        measured |= _carried_over(model, scores["nodes"], task, sizes, head, name, part.seed)
    return {name: values.tolist() for name, values in measured.items()}


def _trained(model: Shallow, x: Tensor, y: Tensor, sizes: Sizes) -> dict[str, Tensor]:
    n = y.numel()
    times = spaced(sizes.steps * 2 / n, 31, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", flow.DegenerateWarning)
        run = flow.train(
            model, x, y, times[-1], record=("loss", *_RECORD), at=times, points=min(50, len(x)), rtol=sizes.rtol
        )
    return {"training_error": 2 / n * run["loss"], **{name: run[name] for name in _RECORD}}


def _carried_over(
    model: Shallow, scores: Tensor, task: Task, sizes: Sizes, head: Head, name: str, seed: int
) -> dict[str, Tensor]:
    """Mean squared error of heads on the most important features, and for several outputs the share misclassified."""
    pairs = [_scaled(NodeFeatures(model, scores, k), task) for k in sizes.features]
    heads = train_heads(
        [x for x, _ in pairs],
        [task.held_train[1]] * len(pairs),
        width=head.width,
        depth=head.depth,
        steps=sizes.head_steps,
        lr=head.lr,
        seed=seed,
    )
    targets = task.held_test[1]
    with torch.no_grad():
        outputs = [trained(z) for trained, (_, z) in zip(heads, pairs, strict=True)]
    found = {name: torch.stack([(each - targets).square().mean() for each in outputs])}
    if targets.shape[1] > 1:
        found[f"{name}_classes"] = torch.stack([_misclassified(each, targets) for each in outputs])
    return found


def _scaled(features: NodeFeatures, task: Task) -> Pair:
    """Features to train and to test on, centred and scaled to a mean squared norm of one.

    They are enlarged by no more than ten, since they may all be dead.
    """
    x, z = features(task.held_train[0]), features(task.held_test[0])
    centre = x.mean(0)
    size = (x - centre).square().sum(1).mean().sqrt().clamp_min(0.1)
    return (x - centre) / size, (z - centre) / size


def _misclassified(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(1) != targets.argmax(1)).double().mean()


def curves_of(found: Mapping[str, Tensor], sizes: Sizes) -> list[Curves]:
    """The quantities, each along its axis: gradient steps, nodes left, features."""
    axes: dict[str, list[float]] = {
        "steps": spaced(float(sizes.steps), 31, 4),
        "nodes left": [float(sizes.width - removed) for removed in sizes.removed],
        "features": [float(k) for k in sizes.features],
    }
    belongs = dict.fromkeys(("training_error", *_RECORD), "steps")
    belongs |= {name: "nodes left" for name in found if name.startswith(("train_risk", "test_risk"))}
    return [
        Curves(axis, places, {name: v for name, v in found.items() if belongs.get(name, "features") == axis})
        for axis, places in axes.items()
    ]


def notes_on(curves: Sequence[Curves]) -> list[str]:
    """Whether the orders expected came out: of training at its end, of pruning and transfer at few nodes."""
    steps, left, features = curves
    end = steps.places[-1]
    some = [place for place in left.places if place < left.places[0]]
    return [
        steps.order("training_error", end, rising=True),
        steps.order("largest_movement", end, rising=True),
        steps.order("ntg_change", end, rising=True),
        steps.order("smallest_eigenvalue", end, rising=False),
        *(left.order("train_risk_growth", k, rising=False) for k in some[1 : min(6, len(some))]),
        *(features.order(name, k, rising=False) for name in features.values for k in features.places[:3]),
    ]


_PANELS = {
    ("steps", "training_error"): "training error",
    ("steps", "largest_movement"): "largest |w(t) − w(0)|",
    ("steps", "ntg_change"): "‖NTG(t) − NTG(0)‖₂",
    ("steps", "smallest_eigenvalue"): "smallest eigenvalue of NTG",
    ("nodes left", "train_risk"): "training risk after pruning",
    ("nodes left", "test_risk"): "test risk after pruning",
    ("features", "transfer_risk"): "transfer risk",
}
_LINEAR = ("largest_movement", "ntg_change")


def draw_full(rows: Sequence[Row]) -> Figure:
    """All panels of one set."""
    figure, panels = canvas(list(_PANELS.values()), columns=4)
    for panel, (axis, quantity) in zip(panels, _PANELS, strict=True):
        draw_bands(panel, rows, axis, quantity)
        panel.set_xlabel(_label(axis))
        if quantity not in _LINEAR:
            log_height(panel)
    panels[0].legend(frameon=False)
    return figure


def draw_brief(rows_of: Mapping[str, Sequence[Row]], shown: Sequence[tuple[str, str]]) -> Figure:
    """A line of some of the panels for each set."""
    titles = [f"{name}: {_PANELS[key]}" for name in rows_of for key in shown]
    figure, panels = canvas(titles, columns=len(shown))
    settings = [(rows, key) for rows in rows_of.values() for key in shown]
    for panel, (rows, (axis, quantity)) in zip(panels, settings, strict=True):
        draw_bands(panel, rows, axis, quantity)
        panel.set_xlabel(_label(axis))
        if quantity not in _LINEAR:
            log_height(panel)
    panels[0].legend(frameon=False)
    return figure


def _label(axis: str) -> str:
    return "gradient steps (1.0 on the mean)" if axis == "steps" else axis
