"""``widthwise compare``: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from widthwise.cli.console import as_options, friendly, numbers, out, own_folder, progress_bar, words

__all__ = ["compare_command"]


@friendly
def compare_command(
    data: Annotated[
        str,
        typer.Option(
            help="A name (see `widthwise data`) or a path: a folder of idx files, CIFAR batches or parquet, a CSV "
            "with --target, a NumPy .npz.",
            rich_help_panel="What",
        ),
    ] = "digits",
    target: Annotated[str | None, typer.Option(help="The column of a CSV to predict.", rich_help_panel="What")] = None,
    budget: Annotated[
        int | None,
        typer.Option(
            help="Number of weights to spend; some width of the dense network must need exactly that many.",
            rich_help_panel="What",
        ),
    ] = None,
    base_width: Annotated[
        int | None,
        typer.Option(help="Width of the dense network, instead of --budget.  [default: 3]", rich_help_panel="What"),
    ] = None,
    factors: Annotated[
        str, typer.Option(help="Widening factors: how many times wider than the dense network.", rich_help_panel="What")
    ] = "2,4,8,16,32",
    methods: Annotated[
        str,
        typer.Option(
            help="Ways to spend the budget: dense (for comparison), sparse (random static masks), linear_bottleneck, "
            "nonlinear_bottleneck (from --depth 3 on), or the name of a pruning score.",
            rich_help_panel="What",
        ),
    ] = "dense,sparse,magnitude,snip",
    last_layer_connectivity: Annotated[
        str | None,
        typer.Option(
            help="Shares of the last layer to keep, such as 1,0.5,0.1: a family of sparse networks for each, the rest "
            "of the weights balanced over the other layers.",
            rich_help_panel="What",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Networks of each kind.", rich_help_panel="What")] = 5,
    depth: Annotated[int, typer.Option(help="Hidden layers.", rich_help_panel="Network")] = 1,
    activation: Annotated[str, typer.Option(help="Their activation.", rich_help_panel="Network")] = "relu",
    epochs: Annotated[int, typer.Option(help="Passes over the training set.", rich_help_panel="Training")] = 200,
    batch_size: Annotated[int, typer.Option(help="Examples a step.", rich_help_panel="Training")] = 100,
    lr: Annotated[float, typer.Option(help="Learning rate.", rich_help_panel="Training")] = 0.1,
    momentum: Annotated[float, typer.Option(help="Momentum.", rich_help_panel="Training")] = 0.0,
    weight_decay: Annotated[float, typer.Option(help="L2 penalty.", rich_help_panel="Training")] = 0.0,
    schedule: Annotated[
        str, typer.Option(help="constant, or cosine to zero.", rich_help_panel="Training")
    ] = "constant",
    standardize: Annotated[
        str,
        typer.Option(
            help="Scale of the inputs: global (one mean and deviation for images, one a column for tables), pixel "
            "(one a feature) or none.",
            rich_help_panel="Training",
        ),
    ] = "global",
    validation: Annotated[
        float, typer.Option(help="Share of the training examples set aside to rank by.", rich_help_panel="Training")
    ] = 0.2,
    device: Annotated[str, typer.Option(help="cpu, or cuda.", rich_help_panel="Machine")] = "cpu",
    dtype: Annotated[str, typer.Option(help="float32 or float64.", rich_help_panel="Machine")] = "float32",
    jobs: Annotated[
        int | None,
        typer.Option(
            help="Groups of networks trained at the same time.  [default: one a core]", rich_help_panel="Machine"
        ),
    ] = None,
    track: Annotated[
        str | None,
        typer.Option(
            help="Tell every row to tensorboard:FOLDER or mlflow:FOLDER-OR-ADDRESS too.",
            rich_help_panel="Machine",
            show_default=False,
        ),
    ] = None,
    to: Annotated[
        Path,
        typer.Option(
            "--out",
            help="Folder for report.html, results.sqlite, model.safetensors, plots and tables. What is found there is "
            "not run again.",
            rich_help_panel="Machine",
        ),
    ] = Path("widthwise-out"),
) -> None:
    """Find the best way to spend a budget of weights on a data set.

    Trains the dense network that has exactly the budget, wider ones made sparse at random, and wider ones pruned at
    initialization, all with the same number of weights, several seeds each; says which is best, by how much, and
    what the kernel distance had foretold before training.

    Ctrl-C keeps what is done; the same command goes on from there.

    For example `widthwise compare` (handwritten digits, 222 weights, about a minute),
    `widthwise compare --data mnist-folder --budget 3970 --factors 4,16,64 --epochs 30`, or
    `widthwise compare --data concrete.csv --target strength --base-width 2`.
    """
    from widthwise.comparison.run import compare
    from widthwise.report import rich_table, write_folder
    from widthwise.tracking import open_tracker
    from widthwise.training import TrainConfig

    own_folder(to, ("report.html", "model.safetensors"), "results.sqlite")
    with as_options(to="--track"):
        tracker = None if track is None else open_tracker(track)
    train = TrainConfig(epochs, batch_size, lr, momentum, weight_decay, schedule)
    shares = () if last_layer_connectivity is None else numbers("--last-layer-connectivity", last_layer_connectivity)
    chosen: dict[str, Any] = {"budget": budget, "base_width": base_width, "target": target, "seeds": seeds}
    with progress_bar() as watch:
        found = compare(
            data,
            **chosen,
            last_layer_connectivity=shares,
            factors=numbers("--factors", factors),
            methods=words("--methods", methods),
            train=train,
            depth=depth,
            activation=activation,
            standardize=standardize,
            validation=validation,
            out=to,
            device=device,
            dtype=dtype,
            jobs=jobs,
            watch=watch,
            track=tracker,
        )
    files = (*write_folder(found, to), to / "results.sqlite", to / "model.safetensors")
    out.print(rich_table(found))
    for sentence in found.findings:
        out.print(f"• {sentence}", highlight=False, markup=False)
    for file in files:
        out.print(str(file), highlight=False, markup=False, soft_wrap=True)
