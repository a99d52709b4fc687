"""Single against double precision, for every public function that makes numbers of tensors.

The bounds are those of the table in docs/numerics.md: the largest deviation of a result, relative to the largest number
in it. Inputs are the same numbers in both types. A public function needs a row there, or a reason here.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import re
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import widthwise as ww
from widthwise import activations, compression, duals, flow, kernels, linearized, meanfield, nodes, scaling, scores
from widthwise.compression import GaussianNeurons, UnitNeurons
from widthwise.sparse import SparseConv2d, SparseLinear
from widthwise.training import Family, TrainConfig, evaluate, fit, objective_for, train

PAGE = Path(__file__).parents[1] / "docs" / "numerics.md"
F64 = torch.float64
PUBLIC = (
    "", "activations", "compression", "data", "duals", "flow", "init", "kernels", "linearized", "meanfield", "models",
    "nodes", "pruning", "pruning.scores", "scaling", "sparse", "training", "widening",
)  # fmt: skip


def numbers(*shape: int, low: float = -2, high: float = 2) -> Tensor:
    """Numbers that single precision holds, the same at every call."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(len(shape))).mul(high - low).add(low)


def units(rows: int, columns: int) -> Tensor:
    return functional.normalize(numbers(rows, columns, low=-1, high=1), dim=1)


def network(dtype: torch.dtype, inputs: int = 6, outputs: int = 3, activation: str = "tanh") -> nn.Sequential:
    torch.manual_seed(1)
    return ww.models.mlp(inputs, outputs, width=20, depth=2, activation=activation).to(dtype)


def batch(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return numbers(24, 6).to(dtype), torch.arange(24) % 3


def joined(tensors: Any) -> Tensor:
    """All numbers of a mapping or a sequence in one line."""
    parts = tensors.values() if isinstance(tensors, dict) else tensors
    return torch.cat([torch.as_tensor(part).detach().double().flatten() for part in parts])


def scored(name: str) -> Callable[[torch.dtype], Tensor]:
    def run(dtype: torch.dtype) -> Tensor:
        torch.manual_seed(0)
        return joined(getattr(scores, name)(network(dtype), batch(dtype), functional.cross_entropy))

    return run


def of_duals(function: Callable[..., Tensor], *shape: int) -> Callable[[torch.dtype], Tensor]:
    def run(dtype: torch.dtype) -> Tensor:
        c = torch.cat([numbers(50, low=-1, high=1), torch.tensor([-1.0, 0.0, 1.0])]).to(dtype)
        return joined([function(name, c) for name in ("relu", "erf", "tanh", "gelu")])

    return run


def variances(dtype: torch.dtype) -> Tensor:
    return numbers(20, low=0.1, high=3).to(dtype)


def everywhere(function: Callable[[str], Tensor]) -> Tensor:
    return joined([function(name) for name in ("relu", "erf", "tanh", "gelu")])


def dense(dtype: torch.dtype) -> nn.Linear:
    torch.manual_seed(2)
    layer = nn.Linear(200, 60, dtype=torch.float32)
    layer.weight.data *= torch.rand(60, 200) < 0.2
    return layer.to(dtype)


def convolution(dtype: torch.dtype) -> nn.Conv2d:
    torch.manual_seed(2)
    layer = nn.Conv2d(8, 16, 3, padding=1)
    layer.weight.data *= torch.rand_like(layer.weight) < 0.2
    return layer.to(dtype)


def with_gradients(layer: nn.Module, x: Tensor) -> Tensor:
    x = x.requires_grad_()
    y = layer(x)
    slopes = torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])
    return torch.cat([part.detach().double().flatten() / part.abs().max().double() for part in (y, *slopes)])


def trained(dtype: torch.dtype) -> Tensor:
    model = network(dtype)
    fit(model, batch(dtype), TrainConfig(epochs=3, batch_size=8, lr=0.05), objective_for("classification"))
    return joined(model.parameters())


def family(dtype: torch.dtype) -> Family:
    found = Family([network(dtype), network(dtype)])
    config = TrainConfig(epochs=3, batch_size=8, lr=0.05)
    train(found, batch(dtype), config, objective_for("classification"), seeds=[0, 1])
    return found


