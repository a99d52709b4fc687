"""One network in two processes: ``python -m torch.distributed.run --nproc-per-node 2 examples/distributed.py``.

``python examples/distributed.py`` is the same training in one process. Kill either: the same command goes on.
"""

import argparse

import torch

import widthwise as ww
from widthwise.training import Ranks, TrainConfig, fit, joined, objective_for


def main() -> None:
    """Prune, train and save."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--precision", default="full", choices=("full", "bfloat16", "float16"))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", default="distributed")
    chosen = parser.parse_args()

    with joined(chosen.device) as device:
        parts = ww.data.split(ww.data.load("digits"))
        torch.manual_seed(0)  # the same start on every rank
        model = ww.models.mlp(64, 10, width=256).to(device)
        ww.prune(model, 0.9, "synflow")
        curve = fit(
            model,
            parts.train,
            TrainConfig(epochs=chosen.epochs, batch_size=100, lr=0.1, momentum=0.9),
            objective_for(parts.task),
            precision=chosen.precision,
            validation=parts.validation,
            checkpoint=f"{chosen.out}/checkpoint.safetensors",
        )
        if Ranks.now().rank == 0:
            ww.save(model, f"{chosen.out}/model.safetensors")
            print(f"ranks: {Ranks.now().world}, validation accuracy: {curve[-1][1]:.4f}")


if __name__ == "__main__":
    main()
