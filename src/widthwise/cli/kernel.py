"""``widthwise kernel``: kernels of infinitely wide networks, and what such networks predict."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from widthwise.cli.console import friendly, out, own_folder, progress_bar

if TYPE_CHECKING:
    from torch import Tensor

    from widthwise.data import Splits

__all__ = ["app"]

app = typer.Typer(
    help="Kernels of infinitely wide networks: Gram matrices, predictions.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Data = Annotated[str, typer.Argument(help="A name (see `widthwise data`) or a path.")]
Target = Annotated[str | None, typer.Option(help="The column of a CSV to predict.", rich_help_panel="Data")]
Standardize = Annotated[str, typer.Option(help="Scale of the inputs: global, pixel or none.", rich_help_panel="Data")]
Kind = Annotated[
    str,
    typer.Option(
        "--network",
        help="mlp; conv, 3x3 convolutions and a dense readout; gap, the same with global average pooling.",
        rich_help_panel="Network",
    ),
]
Depth = Annotated[int, typer.Option(help="Hidden layers.", rich_help_panel="Network")]
Activation = Annotated[str, typer.Option(help="relu, erf, tanh, gelu, ...", rich_help_panel="Network")]
SigmaW = Annotated[
    float, typer.Option(help="Standard deviation of a weight times the root of its fan-in.", rich_help_panel="Network")
]
SigmaB = Annotated[float, typer.Option(help="Standard deviation of a bias.", rich_help_panel="Network")]
Seed = Annotated[int, typer.Option(help="Of the choice of examples.", rich_help_panel="Data")]


@app.command("gram")
@friendly
def gram_command(
    data: Data = "digits",
    target: Target = None,
    examples: Annotated[
        int | None, typer.Option(help="How many, the first ones of the file.  [default: all]", rich_help_panel="Data")
    ] = None,
    standardize: Standardize = "global",
    network: Kind = "mlp",
    depth: Depth = 1,
    activation: Activation = "relu",
    sigma_w: SigmaW = 2**0.5,
    sigma_b: SigmaB = 0.0,
    dtype: Annotated[str, typer.Option(help="float32 or float64.", rich_help_panel="Output")] = "float32",
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="npy: two files, streamed, which may be larger than memory; safetensors: one file with both.",
            rich_help_panel="Output",
        ),
    ] = "npy",
    to: Annotated[
        Path, typer.Option("--out", help="Folder for the kernels and kernels.svg.", rich_help_panel="Output")
    ] = Path("widthwise-out"),
) -> None:
    """Write the NNGP and NTK Gram matrices of a data set.

    The NNGP kernel is the covariance of the outputs of random networks of infinite width, the NTK what training them
    by gradient descent does. Rows are in the order of the data. No file needs unpickling to be read:
    `numpy.load("ntk.npy", mmap_mode="r")`, `safetensors.torch.load_file("kernels.safetensors")`.

    For example `widthwise kernel gram digits --depth 3`, or
    `widthwise kernel gram mnist-folder --network gap --examples 200 --format safetensors`.
    """
    import torch

    from widthwise import data as datasets
    from widthwise._atomic import check_folder
    from widthwise.errors import check_choice, check_integer
    from widthwise.infinite.files import architecture, write_gram

    check_folder(to)
    check_choice("dtype", dtype, ("float32", "float64"))
    found = datasets.load(data, target=target)
    count = len(found.x) if examples is None else check_integer("examples", examples, low=1)
    x = _scaled(found.x[:count].to(getattr(torch, dtype)), standardize)
    with progress_bar() as watch:
        net = architecture(network, depth, activation, sigma_w, sigma_b)
        files = write_gram(net, x.flatten(1) if network == "mlp" else x, to, form, watch)
    out.print(f"{len(x)} inputs of {found.name}", highlight=False, markup=False, soft_wrap=True)
    _list(files)


@app.command("predict")
@friendly
def predict_command(
    data: Data = "digits",
    target: Target = None,
    examples: Annotated[
        int, typer.Option(help="Training examples, at most; time grows as their cube.", rich_help_panel="Data")
    ] = 1000,
    tests: Annotated[int, typer.Option(help="Test examples, at most.", rich_help_panel="Data")] = 1000,
    standardize: Standardize = "global",
    seed: Seed = 0,
    network: Kind = "mlp",
    depth: Depth = 1,
    activation: Activation = "relu",
    sigma_w: SigmaW = 2**0.5,
    sigma_b: SigmaB = 0.3,
    ridge: Annotated[
        float, typer.Option(help="Weight of the parameters' motion; 0 is exact theory.", rich_help_panel="Training")
    ] = 1e-6,
    time: Annotated[
        float, typer.Option(help="Of gradient flow on the half sum of squares.", rich_help_panel="Training")
    ] = math.inf,
    to: Annotated[
        Path, typer.Option("--out", help="Folder for predictions.csv, predictions.json and curve.svg.")
    ] = Path("widthwise-out"),
) -> None:
    """Predict with all infinitely wide networks of one kind at once, trained exactly, without training.

    Prints the score of their mean on the test set at the time asked for, and the best over all times, which is where
    early stopping would help; the eigenvalues of the tangent kernel, and the largest stable learning rate of gradient
    descent. Regression learns standardised targets; predictions.csv and the standard deviation are in the units of the
    data. That std is the spread of trained networks over their initializations; it knows nothing of noise in the
    targets.

    For example `widthwise kernel predict digits --depth 2`, or
    `widthwise kernel predict concrete.csv --target strength --activation erf`.
    """
    from widthwise.infinite.files import architecture, predict, write_prediction

    own_folder(to, ("predictions.csv", "predictions.json", "curve.svg"), "predictions.csv")
    splits = _some(_split(data, target, standardize, seed), examples, tests, flat=network == "mlp")
    found = predict(architecture(network, depth, activation, sigma_w, sigma_b), splits, ridge, time)
    name = "accuracy" if found.task == "classification" else "R2"
    best = max(range(len(found.scores)), key=found.scores.__getitem__)
    for line in (
        f"{len(splits.train[0])} training and {len(found.mean)} test examples of {splits.name}",
        f"test {name} at time {time:g}: {found.score:.4f}",
        f"best over time: {found.scores[best]:.4f} at time {found.times[best]:.4g}",
        f"mean standard deviation over initializations: {' '.join(f'{each:.4g}' for each in found.std.mean(0))}",
        f"eigenvalues of the tangent kernel: {found.eigenvalues[0]:.4g} to {found.eigenvalues[1]:.4g}",
        f"largest learning rate of gradient descent on the half sum of squares: {found.largest_learning_rate:.4g}",
    ):
        out.print(line, highlight=False, markup=False, soft_wrap=True)
    _list(write_prediction(found, to))


def _split(data: str, target: str | None, standardize: str, seed: int) -> Splits:
    from widthwise import data as datasets

    return datasets.split(datasets.load(data, target=target), validation=0.0, standardize=standardize, seed=seed)


def _some(splits: Splits, examples: int, tests: int, *, flat: bool) -> Splits:
    """The first examples of either part, which are in random order, as vectors if ``flat``."""
    from dataclasses import replace

    from widthwise.errors import check_integer

    parts = []
    for pair, count in ((splits.train, check_integer("examples", examples, low=2)), (splits.test, tests)):
        x, y = (part[: check_integer("tests", count, low=1)] for part in pair)
        parts.append((x.flatten(1) if flat else x, y))
    return replace(splits, train=parts[0], test=parts[1])


def _scaled(x: Tensor, how: str) -> Tensor:
    """Mean 0 and deviation 1 over all inputs, of everything or of each feature; constant features become 0."""
    from widthwise.errors import check_choice

    check_choice("standardize", how, ("global", "pixel", "none"))
    if how == "none":
        return x
    axes = 0 if how == "pixel" or x.ndim == 2 else None
    mean, deviation = x.mean(axes, keepdim=True), x.std(axes, correction=0, keepdim=True)
    return (x - mean) / deviation.masked_fill(deviation == 0, math.inf)


def _list(files: list[Path]) -> None:
    for file in files:
        out.print(str(file), highlight=False, markup=False, soft_wrap=True)