def flowed(dtype: torch.dtype) -> Tensor:
    torch.manual_seed(0)
    model = ww.models.node_scaled(5, width=100).to(dtype)
    X = units(10, 5).to(dtype)
    return flow.train(model, X, X.sum(1), t_end=20.0, at=[0.0, 5.0, 20.0])["loss"]


def estimator(
    make: Callable[[], Any], *, classes: bool = False, ask: str = "predict_proba"
) -> Callable[[torch.dtype], Tensor]:
    def run(dtype: torch.dtype) -> Tensor:
        x = numbers(40, 4).to(dtype).numpy()
        y = (x[:, 0] > 0).astype(int) if classes else (x @ np.array([1, -1, 2, 0.5], x.dtype)).astype(x.dtype)
        model = make().fit(x, y)
        return torch.from_numpy(np.asarray(getattr(model, ask)(x) if classes else model.predict(x), np.float64))

    return run


def rescaled(dtype: torch.dtype) -> Tensor:
    model = network(dtype, activation="relu")
    mask = ww.prune(model, 0.5, "random", on_collapse="allow")
    ww.rescale(model, mask, data=batch(dtype)[0], rule="measured")
    return joined(model.parameters())


def bottlenecked(dtype: torch.dtype) -> Tensor:
    return joined(nodes.importance(network(dtype), "activation", batch(dtype)[0]))


def compressed(dtype: torch.dtype) -> Tensor:
    W, a = units(12, 6).to(dtype), numbers(12).to(dtype)
    return torch.tensor([compression.compress(W, a, 5, "relu", restarts=1, iterations=20).loss], dtype=F64)


def target(dtype: torch.dtype) -> compression.Target:
    return compression.Target(UnitNeurons(activations.get("relu"))(units(12, 6).to(dtype)), numbers(12).to(dtype))


NAMES = [name for name in activations.names() if name not in ("abrelu", "monomial")]
LAM = scaling.zipf(100, 0.7, 0.5)

