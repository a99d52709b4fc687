"""Which pruned networks train: Figures 3 and 5, Table 4."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

from widthwise.data import Splits, examples_per_class
from widthwise.experiments.common import at, canvas, load, seeded, spread_out
from widthwise.experiments.outcome import Outcome, Row
from widthwise.experiments.parts import in_parts
from widthwise.init import gaussian_
from widthwise.meanfield import edge_of_chaos
from widthwise.models import mlp, vanilla_cnn
from widthwise.pruning import dead_layers, prune
from widthwise.pruning.rescale import rescale
from widthwise.report.style import LIGHT
from widthwise.training import Family, TrainConfig, evaluate, objective_for, train
from widthwise.training.divergence import reported_elsewhere

__all__ = ["fig3", "fig5", "table4"]


_TABLE_4 = {
    "EOC + rescaling": {10: 98.18, 50: 98.90, 100: 99.15},
    "EOC": {10: 98.20, 50: 98.75, 100: 10.0},
    "ordered": {10: 98.12, 50: 10.0, 100: 10.0},
}
"""Accuracies that the paper prints, in %."""

_SCHEMES = ("EOC + rescaling", "EOC", "ordered")


@dataclass(frozen=True)
class _Case:
    """Networks of one depth under one scheme; everything their accuracies depend on."""

    network: str
    depth: int
    scheme: str
    activation: str
    sigma_b: float
    sparsities: tuple[float, ...]
    width: int
    stride: int
    steps: int
    config: TrainConfig
    seed: int
    data: str


def fig3(scale: str = "smoke", data: Any = None, seed: int = 0) -> Outcome:
    """Figure 3: test accuracy of tanh perceptrons pruned by SNIP, over depth and sparsity, for three schemes.

    Args:
        scale: the paper's grid and its 10 000 steps at ``"paper"``; 400 steps with momentum at ``"small"``.
        data: MNIST by default.
        seed: of weights, batches and the order of examples.
    """
    return _perceptrons("fig3", "tanh", 0.0, scale, data, seed)


def fig5(scale: str = "smoke", data: Any = None, seed: int = 0) -> Outcome:
    """Figure 5: the same as Figure 3 for ELU, at sigma_b = 0.2. Its tanh half is Figure 3 again.

    Args:
        scale: as in :func:`fig3`.
        data: MNIST by default.
        seed: of weights, batches and the order of examples.
    """
    return _perceptrons("fig5", "elu", 0.2, scale, data, seed)


def _perceptrons(name: str, activation: str, sigma_b: float, scale: str, data: Any, seed: int) -> Outcome:
    sparsities = at(scale, (0.5,), (0.1, 0.5, 0.9), tuple(i / 10 for i in range(1, 10)))
    width, steps = at(scale, 16, 100, 100), at(scale, 20, 400, 10_000)
    depths = at(scale, (2, 4), (2, 20, 100), (2, 20, 40, 60, 80, 100))
    case = partial(
        _Case, "perceptron", activation=activation, sigma_b=sigma_b, sparsities=sparsities, width=width, stride=1
    )
    cases = [partial(case, d, each, steps=steps, seed=seed) for d, each in product(depths, _SCHEMES)]
    return _outcome(name, scale, data, cases, _draw_grid)


def table4(scale: str = "smoke", data: Any = None, seed: int = 0) -> Outcome:
    """Table 4: vanilla convolutional networks of several depths on MNIST, half their weights pruned by SNIP.

    Args:
        scale: at ``"small"`` narrow networks on images of 7 x 7, by the stride of the first convolution.
        data: MNIST by default.
        seed: of weights, batches and the order of examples.
    """
    channels, stride = at(scale, 4, 8, 32), at(scale, 2, 4, 1)
    depths, steps = at(scale, (3,), (10, 50, 100), (10, 50, 100)), at(scale, 5, 150, 10_000)
    case = partial(
        _Case, "vanilla CNN", activation="tanh", sigma_b=0.0, sparsities=(0.5,), width=channels, stride=stride
    )
    cases = [partial(case, d, each, steps=steps, seed=seed) for d, each in product(depths, _SCHEMES)]
    return _outcome("table4", scale, data, cases, _draw_bars)


def _outcome(
    name: str, scale: str, data: Any, cases: Sequence[Callable[..., _Case]], draw: Callable[[list[Row]], Figure]
) -> Outcome:
    """Train all networks."""
    splits = load(scale, data, "mnist")
    config = TrainConfig(
        epochs=1,
        batch_size=at(scale, 50, 50, 100),
        lr=at(scale, 0.01, 0.001, 0.001),
        momentum=at(scale, 0.9, 0.9, 0.0),
    )
    known = [case(config=config, data=splits.name) for case in cases]
    rows = [row for found in in_parts("networks", known, partial(_trained, splits=splits)) for row in found["rows"]]
    settings = {key: value for key, value in asdict(known[0]).items() if key not in ("depth", "scheme", "sparsities")}
    return Outcome(name, scale, settings | {"method": "SNIP"}, rows, draw(rows))


def _network(case: _Case, splits: Splits) -> nn.Module:
    example, outputs = splits.train[0][0], splits.n_outputs
    if case.network == "perceptron":
        return mlp(example.numel(), outputs, width=case.width, depth=case.depth - 1, activation=case.activation)
    channels, side = example.shape[:2]
    return vanilla_cnn(outputs, channels, side, case.width, case.depth, case.stride, case.activation)


def _sigmas(case: _Case) -> tuple[float, float]:
    """Standard deviations of weights and biases: on the edge, or in the ordered phase with half that of the weights."""
    edge = edge_of_chaos(case.activation, case.sigma_b)[0]
    return (0.5 * edge, max(case.sigma_b, 0.1)) if case.scheme == "ordered" else (edge, case.sigma_b)


def _trained(case: _Case, splits: Splits) -> dict[str, Any]:
    """Initialise, prune and train one network for each sparsity, all as one family."""
    batch = examples_per_class(*splits.train, 10, case.seed)
    networks, pruned, dead = [], [], []
    for sparsity in case.sparsities:
        model = gaussian_(_network(case, splits), *_sigmas(case), generator=seeded(case.seed))
        mask = prune(model, sparsity, "snip", batch, functional.cross_entropy, on_collapse="allow")
        dead.append(len(dead_layers(mask)))
        if case.scheme == "EOC + rescaling":
            rescale(model, mask, data=batch, sigma_b=case.sigma_b)
        networks.append(model)
        pruned.append({name: ~alive for name, alive in mask.items()})
    family, objective = Family(networks, pruned), objective_for(splits.task)
    for part in _parts(splits.train, case.steps * case.config.batch_size, case.seed):
        with reported_elsewhere():  # as networks without an accuracy
            train(family, part, case.config, objective, seeds=[case.seed] * len(family))
    accuracy = evaluate(family, splits.test, objective).tolist()
    rows = [
        {"depth": case.depth, "sparsity": sparsity, "scheme": case.scheme, "dead_layers": lost, "test_accuracy": result}
        for sparsity, lost, result in zip(case.sparsities, dead, accuracy, strict=True)
    ]
    return {"rows": rows}


def _parts(pair: tuple[Tensor, Tensor], examples: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """So many examples in random order, in parts of one epoch at most."""
    generator = seeded(seed)
    while examples > 0:
        order = torch.randperm(len(pair[0]), generator=generator)[:examples]
        yield pair[0][order], pair[1][order]
        examples -= len(order)


def _draw_grid(rows: list[Row]) -> Figure:
    schemes, depths, sparsities = (spread_out(rows, key) for key in ("scheme", "depth", "sparsity"))
    figure, panels = canvas(schemes)
    found = {(row["scheme"], row["depth"], row["sparsity"]): row["test_accuracy"] for row in rows}
    for panel, scheme in zip(panels, schemes, strict=True):
        table = [[found[scheme, depth, sparsity] for sparsity in sparsities] for depth in depths]
        drawn = panel.imshow(table, vmin=0.1, vmax=1, cmap="viridis", aspect="auto", origin="lower")
        panel.set_xticks(range(len(sparsities)), [f"{100 * s:.0f}" for s in sparsities])
        panel.set_yticks(range(len(depths)), [str(depth) for depth in depths])
        panel.grid(visible=False)
        panel.set_xlabel("sparsity (%)")
        for i, line in enumerate(table):
            for j, value in enumerate(line):
                panel.text(j, i, f"{100 * value:.0f}", ha="center", va="center", color="k" if value > 0.6 else "w")
    panels[0].set_ylabel("depth")
    figure.colorbar(drawn, ax=panels, label="test accuracy")
    return figure


def _draw_bars(rows: list[Row]) -> Figure:
    figure, (panel,) = canvas(["test accuracy, 50 % pruned"], width=5)
    depths = spread_out(rows, "depth")
    for i, scheme in enumerate(spread_out(rows, "scheme")):
        heights = [row["test_accuracy"] for row in rows if row["scheme"] == scheme]
        panel.bar([j + 0.27 * (i - 1) for j in range(len(depths))], heights, width=0.25, label=scheme)
        if set(depths) <= set(_TABLE_4[scheme]):
            papers = [_TABLE_4[scheme][depth] / 100 for depth in depths]
            panel.plot([j + 0.27 * (i - 1) for j in range(len(depths))], papers, "D", mfc="none", color=LIGHT["ink"])
    panel.set_xticks(range(len(depths)), [f"L = {depth}" for depth in depths])
    panel.set_xlabel("hollow: the paper")
    panel.legend(frameon=False)
    return figure
