"""Which pruned residual networks learn best: Tables 1 and 2 for CIFAR-10."""

from __future__ import annotations

import math
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

from widthwise import models
from widthwise.data import Splits, examples_per_class
from widthwise.experiments.outcome import Outcome, Row
from widthwise.experiments.robust_pruning.common import at, canvas, load, seeded, spread_out, thin
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


def table2(scale: str = "smoke", data: Any = None, seed: int = 0) -> Outcome:
    """Test accuracy of residual networks pruned at initialization by seven methods; SBP-SR is SNIP on a stable network.

    SGD with momentum 0.9, weight decay 5e-4, rate 0.1 divided by ten at a half and at three quarters of the epochs. At
    ``"paper"`` training images are shifted by up to four pixels and mirrored.

    Args:
        scale: ResNet32, 50 and 104 with doubled filters for 160 epochs at ``"paper"``; at ``"small"`` ResNet32 with
            halved filters, images of 16 x 16, few of them and few epochs.
        data: CIFAR-10 by default.
        seed: of the first run.
    """
    splits = _shrunk(load(scale, data, "cifar10"), at(scale, 1, 2, 1))
    depths, width = at(scale, (20,), (32,), (32, 50, 104)), at(scale, 0.25, 0.5, 2.0)
    sparsities, seeds = at(scale, (0.5,), (0.9, 0.98, 0.995), (0.9, 0.95, 0.98, 0.995, 0.999)), at(scale, 1, 2, 3)
    epochs, examples = at(scale, 1, 10, 160), at(scale, 200, 4000, 50_000)
    rows: list[Row] = []
    for depth in depths:
        for run in range(seed, seed + seeds):
            train = thin(splits.train, examples, run)
            for sparsity in sparsities:
                for name, (score, stable) in _METHODS.items():
                    torch.manual_seed(run)
                    build = getattr(models, f"resnet{depth}")
                    model = build(splits.n_outputs, train[0].shape[1], width, stable=stable)
                    batch = examples_per_class(*train, at(scale, 2, 10, 10), run)
                    rounds = at(scale, 3, 100, 100) if score == "synflow" else 1
                    loss = functional.cross_entropy
                    mask = prune(model, sparsity, score, batch, loss, rounds=rounds, seed=run, on_collapse="allow")
                    _train(model, train, epochs, run, shift=at(scale, 0, 0, 4))
                    rows.append(
                        {"depth": depth, "sparsity": sparsity, "method": name, "seed": run}
                        | {"dead_layers": len(dead_layers(mask)), "test_accuracy": _accuracy(model, splits.test)}
                    )
    settings: dict[str, Any] = {
        "width": width,
        "epochs": epochs,
        "examples": len(train[0]),
        "image": tuple(train[0].shape[1:]),
    }
    settings |= {"data": splits.name, "batch": _BATCH, "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
    return Outcome("table2", scale, settings, rows, _draw(rows), _verdicts(rows))


_BATCH = 128


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