# As in the table: name -> the numbers it makes in a type.
ROWS: dict[str, Callable[[torch.dtype], Tensor]] = {
    "activations.get": lambda t: joined([activations.get(n)(numbers(200).to(t)) for n in NAMES]),
    "duals.g": of_duals(duals.g),
    "duals.f": of_duals(duals.f),
    "duals.dual": lambda t: everywhere(lambda n: duals.dual(n, variances(t), 1.5, numbers(20, low=-1, high=1).to(t))),
    "duals.dual_derivative": lambda t: everywhere(
        lambda n: duals.dual_derivative(n, variances(t), 1.5, numbers(20, low=-0.9, high=0.9).to(t))
    ),
    "duals.mean": lambda t: everywhere(lambda n: duals.mean(n, variances(t))),
    "duals.second_moment": lambda t: everywhere(lambda n: duals.second_moment(n, variances(t))),
    "duals.hermite_coefficients": lambda t: everywhere(lambda n: duals.hermite_coefficients(n, 10, variances(t))),
    "meanfield.variance_map": lambda t: everywhere(lambda n: meanfield.variance_map(n, variances(t), 1.3, 0.2)),
    "meanfield.correlation_map": lambda t: everywhere(
        lambda n: meanfield.correlation_map(n, numbers(20, low=-1, high=1).to(t), variances(t), 1.3, 0.2)
    ),
    "meanfield.covariance_map": lambda t: everywhere(
        lambda n: meanfield.covariance_map(n, variances(t), 1.5, numbers(20, low=-1, high=1).to(t), 1.3, 0.2)
    ),
    "meanfield.propagate": lambda t: everywhere(
        lambda n: joined(
            vars(meanfield.propagate(n, 1.3, 0.2, 5, q=variances(t), c=numbers(20, low=-1, high=1).to(t)))
        )
    ),
    "kernels.MLP": lambda t: everywhere(
        lambda n: joined(kernels.MLP(3, n, 1.4, 0.1).kernels(numbers(30, 8).to(t)))
    ),
    "kernels.Network": lambda t: joined(
        kernels.serial(kernels.Conv(8), "relu", kernels.Conv(8), "relu", kernels.GlobalAvgPool(), kernels.Dense(1))
        .kernels(numbers(4, 2, 6, 6).to(t))
    ),
    "kernels.Ensemble": lambda t: kernels.Ensemble(
        kernels.MLP(2, "relu", 1.4, 0.1).ntk(numbers(20, 8).to(t)), numbers(20, 1).to(t), ridge=0.1
    ).mean(kernels.MLP(2, "relu", 1.4, 0.1).ntk(numbers(5, 8, 1)[..., 0].to(t), numbers(20, 8).to(t))),
    "kernels.arc_cosine": lambda t: kernels.arc_cosine(numbers(40, 6).to(t), numbers(40, 6).flip(0).to(t)),
    "kernels.empirical_ntk": lambda t: kernels.empirical_ntk(network(t), batch(t)[0]),
    "kernels.empirical_nngp": lambda t: kernels.empirical_nngp(network(t), batch(t)[0]),
    "kernels.distance": lambda t: torch.tensor([kernels.distance(*units(2, 6).to(t), 8, 0.5).value], dtype=F64),
    "kernels.extreme_eigenvalues": lambda t: torch.tensor(
        [(s := kernels.extreme_eigenvalues(units(30, 6).to(t))).smallest, s.largest], dtype=F64
    ),
    "kernels.measured_distance": lambda t: torch.tensor(
        [kernels.measured_distance(numbers(3, 50, 8).to(t), units(20, 8).to(t), sigma_w=1.0).value], dtype=F64
    ),
    "kernels.measured_distance_deep": lambda t: torch.tensor(
        [
            kernels.measured_distance_deep(
                [numbers(3, 50, 8).to(t), numbers(3, 40, 50).flip(0).to(t)], units(20, 8).to(t), pairs=50
            ).value
        ],
        dtype=F64,
    ),
    "kernels.sampled_distance": lambda t: torch.tensor(
        [kernels.sampled_distance(units(20, 8).to(t), 50, 0.5, pairs=50, draws=2).value], dtype=F64
    ),
    "kernels.prepare_rows": lambda t: kernels.prepare_rows(numbers(20, 8).to(t)),
    "compression.gram": lambda t: joined(
        [compression.gram(units(8, 5).to(t), activation=n) for n in ("relu", "erf", "tanh")]
    ),
    "compression.UnitNeurons": lambda t: UnitNeurons(activations.get("relu"))(units(8, 5).to(t)).gram(),
    "compression.GaussianNeurons": lambda t: GaussianNeurons(activations.get("tanh"))(numbers(8, 5).to(t)).gram(),
    "compression.limit_objective": lambda t: compression.limit_objective(units(4, 5).to(t), "relu")[None],
    "compression.network_distance": lambda t: compression.network_distance(
        units(4, 5).to(t), units(4, 5).flip(0).to(t), "relu"
    )[None],
    "compression.compress": compressed,
    "scaling.asymmetry": lambda t: scaling.asymmetry(LAM.to(t))[None],
    "scaling.zipf_asymmetry": lambda t: scaling.zipf_asymmetry(torch.tensor([0.4, 0.75], dtype=t)),
    "flow.train": flowed,
    "flow.mean_ntg": lambda t: flow.mean_ntg("relu", units(8, 5).to(t)),
    "flow.limiting_ntg": lambda t: flow.limiting_ntg("relu", units(8, 5).to(t), LAM.to(t), 0.5),
    "flow.kappa": lambda t: torch.tensor([flow.kappa("relu", units(8, 5).to(t))], dtype=F64),
    "flow.total_variance": lambda t: torch.tensor(
        [flow.total_variance("relu", units(8, 5).to(t), LAM.to(t))], dtype=F64
    ),
    "flow.variance_constant": lambda t: torch.tensor([flow.variance_constant("relu", units(8, 5).to(t))], dtype=F64),
    "flow.first_step_mean": lambda t: flow.first_step_mean("tanh", units(8, 5).to(t), LAM.to(t)),
    "flow.first_step_rms": lambda t: flow.first_step_rms("tanh", units(8, 5).to(t), numbers(8).to(t), LAM.to(t)),
    "flow.first_step_ntk_change": lambda t: joined(
        flow.first_step_ntk_change("tanh", units(8, 5).to(t), LAM.to(t), samples=1000)
    ),
    "flow.loss_bound": lambda t: flow.loss_bound(torch.tensor([0.0, 1.0, 9.0], dtype=t), 2.0, 0.5, 0.3),
    "flow.movement_bound": lambda t: flow.movement_bound("relu", units(8, 5).to(t), LAM.to(t), 2.0, 0.5, 0.3),
    "pruning.scores.snip": scored("snip"),
    "pruning.scores.grasp": scored("grasp"),
    "pruning.scores.obd": scored("obd"),
    "pruning.scores.synflow": scored("synflow"),
    "pruning.scores.magnitude": scored("magnitude"),
    "pruning.scores.random": scored("random"),
    "pruning.scores.ntk_sap": scored("ntk_sap"),
    "rescale": rescaled,
    "linearize": lambda t: _moved(ww.linearize(network(t), difference=True))(batch(t)[0]),
    "linearized.tangent_features": lambda t: linearized.tangent_features(network(t), batch(t)[0]),
    "nodes.importance": bottlenecked,
    "sparse.SparseLinear": lambda t: with_gradients(
        SparseLinear(dense(t).weight.detach(), dense(t).bias.detach()), numbers(70, 200).to(t)
    ),
    "sparse.SparseConv2d": lambda t: with_gradients(
        SparseConv2d.from_conv2d(convolution(t)), numbers(9, 8, 7, 7).to(t)
    ),
    "sparsify": lambda t: ww.sparsify(_pruned(t), policy="always")(batch(t)[0]).detach(),
    "training.fit": trained,
    "training.train": lambda t: joined(family(t).params),
    "training.evaluate": lambda t: evaluate(family(t), batch(t), objective_for("classification")),
    "WideSparseRegressor": estimator(lambda: ww.WideSparseRegressor(weights=40, width=10, max_iter=5, random_state=0)),
    "WideSparseClassifier": estimator(
        lambda: ww.WideSparseClassifier(weights=60, width=10, max_iter=5, random_state=0), classes=True
    ),
    "InfiniteWidthRegressor": estimator(lambda: ww.InfiniteWidthRegressor()),
    "InfiniteWidthClassifier": estimator(lambda: ww.InfiniteWidthClassifier(), classes=True, ask="decision_function"),
    "LinearizedDifferenceRegressor": estimator(lambda: ww.LinearizedDifferenceRegressor(width=30, random_state=0)),
    "NodeScaledRegressor": estimator(lambda: ww.NodeScaledRegressor(width=50, random_state=0)),
    "init.gaussian_": lambda t: joined(ww.init.gaussian_(network(t), 1.3, 0.1, generator=_drawn()).parameters()),
    "init.edge_of_chaos_": lambda t: joined(ww.init.edge_of_chaos_(network(t), generator=_drawn()).parameters()),
    "init.chaotic_": lambda t: joined(ww.init.chaotic_(network(t), generator=_drawn()).parameters()),
    "init.ordered_": lambda t: joined(ww.init.ordered_(network(t), generator=_drawn()).parameters()),
}  # fmt: skip


