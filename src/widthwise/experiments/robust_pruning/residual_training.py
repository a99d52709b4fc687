"""Which pruned residual networks learn best: Tables 1 and 2 for CIFAR-10."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

from widthwise import models
from widthwise.data import Splits, examples_per_class
from widthwise.experiments.common import at, canvas, load, seeded, spread_out, thin
from widthwise.experiments.outcome import Outcome, Row
from widthwise.experiments.parts import in_parts
from widthwise.pruning import dead_layers, prune
from widthwise.report.style import LIGHT

__all__ = ["table2"]

# Name -> (score, whether the network is a stable one).
_METHODS = {
    "random": ("random", False),
    "magnitude": ("magnitude", False),
    "SNIP": ("snip", False),
    "GraSP": ("grasp", False),
    "GraSP-SR": ("grasp", True),
    "SynFlow": ("synflow", False),
    "SBP-SR": ("snip", True),
}
_SPARSITIES, _ALL_SPARSITIES = (0.9, 0.98, 0.995), (0.9, 0.95, 0.98, 0.995, 0.999)
_BATCH = 128


@dataclass(frozen=True)
class _Case:
    """One run; everything its accuracy depends on."""

    depth: int
    sparsity: float
    method: str
    seed: int
    width: float
    epochs: int
    examples: int
    tested: int
    per_class: int
    rounds: int
    shift: int
    image: tuple[int, ...]
    data: str


def table2(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Test accuracy of residual networks pruned at initialization by seven methods; SBP-SR is SNIP on a stable network.

    SGD with momentum 0.9, weight decay 5e-4, rate 0.1 divided by ten at a half and at three quarters of the epochs. At
    ``"paper"`` training images are shifted by up to four pixels and mirrored.

    Args:
        scale: ResNet32, 50 and 104 with doubled filters for 160 epochs at ``"paper"``; at ``"small"`` ResNet32 with
            halved filters, images of 16 x 16, few of them and few epochs.
        data: CIFAR-10 by default.
        seed: of the first run.
        seeds: number of runs.
    """
    splits = _shrunk(load(scale, data, "cifar10"), at(scale, 1, 2, 1))
    last = seed + (at(scale, 1, 2, 3) if seeds is None else seeds)
    case = partial(
        _Case,
        width=at(scale, 0.25, 0.5, 2.0),
        epochs=at(scale, 1, 5, 160),
        examples=min(at(scale, 200, 1000, 50_000), len(splits.train[0])),
        tested=min(at(scale, 200, 2000, 10_000), len(splits.test[0])),
        per_class=at(scale, 2, 10, 10),
        rounds=at(scale, 3, 100, 100),
        shift=at(scale, 0, 0, 4),
        image=tuple(splits.train[0].shape[1:]),
        data=splits.name,
    )
    depths, sparsities = at(scale, (20,), (32,), (32, 50, 104)), at(scale, (0.5,), _SPARSITIES, _ALL_SPARSITIES)
    cases = [
        case(depth, sparsity, method, run)
        for depth, run, sparsity, method in product(depths, range(seed, last), sparsities, _METHODS)
    ]
    found = in_parts("networks", cases, partial(_trained, splits=splits))
    keys = ("depth", "sparsity", "method", "seed")
    rows: list[Row] = [{key: getattr(one, key) for key in keys} | got for one, got in zip(cases, found, strict=True)]
    settings = {key: value for key, value in vars(cases[0]).items() if key not in keys}
    settings |= {"batch": _BATCH, "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "seeds": last - seed}
    return Outcome("table2", scale, settings, rows, _draw(rows), _verdicts(rows))


def _trained(case: _Case, splits: Splits) -> Row:
    """Prune one network, train it, test it."""
    score, stable = _METHODS[case.method]
    train, loss = thin(splits.train, case.examples, case.seed), functional.cross_entropy
    torch.manual_seed(case.seed)
    model = getattr(models, f"resnet{case.depth}")(splits.n_outputs, case.image[0], case.width, stable=stable)
    batch, rounds = examples_per_class(*train, case.per_class, case.seed), case.rounds if score == "synflow" else 1
    mask = prune(model, case.sparsity, score, batch, loss, rounds=rounds, seed=case.seed, on_collapse="allow")
    _train(model, train, case.epochs, case.seed, case.shift)
    return {"dead_layers": len(dead_layers(mask)), "test_accuracy": _accuracy(model, thin(splits.test, case.tested, 0))}


def _train(model: nn.Module, data: tuple[Tensor, Tensor], epochs: int, seed: int, shift: int) -> None:
    x, y = data
    generator = seeded(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [epochs // 2, epochs * 3 // 4])
    model.train()
    for _ in range(epochs):
        for chosen in torch.split(torch.randperm(len(x), generator=generator), _BATCH):
            images = _augmented(x[chosen], shift, generator) if shift else x[chosen]
            optimizer.zero_grad()
            torch.autograd.backward(functional.cross_entropy(model(images), y[chosen]))
            optimizer.step()
        schedule.step()


def _augmented(x: Tensor, shift: int, generator: torch.Generator) -> Tensor:
    """Each image mirrored or not, and moved by up to ``shift`` pixels, zeros coming in."""
    mirrored = torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5
    padded = functional.pad(torch.where(mirrored, x.flip(-1), x), [shift] * 4)
    moves = torch.randint(0, 2 * shift + 1, (len(x), 2), generator=generator).tolist()
    height, width = x.shape[-2:]
    return torch.stack([image[:, a : a + height, b : b + width] for image, (a, b) in zip(padded, moves, strict=True)])


@torch.no_grad()
def _accuracy(model: nn.Module, data: tuple[Tensor, Tensor]) -> float:
    model.eval()
    right = [(model(x).argmax(1) == y).sum() for x, y in zip(*(torch.split(part, 500) for part in data), strict=True)]
    return float(torch.stack(right).sum()) / len(data[1])


def _shrunk(splits: Splits, factor: int) -> Splits:
    """Images averaged over squares of ``factor`` pixels."""
    if factor == 1:
        return splits
    train, test = ((functional.avg_pool2d(x, factor), y) for x, y in (splits.train, splits.test))
    return Splits(**{**vars(splits), "train": train, "test": test})


def _summary(rows: list[Row], depth: int, sparsity: float, method: str) -> tuple[float, float]:
    """Mean and standard error of the accuracy over seeds."""
    found = [r["test_accuracy"] for r in rows if (r["depth"], r["sparsity"], r["method"]) == (depth, sparsity, method)]
    mean = math.fsum(found) / len(found)
    spread = math.sqrt(math.fsum((a - mean) ** 2 for a in found) / max(len(found) - 1, 1))
    return mean, spread / math.sqrt(len(found))


def _verdicts(rows: list[Row]) -> list[str]:
    """For each depth and sparsity the best method, or that it is undetermined."""
    found = []
    for depth in spread_out(rows, "depth"):
        for sparsity in spread_out(rows, "sparsity"):
            results = {method: _summary(rows, depth, sparsity, method) for method in _METHODS}
            first, second = sorted(results, key=lambda m: -results[m][0])[:2]
            (a, da), (b, db) = results[first], results[second]
            sure = len(spread_out(rows, "seed")) > 1 and a - b > 2 * math.hypot(da, db)
            winner = f"{first} leads" if sure else f"undetermined, {first} is ahead"
            found.append(f"ResNet{depth}, {sparsity:.1%}: {winner} with {a:.1%}; {second} has {b:.1%}.")
    return found


def _draw(rows: list[Row]) -> Figure:
    depths = spread_out(rows, "depth")
    figure, panels = canvas([f"ResNet{depth}" for depth in depths], width=5)
    for panel, depth in zip(panels, depths, strict=True):
        sparsities = spread_out(rows, "sparsity")
        for i, method in enumerate(_METHODS):
            points = [_summary(rows, depth, sparsity, method) for sparsity in sparsities]
            means, errors = [100 * mean for mean, _ in points], [100 * error for _, error in points]
            places = [j + 0.06 * (i - 3) for j in range(len(sparsities))]
            colour = LIGHT[f"series-{i}"] if i < 6 else LIGHT["ink"]
            panel.errorbar(places, means, yerr=errors, marker="o", linewidth=1, color=colour, label=method)
        panel.set_xticks(range(len(sparsities)), [f"{100 * s:g} %" for s in sparsities])
        panel.set_xlabel("weights pruned")
    panels[0].set_ylabel("test accuracy (%)")
    panels[0].legend(frameon=False, fontsize=9)
    return figure
