"""Kernels and predictions of a data set, as files and pictures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from widthwise._atomic import atomic_path, write_text
from widthwise._tensorfile import write_tensors
from widthwise.errors import InputError, check_choice, check_depth
from widthwise.infinite.convolution import Conv
from widthwise.infinite.ensemble import Ensemble
from widthwise.infinite.flattening import Flatten
from widthwise.infinite.layers import Dense, Layer
from widthwise.infinite.network import MLP, Network
from widthwise.infinite.pooling import GlobalAvgPool

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from widthwise.data import Splits

__all__ = ["Prediction", "architecture", "predict", "write_gram", "write_prediction"]

Watch = Callable[[float, float, str], None]
NETWORKS = ("mlp", "conv", "gap")
PIXELS = 256
"""Rows and columns of a picture of a kernel."""
DIGITS = 7
"""Of a number in a table: as many as float32 holds."""
TIMES = 60
"""Points of the learning curve."""
BLUE, ORANGE = "#1746c8", "#cc4e00"


def architecture(kind: str, depth: int, activation: str, sigma_w: float, sigma_b: float) -> Network:
    """Return a perceptron, or a network of 3x3 convolutions that flattens (``"conv"``) or averages (``"gap"``).

    Raises:
        InputError: for an unknown kind, or any other argument that is not allowed.
    """
    check_choice("network", kind, NETWORKS)
    if kind == "mlp":
        return MLP(depth, activation, sigma_w, sigma_b)
    hidden: list[Layer | str] = [Conv(padding="same", sigma_w=sigma_w, sigma_b=sigma_b), activation]
    hidden *= check_depth(depth)
    readout = Dense(sigma_w=sigma_w, sigma_b=sigma_b)
    return Network(*hidden, Flatten() if kind == "conv" else GlobalAvgPool(), readout)


def write_gram(network: Network, x: Tensor, folder: Path, form: str, watch: Watch | None) -> list[Path]:
    """Write both kernels of a data set and a picture of them.

    Args:
        network: the architecture.
        x: inputs.
        folder: where to.
        form: ``"npy"``: ``nngp.npy`` and ``ntk.npy``, streamed, so that they may be larger than memory;
            ``"safetensors"``: ``kernels.safetensors`` with both.
        watch: told how far it is.

    Raises:
        InputError: for another form; as :meth:`Network.kernels`.
    """
    check_choice("format", form, ("npy", "safetensors"))
    if form == "npy":
        files = [network.save(folder / f"{kind}.npy", x, kernel=kind, watch=watch) for kind in ("nngp", "ntk")]
    else:
        files = [folder / "kernels.safetensors"]
        write_tensors(files[0], "kernels", 1, {"network": repr(network)}, network.kernels(x)._asdict())
    some = x[torch.linspace(0, len(x) - 1, min(len(x), PIXELS)).long()]
    return [*files, _drawn(_kernel_figure(network, some), folder / "kernels.svg")]


@dataclass(frozen=True)
class Prediction:
    """What the infinite ensemble says of a test set.

    Attributes:
        task: ``"classification"`` or ``"regression"``.
        score: accuracy, or R^2 of regression, at the time asked for.
        truth: labels, or targets ``(m, k)`` in the units of the data.
        mean: mean outputs, ``(m, k)``; of regression in the units of the data.
        std: their standard deviation over initializations, ``(m, 1)``; of regression ``(m, k)``, in the same units.
        times, scores: the learning curve.
        eigenvalues: smallest and largest of the training inputs' tangent kernel.
        largest_learning_rate: of gradient descent on the half sum of squares.
    """

    task: str
    score: float
    truth: Tensor
    mean: Tensor
    std: Tensor
    times: list[float]
    scores: list[float]
    eigenvalues: tuple[float, float]
    largest_learning_rate: float


def predict(network: Network, splits: Splits, ridge: float, time: float) -> Prediction:
    """Train the ensemble on one part of a data set and predict the other, in float64.

    It learns the targets as they are scaled in ``splits``, and answers in the units they had before.

    Raises:
        InputError: if a target to predict never varies, as of one example, by which no R^2 can be had.
    """
    (x, y), (new, truth) = splits.train, splits.test
    if splits.task == "regression" and (truth.amax(0) == truth.amin(0)).any():
        raise InputError(
            f"tests: got {len(truth)} examples with a target that never varies, allowed are more, so that R2 is defined"
        )
    x, new = x.double(), new.double()
    targets = y.double()
    if splits.task == "classification":
        targets = torch.nn.functional.one_hot(y, splits.n_outputs).double() - 1 / splits.n_outputs
    targets = targets.reshape(len(x), -1)
    prior, ntk = network.kernels(x)
    prior_new, across = network.kernels(new, x)
    ensemble = Ensemble(ntk, targets, ridge=ridge)
    mean = ensemble.mean(across, time)
    std = ensemble.covariance(across, prior, prior_new, network.diagonal(new).nngp, time).sqrt()[:, None]
    low, high = (float(ensemble.eigenvalues[at]) for at in (0, -1))
    times = torch.logspace(-1, 5, TIMES).div(high).tolist()
    scores = [_score(splits.task, truth, ensemble.mean(across, at)) for at in times]
    score = _score(splits.task, truth, mean)
    if splits.task == "regression":
        centre, scale = splits.target_mean.double(), splits.target_scale.double()
        truth, mean = (part.double().reshape(mean.shape) * scale + centre for part in (truth, mean))
        std = std * scale
    rate = ensemble.largest_learning_rate
    return Prediction(splits.task, score, truth, mean, std, times, scores, (low, high), rate)


def write_prediction(found: Prediction, folder: Path) -> list[Path]:
    """Write ``predictions.csv``, ``predictions.json`` and the learning curve; several targets stand in one cell."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["truth", "predicted", "std"])
    truth = found.truth.reshape(len(found.mean), -1)
    answers = found.mean.argmax(1, keepdim=True) if found.task == "classification" else found.mean
    for row in zip(truth.tolist(), answers.tolist(), found.std.tolist(), strict=True):
        writer.writerow([" ".join(f"{number:.{DIGITS}g}" for number in cell) for cell in row])
    summary: dict[str, Any] = {
        "task": found.task,
        "score": found.score,
        "eigenvalues": found.eigenvalues,
        "largest_learning_rate": found.largest_learning_rate,
        "curve": [{"time": t, "score": s} for t, s in zip(found.times, found.scores, strict=True)],
    }
    write_text(folder / "predictions.csv", buffer.getvalue())
    write_text(folder / "predictions.json", json.dumps(summary, indent=1) + "\n")
    names = [folder / "predictions.csv", folder / "predictions.json"]
    return [*names, _drawn(_curve_figure(found), folder / "curve.svg")]


