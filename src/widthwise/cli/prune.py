"""``widthwise prune``: choose which weights of a network live, before it is trained."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from widthwise.cli.console import friendly, out, own_folder
from widthwise.cli.naming import named_network
from widthwise.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from widthwise.data import Splits
    from widthwise.masks import Mask

__all__ = ["prune_command"]

_FILES = ("mask.safetensors", "model.safetensors", "layers.txt", "mask.svg")


@friendly
def prune_command(
    model: Annotated[
        str,
        typer.Argument(
            help="A built-in network (mlp, resnet32, vgg16, ...), or one of yours: file.py:factory or "
            "package.module:factory."
        ),
    ],
    sparsity: Annotated[float, typer.Option(help="Fraction of the weights to remove, in [0, 1).")] = 0.9,
    budget: Annotated[int | None, typer.Option(help="Number of weights to keep, instead of --sparsity.")] = None,
    method: Annotated[str, typer.Option(help="The score: random, magnitude, snip, grasp, synflow, ...")] = "snip",
    data: Annotated[str, typer.Option(help="A data set's name or path, see `widthwise data`.")] = "digits",
    target: Annotated[str | None, typer.Option(help="The column of a CSV to predict.")] = None,
    scope: Annotated[str, typer.Option(help="global, uniform, erk or balanced.")] = "global",
    rounds: Annotated[int | None, typer.Option(help="Times to score and prune.  [default: the method's own]")] = None,
    examples_per_class: Annotated[int, typer.Option(help="Examples of each class to score on.")] = 10,
    arguments: Annotated[
        list[str] | None, typer.Option("--set", help="An argument of the network, as name=value; may be repeated.")
    ] = None,
    edge_of_chaos: Annotated[
        bool, typer.Option("--edge-of-chaos", help="Draw the weights on the edge of chaos, not as the network does.")
    ] = False,
    rescale: Annotated[
        bool, typer.Option("--rescale", help="Bring the pruned network back onto the edge of chaos.")
    ] = False,
    activation: Annotated[
        str | None, typer.Option(help="What the network has between its layers, where that cannot be read off.")
    ] = None,
    on_collapse: Annotated[str, typer.Option(help="raise, warn or allow when a layer dies.")] = "raise",
    seed: Annotated[int, typer.Option(help="Draws the initialization, the examples and ties.")] = 0,
    to: Annotated[
        Path, typer.Option("--out", help="Folder for mask.safetensors, model.safetensors, layers.txt and mask.svg.")
    ] = Path("widthwise-out"),
) -> None:
    """Prune a network at initialization, and show what each layer and each unit keeps.

    For example `widthwise prune mlp --set width=300 --sparsity 0.95`, or
    `widthwise prune resnet32 --set width=2 --data cifar10 --method synflow --sparsity 0.99`.
    """
    import torch
    from torch.nn import functional

    import widthwise as ww

    own_folder(to, _FILES, "mask.safetensors")
    splits = ww.data.split(ww.data.load(data, target=target))
    examples = _examples(splits, examples_per_class, seed)
    loss = functional.mse_loss if splits.task == "regression" else functional.cross_entropy
    network = named_network(model, arguments, splits.train[0].shape[1:], splits.n_outputs, seed)
    _check_runs(model, network, examples, loss)
    with _warnings_in_a_line():
        if edge_of_chaos:
            ww.init.edge_of_chaos_(network, activation, generator=torch.Generator().manual_seed(seed))
        mask = ww.prune(
            network,
            None if budget is not None else sparsity,
            method,
            data=examples,
            loss=loss,
            budget=budget,
            scope=scope,
            rounds=rounds,
            seed=seed,
            on_collapse=on_collapse,
        )
    if rescale:
        out.print(str(ww.rescale(network, mask, activation, data=examples)), highlight=False, markup=False)
    _write(mask, to)
    ww.save(network, to / "model.safetensors", about={"data": splits.name, "classes": list(splits.classes)})
    out.print(mask.report(), highlight=False, markup=False, soft_wrap=True)
    for name in _FILES:
        out.print(str(to / name), highlight=False, markup=False, soft_wrap=True)


def _check_runs(name: str, network: nn.Module, examples: Any, loss: Any) -> None:
    """Refuse a network that does not fit the data, in one line."""
    import torch

    from widthwise.errors import place_of
    from widthwise.pruning.gradients import as_found
    from widthwise.weights import check_has_values

    check_has_values(network)
    x, y = examples
    try:
        with as_found(network), torch.no_grad():
            loss(network(x), y)
    except InputError:
        raise
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
        got = f"{tuple(x.shape[1:])} in {x.dtype}"
        raise InputError(
            f"model: {name} does not fit the data, examples of shape {got}: {error}{place_of(error)}"
        ) from error


@contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for line in dict.fromkeys(" ".join(str(warning.message).split()) for warning in caught):
        typer.echo(f"warning: {line}", err=True)


def _examples(splits: Splits, each: int, seed: int) -> Any:
    from widthwise.data import examples_per_class

    x, y = splits.train
    if splits.task == "regression":
        return x[:256], y[:256]
    return examples_per_class(x, y, each, seed)


def _write(mask: Mask, folder: Path) -> None:
    from widthwise._atomic import atomic_path, write_text
    from widthwise.report.mask import mask_figure

    mask.save(folder / "mask.safetensors")
    write_text(folder / "layers.txt", mask.report() + "\n")
    with atomic_path(folder / "mask.svg") as part:
        mask_figure(mask).savefig(part, format="svg", metadata={"Date": None})
