"""``widthwise prune``: choose which weights of a network live, before it is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from widthwise.cli.console import friendly, out
from widthwise.errors import InputError

if TYPE_CHECKING:
    from widthwise.data import Splits
    from widthwise.masks import Mask

__all__ = ["prune_command"]


@friendly
def prune_command(
    model: Annotated[
        str, typer.Argument(help="A built-in network (mlp, resnet32, vgg16, ...) or package.module:factory.")
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
    rescale: Annotated[bool, typer.Option(help="Bring the pruned network back onto the edge of chaos.")] = False,
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
    from widthwise.models.named import from_name

    splits = ww.data.split(ww.data.load(data, target=target))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = from_name(model, _parsed(arguments or []), shape=splits.train[0].shape[1:], outputs=splits.n_outputs)
    examples = _examples(splits, examples_per_class, seed)
    mask = ww.prune(
        network,
        None if budget is not None else sparsity,
        method,
        data=examples,
        loss=functional.mse_loss if splits.task == "regression" else functional.cross_entropy,
        budget=budget,
        scope=scope,
        rounds=rounds,
        seed=seed,
        on_collapse=on_collapse,
    )
    if rescale:
        out.print(str(ww.rescale(network, mask, data=examples)), highlight=False, markup=False)
    _write(mask, to)
    ww.save(network, to / "model.safetensors", about={"data": splits.name, "classes": list(splits.classes)})
    out.print(mask.report(), highlight=False, markup=False, soft_wrap=True)
    for name in ("mask.safetensors", "model.safetensors", "layers.txt", "mask.svg"):
        out.print(str(to / name), highlight=False, markup=False, soft_wrap=True)


def _examples(splits: Splits, each: int, seed: int) -> Any:
    from widthwise.data import examples_per_class

    x, y = splits.train
    if splits.task == "regression":
        return x[:256], y[:256]
    return examples_per_class(x, y, each, seed)


def _parsed(arguments: list[str]) -> dict[str, Any]:
    """``name=value`` pairs, the values as JSON where they are JSON and as text where not."""
    parsed: dict[str, Any] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or not name:
            raise InputError(f"--set: got {argument!r}, allowed is name=value")
        try:
            parsed[name] = json.loads(value)
        except ValueError:
            parsed[name] = {"True": True, "False": False, "None": None}.get(value, value)
    return parsed


def _write(mask: Mask, folder: Path) -> None:
    from widthwise._atomic import atomic_path, write_text
    from widthwise.report.mask import mask_figure

    mask.save(folder / "mask.safetensors")
    write_text(folder / "layers.txt", mask.report() + "\n")
    with atomic_path(folder / "mask.svg") as part:
        mask_figure(mask).savefig(part, format="svg", metadata={"Date": None})
