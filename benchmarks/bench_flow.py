"""The whole of Figure 1 of asymmetrical node scaling: one loop of automatic differentiation a run against the package.

Four pairs of gamma and alpha, five seeds each, 50 000 steps of size 1.0 on the mean squared error, m = 2000, n = 100,
d = 50, in single precision. The loop is the one that anybody would write: a module, its loss, ``backward``, an SGD
step, one network after another. It and the package's gradient descent run a few steps of every network in turn, many
times in one process, and are extrapolated to all of them; the flow is followed to its end. The two ways are checked to
end at the same loss. Observers are timed as Figure 1 uses them, at 41 times. All runs on one thread, and seconds are
those of the processor.
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial

import torch
from _timing import header, interleaved, ratio
from torch import Tensor, nn

from widthwise import flow
from widthwise.experiments.asymmetrical_scaling.common import SETTINGS, Part, network, spaced
from widthwise.experiments.asymmetrical_scaling.simulated import sphere

N, D, M = 100, 50, 2000
STEPS, LR = 50_000, 2 / N  # a step of 1.0 on the mean squared error is one of 2 / n on the flow's loss
CLOCK = time.process_time
RECORD = ("loss", "largest_movement", "ntg_change", "smallest_eigenvalue")


def runs(seeds: int) -> tuple[list[nn.Module], list[Tensor], list[Tensor]]:
    """The networks of Figure 1 and their data."""
    parts = [Part("bench", "paper", None, s.gamma, s.alpha, seed) for s in SETTINGS for seed in range(seeds)]
    sets = [sphere(N, D, part.seed) for part in parts]
    return [network(part, D, M) for part in parts], [x for x, _ in sets], [y for _, y in sets]


def loop(seeds: int, steps: int) -> list[float]:
    """Every network by itself, by automatic differentiation; their losses at the end."""
    losses = []
    for model, x, y in zip(*runs(seeds), strict=True):
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = (model(x)[:, 0] - y).square().mean()
            loss.backward()
            optimizer.step()
        losses.append(float((model(x)[:, 0] - y).detach().square().mean()))
    return losses


def descent(seeds: int, steps: int) -> list[float]:
    """The same by the package's gradient descent."""
    run = flow.train(*runs(seeds), steps=steps, lr=LR, method="gd", at=[steps * LR])
    return [2 / N * float(loss) for loss in run["loss"][:, -1]]


def followed(seeds: int, steps: int, record: tuple[str, ...] = ("loss",), count: int = 1) -> list[float]:
    """The same time of the flow."""
    end = steps * LR
    run = flow.train(*runs(seeds), end, record=record, at=[0.0, *spaced(end, count, 4)[1:]], rtol=3e-3)
    return [2 / N * float(loss) for loss in run["loss"][:, -1]]


def main() -> None:
    """Time, check and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--steps", type=int, default=10, help="of the loop and of descent in each round, and four times as many"
    )
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    header(f"Figure 1: {4 * options.seeds} runs of {STEPS} steps, m = {M}, n = {N}, d = {D}")
    seeds, steps = options.seeds, options.steps
    off = max(abs(a / b - 1) for a, b in zip(loop(seeds, steps), descent(seeds, steps), strict=True))
    print(f"after {steps} steps descent's losses are the loop's to within {off:.1e}")
    both = {"loop": loop, "descent": descent}
    contenders = {
        (name, count): partial(run, seeds, count) for name, run in both.items() for count in (steps, 4 * steps)
    }
    seconds = interleaved({f"{name} {count}": run for (name, count), run in contenders.items()}, options.rounds, CLOCK)
    # Differences of two lengths: what steps cost without what beginning costs.
    step = {
        name: [b - a for a, b in zip(seconds[f"{name} {steps}"], seconds[f"{name} {4 * steps}"], strict=True)]
        for name in both
    }
    whole = {name: statistics.median(values) / (3 * steps) * STEPS for name, values in step.items()}
    print(f"loop of automatic differentiation: {whole['loop']:.0f} s, extrapolated from {3 * steps} steps")
    print(f"gradient descent: {whole['descent']:.0f} s, extrapolated likewise; {ratio(step['loop'], step['descent'])}")
    began = CLOCK()
    followed(seeds, STEPS)
    flowed = CLOCK() - began
    print(f"flow: {flowed:.1f} s to the same time; {whole['loop'] / flowed:.0f}x as fast as the loop")
    observers(options.rounds, whole["descent"] / seeds)


def observers(rounds: int, descent_seconds: float) -> None:
    """What four observers at 41 times add to the flow of one seed, and to its descent of so many seconds.

    Observed and unobserved runs take turns, and each round is compared within itself.
    """
    seconds = interleaved(
        {"flow": lambda: followed(1, STEPS), "observed": lambda: followed(1, STEPS, RECORD, 40)}, rounds, CLOCK
    )
    pairs = list(zip(seconds["flow"], seconds["observed"], strict=True))
    costs, extra = sorted(b / a - 1 for a, b in pairs), statistics.median(b - a for a, b in pairs)
    print(
        f"four observers at 41 times add {statistics.median(costs):.1%} ({costs[0]:.1%} to {costs[-1]:.1%}) to the "
        f"flow, {extra / descent_seconds:.2%} to descent"
    )


if __name__ == "__main__":
    main()
