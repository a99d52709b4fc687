"""Time of the empirical NTK of a network of width 2000 on 500 examples of 100 features, single precision.

Every contender runs in turn, many times: the function's own choice and each of its methods, what one would write first,
the Jacobian by ``torch.func`` and its product with itself, and neural-tangents where it can be imported. Ratios are to
the function's own choice.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import torch
from _timing import header, interleaved, ratio
from torch import nn
from torch.func import functional_call, jacrev, vmap

from widthwise.kernels import empirical_ntk

try:
    import jax
    import neural_tangents
    from neural_tangents import stax
except ImportError:
    stax = None

_TOUCH = 1 << 26  # bytes, more than any contender but the Jacobians takes


def plain(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """``J @ J.T`` with the Jacobian of ``torch.func``."""
    params = {name: p.detach() for name, p in model.named_parameters()}
    rows = vmap(jacrev(lambda p, one: functional_call(model, p, (one[None],))[0]), (None, 0))(params, x)
    flat = torch.cat([each.flatten(1) for each in rows.values()], 1)
    return flat @ flat.T


def peers(width: int, x: torch.Tensor, default: bool) -> dict[str, Callable[[], object]]:
    """neural-tangents' compiled kernels of such a network: its best method and, if wanted, what it does by default."""
    if stax is None:
        return {}
    start, apply, _ = stax.serial(stax.Dense(width), stax.Relu(), stax.Dense(1))
    _, params = start(jax.random.PRNGKey(0), tuple(x.shape))
    data = jax.numpy.asarray(x.numpy())
    best = {"vmap_axes": 0, "implementation": neural_tangents.NtkImplementation.STRUCTURED_DERIVATIVES}
    settings = {"neural-tangents, structured derivatives": best} | ({"neural-tangents, default": {}} if default else {})
    found: dict[str, Callable[[], object]] = {}
    for name, given in settings.items():
        kernel = jax.jit(neural_tangents.empirical_ntk_fn(apply, **given))
        found[name] = lambda kernel=kernel: jax.block_until_ready(kernel(data, None, params))
    return found


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=2000)
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--products", action="store_true", help="NTK-vector products too, which take long here")
    parser.add_argument("--default", action="store_true", help="neural-tangents' default too, which takes longer")
    parser.add_argument("--brief", action="store_true", help="neither the methods by themselves nor torch.func")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(options.features, options.width), nn.ReLU(), nn.Linear(options.width, 1))
    x = torch.randn(options.examples, options.features)
    contenders: dict[str, Callable[[], object]] = {"auto": lambda: empirical_ntk(model, x)}
    if not options.brief:
        for method in ("layers", "jacobian", *(["products"] * options.products)):
            contenders[method] = lambda method=method: empirical_ntk(model, x, method=method)
        contenders["torch.func Jacobian"] = lambda: plain(model, x)
    contenders |= peers(options.width, x, options.default)
    header(f"empirical NTK, width {options.width}, n = {options.examples}, d = {options.features}")
    seconds = interleaved(contenders, options.rounds, pause=0.3 if stax else 0.0, touch=_TOUCH)
    for name, times in seconds.items():
        print(f"{name}: {1e3 * statistics.median(times):.1f} ms, {ratio(times, seconds['auto'])} of auto")


if __name__ == "__main__":
    main()
