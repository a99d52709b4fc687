"""What each rank does in the tests of distributed training; started by torchrun."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from test_fit import Stop, data, network, stop_at

import widthwise as ww
from widthwise.errors import InputError
from widthwise.training import Ranks, TrainConfig, fit, joined, objective_for
from widthwise.training.loop import order_of


def pruned() -> torch.nn.Module:
    torch.manual_seed(0)
    model = ww.models.mlp(6, 3, width=16).double()
    ww.prune(model, 0.5, "magnitude")
    return model


def mixing() -> torch.nn.Module:
    return network(dropout=0.3)


def settings() -> dict:
    config = TrainConfig(epochs=2, batch_size=13, lr=0.05, momentum=0.9)  # of 40 examples: the last batch has one
    return {"config": config, "objective": objective_for("classification"), "seed": 4}


def train(folder: Path, rank: int) -> None:
    for build, pair in ((pruned, data()), (mixing, data(39))):  # BatchNorm wants two examples on every rank
        path = folder / f"{build.__name__}.safetensors"
        model = build()
        fit(model, pair, **settings())
        write(folder / f"{build.__name__}-{rank}.txt", model)
        try:
            fit(build(), pair, **settings(), checkpoint=path, save_every=0, watch=stop_at(5))
        except Stop:
            torch.distributed.barrier()
        model = build()
        fit(model, pair, **settings(), checkpoint=path)
        write(folder / f"{build.__name__}-resumed-{rank}.txt", model)


def differ(folder: Path, rank: int) -> None:
    model = ww.models.mlp(6, 3, width=16).double()
    mask = ww.Mask.dense(model)
    name = next(iter(mask))
    alive = mask[name].clone()
    alive[0, 0] = rank != 1
    ww.Mask({**mask, name: alive}).apply(model)
    try:
        fit(model, data(), **settings())
    except InputError as error:
        (folder / f"said-{rank}.txt").write_text(str(error))


def spoiled(folder: Path, rank: int) -> None:
    """One example of rank 1's share of the first batch gives an infinite loss."""
    x, y = data()
    first = order_of(len(x), settings()["seed"], 0)[:13].tensor_split(3)[1][0]
    x[first] = 1e200
    try:
        fit(Square(), (x, y), **settings())
    except InputError as error:
        (folder / f"said-{rank}.txt").write_text(str(error))


class Square(torch.nn.Linear):
    def __init__(self) -> None:
        super().__init__(6, 3, dtype=torch.float64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.square())


def write(path: Path, model: torch.nn.Module) -> None:
    values = torch.cat([tensor.flatten().double() for tensor in model.state_dict().values()])
    path.write_text("\n".join(map(float.hex, values.tolist())))


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined():
        {"train": train, "differ": differ, "spoiled": spoiled}[sys.argv[1]](Path(sys.argv[2]), Ranks.now().rank)