def _score(task: str, truth: Tensor, mean: Tensor) -> float:
    if task == "classification":
        return float((mean.argmax(1) == truth).double().mean())
    truth = truth.double().reshape(mean.shape)
    left = (truth - mean).square().sum(0) / (truth - truth.mean(0)).square().sum(0)
    return 1 - float(left.mean())


def _drawn(figure: Figure, path: Path) -> Path:
    with atomic_path(path) as part:
        figure.savefig(part, format="svg", metadata={"Date": None})
    return path


def _kernel_figure(network: Network, x: Tensor) -> Figure:
    """Both kernels over the roots of their diagonals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    for axes, (name, kernel) in zip(figure.subplots(1, 2), network.kernels(x)._asdict().items(), strict=True):
        scale = kernel.diagonal().clamp(min=torch.finfo(kernel.dtype).tiny).sqrt()
        image = axes.imshow((kernel / torch.outer(scale, scale)).numpy(), cmap="viridis", interpolation="nearest")
        axes.set(title=name.upper(), xticks=[], yticks=[], xlabel="inputs", ylabel="inputs")
        figure.colorbar(image, ax=axes, label="over the root of both diagonal entries", shrink=0.8)
    return figure


def _curve_figure(found: Prediction) -> Figure:
    """Score against the time of training, and where the prediction asked for stands."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    name = "accuracy" if found.task == "classification" else "R²"
    axes.plot(found.times, found.scores, color=BLUE, label="exact, at every time")
    axes.axhline(found.score, color=ORANGE, linestyle="--", label=f"as asked for: {found.score:.4f}")
    axes.set(xscale="log", xlabel="time of gradient flow on the half sum of squares", ylabel=f"test {name}")
    axes.legend(frameon=False)
    return figure