def _drawn() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def _moved(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for displacement in model.displacement.values():
            displacement += numbers(*displacement.shape).to(displacement.dtype)
    return model


def _pruned(dtype: torch.dtype) -> nn.Module:
    model = network(dtype, activation="relu")
    ww.prune(model, 0.7, "random", on_collapse="allow")
    return model


def bounds() -> dict[str, float]:
    """The table of the page's first section."""
    section = PAGE.read_text().split("\n## ")[1]
    rows = re.findall(r"^\| (`[^|]*`) \| ([0-9.e-]+) \|", section, re.MULTILINE)
    return {name: float(bound) for names, bound in rows for name in re.findall(r"`([^`]+)`", names)}


@pytest.mark.parametrize("name", ROWS)
def test_single_precision_keeps_the_bound_of_the_page(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        single, double = (ROWS[name](dtype).detach().double() for dtype in (torch.float32, F64))
    assert single.isfinite().all()
    error = float((single - double).abs().max() / double.abs().max().clamp(min=1e-30))
    assert error <= bounds()[name], f"{name}: {error:.2g}"


def test_the_page_has_a_row_for_each_case_and_no_other():
    assert bounds().keys() == ROWS.keys()


# Public, without a row: why.
DOUBLE = "takes and gives Python's numbers: double precision"
CHOICE = "chooses or counts; which, not how much"
MAKES = "makes a network, whose numbers are PyTorch's"
WITHIN = "a part of what has a row"
REASONS: dict[str, str] = {
    **dict.fromkeys(
        (
            "compression.etf_objective", "compression.objective_bound", "compression.simplex_is_optimal",
            "edge_of_chaos", "flow.eigenvalue_floor", "flow.guaranteed_rate", "kernels.best_connectivity",
            "kernels.chernoff_width", "kernels.distance_approx", "kernels.distance_approx_diagonal",
            "kernels.distance_gaussian", "meanfield.at_chi", "meanfield.chi", "meanfield.correlation_fixed_point",
            "meanfield.depth_scales", "meanfield.edge_of_chaos", "meanfield.fixed_point", "meanfield.phase",
            "meanfield.variance_slope", "scaling.power_law", "scaling.uniform", "scaling.zipf", "scaling.mixed",
            "scaling.check_scaling", "duals.expand",
        ),
        DOUBLE,
    ),
    **dict.fromkeys(
        (
            "best_width", "critical_sparsity", "data.examples_per_class", "data.load", "data.names", "data.register",
            "data.split", "kernels.random_pairs", "load", "nodes.most_important", "nodes.node_groups",
            "nodes.remove_nodes", "prunable", "prune", "pruning.critical_sparsity", "pruning.dead_layers",
            "pruning.dead_units", "pruning.effective_mask", "pruning.prune", "pruning.register_score",
            "pruning.score_names", "pruning.scores.find_method", "pruning.scores.register_score",
            "pruning.scores.score_names", "pruning.train_prune_repeat", "register_score", "save", "sparse.count",
            "sparse.plan", "widening.plan", "widening.sparsify_randomly", "widening.weights_at", "widening.width_for",
            "training.objective_for", "training.joined", "activations.names", "activations.register",
            "activations.of_model", "activations.of_module", "Mask", "activations.Elementwise", "flow.Snapshot",
        ),
        CHOICE,
    ),
    **dict.fromkeys(
        ("kernels.serial", "kernels.from_module", "widen", "widening.widen", "stabilize", "widening.LinearBottleneck"),
        MAKES,
    ),
    **dict.fromkeys(
        (
            "densify", "sparse.densify", "sparse.sparsify", "sparse.fold_batch_norms", "sparse.to_onnx", "compress",
            "compression.compress_model", "compression.CompressedModel", "compression.Target",
            "compression.best_orientation", "compression.full_objective", "compression.gradient_descent",
            "compression.lbfgs", "compression.limit_energy", "compression.random_frames", "compression.simplex_etf",
            "compression.Manifold", "linearized.linearize", "linearized.Linearized", "linearized.Difference",
            "linearized.LinearizedDifferenceRegressor", "flow.NodeScaledRegressor", "nodes.risk_curve",
            "nodes.train_heads", "nodes.transfer", "nodes.NodeFeatures", "activations.affine", "compare",
            "training.Family", "training.Ranks", "kernels.AvgPool", "kernels.Conv", "kernels.Dense",
            "kernels.Flatten", "kernels.GlobalAvgPool", "kernels.LayerNorm", "kernels.Residual",
        ),
        WITHIN,
    ),
}  # fmt: skip


def public() -> Iterator[str]:
    """Functions and classes that work out something, by the names users call them."""
    for where in PUBLIC:
        module = import_module(f"widthwise.{where}" if where else "widthwise")
        for name in module.__all__:
            what, full = getattr(module, name), f"{where}.{name}" if where else name
            if where == "models" or inspect.ismodule(what) or not callable(what):
                continue
            if (
                inspect.isclass(what)
                and (
                    issubclass(what, BaseException | enum.Enum) or dataclasses.is_dataclass(what) or _is_protocol(what)
                )
                and full not in ROWS
            ):
                continue
            if inspect.isclass(what) or inspect.isfunction(what):
                yield full


def _is_protocol(kind: type) -> bool:
    return bool(getattr(kind, "_is_protocol", False))


def test_every_public_function_has_a_row_or_a_reason():
    missing = sorted(set(public()) - ROWS.keys() - REASONS.keys())
    assert not missing
