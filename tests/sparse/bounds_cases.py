"""Every kernel of sparse execution on every shape Hypothesis likes, against the same in plain PyTorch.

A program for `test_bounds.py`, which runs it where an access out of bounds ends the process.
"""

from __future__ import annotations

import sys
from itertools import pairwise

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from widthwise.sparse import SparseLinear, _product, _team
from widthwise.sparse.conv import SparseConv2d
from widthwise.training.sparse_family import Rule, SparseFamily

EXAMPLES = int(sys.argv[1]) if __name__ == "__main__" and len(sys.argv) > 1 else 25
many = settings(
    max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
dtypes = st.sampled_from([torch.float32, torch.float64])
densities = st.sampled_from([0.0, 0.03, 0.3, 1.0])
LAYOUTS = ("plain", "batch last", "every other", "part")
RAN: set[str] = set()


def laid(x: Tensor, how: str) -> Tensor:
    """The same numbers with other strides, as a view of more memory where that is how they come."""
    if how == "batch last":
        return x.movedim(0, -1).contiguous().movedim(-1, 0)
    if how == "every other":
        return x.repeat_interleave(2, 0)[::2]
    return torch.cat([x, x])[len(x) :] if how == "part" else x


def compare(layer: nn.Module, dense: nn.Module, x: Tensor, clip: bool, learns: bool) -> None:
    layer.clip = clip
    x = x.detach().requires_grad_(learns)
    expected, got = dense(x), layer(x)
    expected = expected.relu() if clip else expected
    close = 1e-3 if x.dtype == torch.float32 else 1e-9
    torch.testing.assert_close(got, expected, rtol=close, atol=close)
    slope = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, [dense.bias, *([x] if learns else [])], slope)
    found = torch.autograd.grad(got, [layer.bias, *([x] if learns else [])], slope)
    torch.testing.assert_close(found, wanted, rtol=close, atol=close * 10)


@many
@given(
    st.integers(1, 150), st.integers(1, 70), st.integers(1, 700), densities, dtypes, st.sampled_from(LAYOUTS),
    st.booleans(), st.booleans(), st.booleans(), st.sampled_from([1, 2, 3]), st.sampled_from([0, 2**20]),
)  # fmt: skip
def linear(batch, rows, columns, density, dtype, how, clip, batch_last, learns, threads, heavy) -> None:
    torch.set_num_threads(threads)
    _product._HEAVY, _product._TURN = heavy, 2**13  # in turns, or not
    dense = nn.Linear(columns, rows, dtype=dtype)
    with torch.no_grad():
        dense.weight *= torch.rand(rows, columns) < density
    layer = SparseLinear(dense.weight.detach(), dense.bias.detach())
    layer.batch_last = batch_last
    compare(layer, dense, laid(torch.randn(batch, columns, dtype=dtype), how), clip, learns)


@many
@given(
    st.integers(1, 40), st.integers(1, 5), st.integers(1, 6), st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.integers(1, 2), st.integers(0, 2), st.integers(1, 2), st.tuples(st.integers(3, 9), st.integers(3, 9)),
    densities, dtypes, st.sampled_from(LAYOUTS), st.booleans(), st.booleans(), st.sampled_from([1, 2, 3]),
)  # fmt: skip
def conv(batch, inputs, outputs, kernel, stride, padding, dilation, size, density, dtype, how, clip, learns, threads):
    torch.set_num_threads(threads)
    if any(s + 2 * padding <= dilation * (k - 1) for s, k in zip(size, kernel, strict=True)):
        return
    dense = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, dtype=dtype)
    with torch.no_grad():
        dense.weight *= torch.rand_like(dense.weight) < density
    layer = SparseConv2d.from_conv2d(dense)
    compare(layer, dense, laid(torch.randn(batch, inputs, *size, dtype=dtype), how), clip, learns)


@many
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(0, 2), st.integers(1, 70), st.integers(1, 3),
    densities, dtypes, st.booleans(), st.sampled_from([Rule(), Rule(0.9, 1e-3), Rule(0.9, 1e-3, 0.999)]),
    st.sampled_from([1, 2, 3]),
)  # fmt: skip
def family(widths, depth, batch, steps, density, dtype, classify, rule, threads) -> None:
    torch.set_num_threads(threads)
    models = []
    for width in widths:
        sizes = [7, *[width] * depth, 3]
        parts = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b, dtype=dtype), nn.ReLU())]
        models.append(nn.Sequential(*parts[:-1]))
    masks = [{n: torch.rand(p.shape) >= density for n, p in m.named_parameters() if p.dim() > 1} for m in models]
    for model, dead in zip(models, masks, strict=True):
        for name, mask in dead.items():
            model.get_parameter(name).data[mask] = 0
    nets, x = SparseFamily(models, masks), torch.randn(batch, 7, dtype=dtype)
    wanted = torch.stack([model(x).detach() for model in models])
    torch.testing.assert_close(nets.forward(nets.prepared(x)), wanted, rtol=1e-3, atol=1e-4)
    y = torch.randint(3, (steps, batch)) if classify else torch.randn(steps, batch, 3, dtype=dtype)
    moments = torch.zeros(1 + (rule.second > 0), len(nets.theta), dtype=dtype) if rule.remembers else None
    inputs = nets.prepared(x).expand(steps, batch, 8).contiguous()
    nets.descend(inputs, y, torch.full((len(nets),), 0.01), rule, moments=moments)
    if not rule.remembers and steps == 1:  # one step of plain descent, by autograd
        for i, model in enumerate(models):
            out = model(x)
            loss = functional.cross_entropy(out, y[0]) if classify else functional.mse_loss(out, y[0])
            for name, parameter in model.named_parameters():
                (slope,) = torch.autograd.grad(loss, parameter, retain_graph=True)
                slope = slope.masked_fill(masks[i].get(name, torch.tensor(False)), 0)
                after = dict(nets.model(i).named_parameters())[name]
                torch.testing.assert_close(after, parameter - 0.01 * slope, rtol=1e-3, atol=1e-4)


def far() -> None:
    """Layers with more lines than 16 bits can count, of one example and of several."""
    for dtype in (torch.float32, torch.float64):
        for rows, columns in ((3, 70_000), (70_000, 3), (3, 5)):
            dense = nn.Linear(columns, rows, dtype=dtype)
            with torch.no_grad():
                dense.weight *= torch.rand(rows, columns) < 0.01 + (rows * columns < 100)
            layer = SparseLinear(dense.weight.detach(), dense.bias.detach())
            for batch in (1, 3, 9):
                compare(layer, dense, torch.randn(batch, columns, dtype=dtype), True, True)
            point = SparseConv2d(dense.weight.detach()[..., None, None], dense.bias.detach())
            wide = nn.Conv2d(columns, rows, 1, dtype=dtype)
            wide.load_state_dict({"weight": point.weight, "bias": point.bias})
            compare(point, wide, torch.randn(9, columns, 1, 1, dtype=dtype), True, True)


def main() -> None:
    guard = _team.guarded

    def seen(name, arguments, start):
        RAN.add(name)
        guard(name, arguments, start)

    _team.guarded = seen
    torch.manual_seed(0)
    for case in (linear, conv, family, far):
        case()
    print(*sorted(RAN))


if __name__ == "__main__":
    main()
