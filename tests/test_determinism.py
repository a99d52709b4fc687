"""What is promised to be the same, bit for bit: whatever the number of threads, in another process, in another order.

Each promise in the sources and the documentation has a test here or elsewhere; one without fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import widthwise as ww
from widthwise import data, kernels
from widthwise.pruning import scores
from widthwise.pruning.ticket import winning_ticket
from widthwise.sparse import SparseLinear
from widthwise.sparse.conv import SparseConv2d
from widthwise.training import Family, TrainConfig, fit, objective_for, train
from widthwise.training.loop import order_of
from widthwise.training.sparse_family import Rule, SparseFamily
from widthwise.widening import sparsify_randomly

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def network() -> nn.Sequential:
    torch.manual_seed(3)
    return ww.models.mlp(30, 5, width=40, depth=2)


def batch(n: int = 90) -> tuple[Tensor, Tensor]:
    torch.manual_seed(4)
    return torch.randn(n, 30), torch.randint(5, (n,))


def values(mask: ww.Mask) -> list[Tensor]:
    return [mask[name] for name in mask]


def sparse_linear() -> list[Tensor]:
    layer = SparseLinear(torch.randn(300, 400) * (torch.rand(300, 400) < 0.2), torch.randn(300))
    x = torch.randn(150, 400, requires_grad=True)
    y = layer(x)
    return [y.detach(), *torch.autograd.grad(y.square().sum(), (x, *layer.parameters()))]


def sparse_conv() -> list[Tensor]:
    dense = nn.Conv2d(16, 24, 3, padding=1)
    dense.weight.data *= torch.rand_like(dense.weight) < 0.2
    layer, x = SparseConv2d.from_conv2d(dense), torch.randn(20, 16, 9, 9, requires_grad=True)
    y = layer(x)
    return [y.detach(), *torch.autograd.grad(y.square().sum(), (x, *layer.parameters()))]


def sparse_family() -> list[Tensor]:
    models = [network() for _ in range(5)]
    plain = [nn.Sequential(*m.children()) for m in models]
    masks = [{n: torch.rand_like(p) < 0.7 for n, p in m.named_parameters() if p.dim() > 1} for m in plain]
    family = SparseFamily(plain, masks)
    x, y = batch(600)
    for _ in range(2):
        family.descend(family.prepared(x).view(6, 100, 31), y.view(6, 100), torch.full((5,), 0.05), Rule())
    return [family.theta, family.forward(family.prepared(x))]


def pruned(method: str) -> Callable[[], list[Tensor]]:
    return lambda: values(ww.prune(network(), 0.8, method, seed=5))


def estimated() -> list[Tensor]:
    x, y = batch()
    model = ww.WideSparseClassifier(weights=80, width=12, max_iter=4, random_state=0, n_jobs=torch.get_num_threads())
    return [torch.from_numpy(model.fit(x.numpy(), y.numpy()).predict_proba(x.numpy()))]


def split() -> list[Tensor]:
    found = data.split(data.load("digits"), seed=2)
    return [tensor for part in (found.train, found.validation, found.test) for tensor in part]


SAME_FOR_ANY_NUMBER_OF_THREADS = {
    "sparse linear": sparse_linear,
    "sparse convolution": sparse_conv,
    "sparse family": sparse_family,
    "random mask": pruned("random"),
    "magnitude mask": pruned("magnitude"),
    "random widening": lambda: values(sparsify_randomly(network(), 500, seed=7)),
    "winning ticket": lambda: values(winning_ticket(ww.init.gaussian_(network(), 2.0), "relu", seed=3)),
    "examples": lambda: list(data.examples_per_class(*batch(), 4, seed=2)),
    "initialization": lambda: [
        *ww.init.edge_of_chaos_(network(), generator=torch.Generator().manual_seed(1)).parameters()
    ],
    "estimator": estimated,
    "split": split,
}  # fmt: skip


@pytest.mark.parametrize("name", SAME_FOR_ANY_NUMBER_OF_THREADS)
def test_the_number_of_threads_changes_no_bit(name):
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        found.append(SAME_FOR_ANY_NUMBER_OF_THREADS[name]())
    for one, *others in zip(*found, strict=True):
        assert all(torch.equal(one, other) for other in others)


def fitted() -> list[Tensor]:
    model = network()
    ww.prune(model, 0.5, "random")
    fit(model, batch(), TrainConfig(epochs=2, batch_size=16, lr=0.1, momentum=0.9), objective_for("classification"))
    return list(model.parameters())


def trained() -> list[Tensor]:
    family = Family([network(), network()])
    config = TrainConfig(epochs=2, batch_size=16, lr=0.1)
    train(family, batch(), config, objective_for("classification"), seeds=[0, 1])
    return list(family.params.values())


SAME_AGAIN = {
    "fit": fitted,
    "train": trained,
    "snip": lambda: values(ww.prune(network(), 0.8, "snip", batch(), functional.cross_entropy, seed=5)),
    "grasp": lambda: values(ww.prune(network(), 0.5, "grasp", batch(), functional.cross_entropy, seed=5)),
    "synflow": lambda: values(ww.prune(network(), 0.8, "synflow", rounds=3, seed=5)),
    "kernel": lambda: list(kernels.MLP(2, "relu", 1.4, 0.1).kernels(batch()[0])),
    "empirical kernel": lambda: [kernels.empirical_ntk(network(), batch()[0][:10])],
}


@pytest.mark.parametrize("name", SAME_AGAIN)
def test_the_same_call_gives_the_same_bits_whatever_the_global_generator(name):
    first = SAME_AGAIN[name]()
    torch.manual_seed(99)
    np.random.seed(99)
    assert all(torch.equal(a, b) for a, b in zip(first, SAME_AGAIN[name](), strict=True))


def test_a_seed_orders_the_examples_whatever_is_trained_beside():
    config, objective = TrainConfig(epochs=2, batch_size=16, lr=0.1), objective_for("classification")
    alone, beside = Family([network()]), Family([network() for _ in range(3)])
    train(alone, batch(), config, objective, seeds=[4])
    train(beside, batch(), config, objective, seeds=[1, 4, 2])
    for name, parameter in alone.params.items():
        torch.testing.assert_close(beside.params[name][1], parameter[0], rtol=1e-4, atol=1e-6)
    assert torch.equal(order_of(50, 4, 1), order_of(50, 4, 1))


def test_the_random_score_depends_on_the_generator_alone():
    found = []
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(8)
        found.append(scores.random(network_of(dtype)))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def network_of(dtype: torch.dtype) -> nn.Module:
    state = torch.get_rng_state()
    model = network().to(dtype)
    torch.set_rng_state(state)
    return model


def test_equal_masks_and_models_are_written_as_equal_bytes(tmp_path):
    for name in ("a", "b"):
        model = network()
        ww.prune(model, 0.5, "random").save(tmp_path / f"mask-{name}")
        ww.save(model, tmp_path / f"model-{name}")
    assert (tmp_path / "mask-a").read_bytes() == (tmp_path / "mask-b").read_bytes()
    assert (tmp_path / "model-a").read_bytes() == (tmp_path / "model-b").read_bytes()


THREADS = "tests/test_determinism.py::test_the_number_of_threads_changes_no_bit"
BYTES = "tests/test_determinism.py::test_equal_masks_and_models_are_written_as_equal_bytes"
RANDOM = "tests/test_determinism.py::test_the_random_score_depends_on_the_generator_alone"
SPREAD = "tests/kernels/test_spectrum_spread.py::test_processes_give_the_same_bits"
STOPPED = "tests/training/test_fit.py::test_a_stopped_training_goes_on_to_the_same_bits"
COMPARED = "tests/comparison/test_compare.py::test_the_same_seed_gives_the_same_numbers_alone_and_in_two_processes"
# A file that promises -> the test that holds it to it.
PROMISES = {
    "docs/compare.md": COMPARED,
    "docs/data.md": THREADS,
    "docs/distributed.md": STOPPED,
    "docs/reliability.md": STOPPED,
    "docs/sparse.md": THREADS,
    "src/widthwise/_maskfile.py": BYTES,
    "src/widthwise/_tensorfile.py": BYTES,
    "src/widthwise/data/sampling.py": THREADS,
    "src/widthwise/data/splits.py": "tests/data/test_splits.py::test_threads_do_not_change_a_bit",
    "src/widthwise/infinite/spread.py": "tests/infinite/test_infinite_spread.py::test_processes_write_the_same_file",
    "src/widthwise/init.py": THREADS,
    "src/widthwise/kernels/spectrum/api.py": SPREAD,
    "src/widthwise/kernels/spectrum/limit.py": SPREAD,
    "src/widthwise/kernels/spectrum/spread.py": SPREAD,
    "src/widthwise/pruning/scores/simple.py": RANDOM,
    "src/widthwise/pruning/ticket.py": THREADS,
    "src/widthwise/sparse/_kernels/build.py": THREADS,
    "src/widthwise/sparse/_kernels/conv.py": "tests/sparse/test_sparse_conv.py::test_results_do_not_depend_on_threads",
    "src/widthwise/training/fit.py": STOPPED,
    "src/widthwise/training/loop.py": "tests/training/test_family.py::test_resuming_is_bit_for_bit_the_same_run",
    "src/widthwise/widening/sparse.py": THREADS,
}
PROMISE = re.compile(
    r"bit[- ](for|by)[- ]bit|the\s+last\s+bit|same\s+on\s+any\s+machine|equal\s+bytes|the\s+same\s+bytes"
    r"|any\s+machine\.|number\s+of\s+threads\.|deterministic|same\s+for\s+the\s+same\s+numbers"
)


def test_every_promise_has_its_test():
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
    skipped = {"docs/numerics.md"}  # which says how this file holds the promises
    found = {
        name
        for file in files
        if "experiments" not in (name := file.relative_to(ROOT).as_posix()) and PROMISE.search(file.read_text())
    } - skipped
    assert sorted(found - PROMISES.keys()) == []
    for place in PROMISES.values():
        file, test = place.split("::")
        assert f"def {test}(" in (ROOT / file).read_text(), place
