"""Sparse families against one masked dense network at a time, in plain PyTorch."""

from __future__ import annotations

import math
import pickle
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from widthwise._tensorfile import write_tensors
from widthwise.errors import DataError, InputError
from widthwise.training import DivergenceWarning, Progress, TrainConfig
from widthwise.training.loop import order_of
from widthwise.training.sparse_family import Rule, SparseFamily
from widthwise.training.sparse_loop import evaluate_sparse, load_progress, save_progress, train_sparse

INPUTS, OUTPUTS = 11, 4
Masks = list[dict[str, Tensor]]


def make_nets(depth: int, dtype: torch.dtype = torch.float64, density: float = 0.5) -> tuple[list[nn.Module], Masks]:
    """Networks of several widths, with ReLUs and without, some units without a weight."""
    models: list[nn.Module] = []
    pruned: Masks = []
    for width, relu in ((5, True), (40, True), (17, False), (1, False)):
        layers: list[nn.Module] = [nn.Flatten()]
        sizes = [INPUTS, *[width] * depth, OUTPUTS]
        for i, (a, b) in enumerate(pairwise(sizes)):
            layers += [nn.Linear(a, b)] + ([nn.ReLU() if relu else nn.Identity()] if i < depth else [])
        model = nn.Sequential(*layers).to(dtype)
        masks = {n: torch.rand_like(p) > density for n, p in model.named_parameters() if p.dim() > 1}
        with torch.no_grad():
            for name, mask in masks.items():
                model.get_parameter(name)[mask] = 0
        models.append(model)
        pruned.append(masks)
    return models, pruned


def make_data(task: str, n: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, INPUTS, dtype=dtype)
    x[:, 3] = 0
    return x, torch.randint(OUTPUTS, (n,)) if task == "classification" else torch.randn(n, OUTPUTS, dtype=dtype)


def train_masked(
    model: nn.Module, pruned: dict[str, Tensor], data: tuple[Tensor, Tensor], config: TrainConfig, rate: float
) -> nn.Module:
    """What PyTorch's own optimizer makes of one network."""
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=config.momentum, weight_decay=config.weight_decay)
    x, y = data
    for epoch in range(config.epochs):
        for group in optimizer.param_groups:
            group["lr"] = rate * config.lr_at(epoch) / config.lr
        for batch in torch.split(order_of(len(x), 7, epoch), config.batch_size):
            loss = functional.mse_loss if y.is_floating_point() else functional.cross_entropy
            optimizer.zero_grad()
            loss(model(x[batch]), y[batch]).backward()
            for name, mask in pruned.items():
                gradient = model.get_parameter(name).grad
                assert gradient is not None
                gradient[mask] = 0
            optimizer.step()
    return model


def gap(one: nn.Module, other: nn.Module) -> float:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("more", [{}, {"momentum": 0.9, "weight_decay": 0.01, "schedule": "cosine"}])
@pytest.mark.parametrize("batch", [3, 100])
def test_equals_one_masked_network_at_a_time(task: str, depth: int, more: dict[str, float | str], batch: int) -> None:
    models, pruned = make_nets(depth)
    data = make_data(task, 130)
    config = TrainConfig(epochs=2, batch_size=batch, lr=0.1, **more)  # type: ignore[arg-type]
    family = SparseFamily(models, pruned)
    rates = torch.tensor([0.01, 0.002, 0.005, 0.02], dtype=torch.float64)
    train_sparse(family, data, config, seed=7, rates=rates)
    for i, (model, masks) in enumerate(zip(models, pruned, strict=True)):
        assert gap(family.model(i), train_masked(model, masks, data, config, float(rates[i]))) < 1e-10


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_adam_and_weights_of_examples_equal_one_masked_network_at_a_time(task: str) -> None:
    models, pruned = make_nets(1)
    x, y = make_data(task, 12 * 30)
    weights = torch.rand(12, 30, dtype=torch.float64)
    family, rule = SparseFamily(models, pruned), Rule(0.9, 0.01, 0.999)
    moments = family.theta.new_zeros(2, len(family.theta))
    examples = family.prepared(x).view(12, 30, -1)
    for done in (0, 6):  # two calls, the second goes on with the step count
        part = slice(done, done + 6)
        family.descend(
            examples[part], y.view(12, 30, *y.shape[1:])[part], torch.full((4,), 0.01), rule,
            moments=moments, done=done, weights=weights[part],
        )  # fmt: skip
    for i, (model, masks) in enumerate(zip(models, pruned, strict=True)):
        optimizer = torch.optim.AdamW(model.parameters(), lr=float(torch.tensor(0.01)), weight_decay=0.01)
        for step in range(12):
            rows = slice(30 * step, 30 * step + 30)
            optimizer.zero_grad()
            if task == "classification":
                losses = functional.cross_entropy(model(x[rows]), y[rows], reduction="none")
            else:
                losses = (model(x[rows]) - y[rows]).square().mean(1)
            (losses * weights[step]).mean().backward()
            for name, mask in masks.items():
                gradient = model.get_parameter(name).grad
                assert gradient is not None
                gradient[mask] = 0
            optimizer.step()
        assert gap(family.model(i), model) < 1e-10


def test_single_precision_is_near_double() -> None:
    models, pruned = make_nets(1)
    x, y = make_data("classification", 200)
    config = TrainConfig(epochs=3, batch_size=50)
    double = SparseFamily(models, pruned)
    single = SparseFamily([model.float() for model in models], pruned)
    train_sparse(double, (x, y), config, seed=0)
    train_sparse(single, (x.float(), y), config, seed=0)
    assert float((double.theta - single.theta).abs().max()) < 2e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_where_the_softmax_is_extreme(dtype: torch.dtype) -> None:
    models, pruned = make_nets(0, dtype, density=1.0)
    with torch.no_grad():
        models[0].get_parameter("1.weight").mul_(3e3)
    x, y = make_data("classification", 60, dtype)
    family = SparseFamily(models, pruned)
    expected = [train_masked(m, p, (x, y), TrainConfig(1, 60, 1.0), 1.0) for m, p in zip(models, pruned, strict=True)]
    train_sparse(family, (x, y), TrainConfig(1, 60, 1.0), seed=7)
    for i, model in enumerate(expected):
        scale = max(float(p.detach().abs().max()) for p in model.parameters())
        assert gap(family.model(i), model) < 30 * torch.finfo(dtype).eps * scale


def test_pickled_and_unpickled_it_goes_on_alike() -> None:
    models, pruned = make_nets(1)
    data = make_data("classification", 60)
    family = SparseFamily(models, pruned)
    other = pickle.loads(pickle.dumps(family))
    for each in (family, other):
        train_sparse(each, data, TrainConfig(epochs=1, batch_size=20), seed=0)
    assert torch.equal(family.theta, other.theta)


def test_outputs_are_those_of_the_modules() -> None:
    models, pruned = make_nets(2)
    x, y = make_data("classification", 250)
    family = SparseFamily(models, pruned)
    outputs = family.forward(family.prepared(x), chunk=77)
    assert outputs.shape == (4, 250, OUTPUTS)
    for mine, model in zip(outputs, models, strict=True):
        torch.testing.assert_close(mine, model(x).detach(), rtol=0, atol=1e-13)
    accuracy = evaluate_sparse(family, (x, y), chunk=99)
    assert accuracy.tolist() == [float((o.argmax(1) == y).double().mean()) for o in outputs]


def test_weights_of_idle_inputs_rest_and_cost_nothing_else() -> None:
    models, pruned = make_nets(1)
    data = make_data("classification", 90)
    plain = SparseFamily(models, pruned)
    resting = SparseFamily(models, pruned, idle=(data[0] == 0).all(0))
    for family in (plain, resting):
        train_sparse(family, data, TrainConfig(epochs=2, batch_size=20), seed=1)
    x = torch.randn(50, INPUTS, dtype=torch.float64)  # the third input is not zero here
    a, b = (family.forward(family.prepared(x)) for family in (plain, resting))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-13)
    for i in range(4):
        assert gap(plain.model(i), resting.model(i)) < 1e-13


def test_neither_threads_nor_neighbours_change_a_bit() -> None:
    models, pruned = make_nets(1, torch.float32)
    data = make_data("classification", 3000, torch.float32)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            family = SparseFamily(models * 20, pruned * 20)
            train_sparse(family, data, TrainConfig(epochs=1, batch_size=100), seed=0)
            found.append(family.theta)
        alone = SparseFamily(models[1:2], pruned[1:2])
        train_sparse(alone, data, TrainConfig(epochs=1, batch_size=100), seed=0)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)
    assert gap(alone.model(0), family.model(1)) == 0


def test_no_r2_is_made_up_of_one_example() -> None:
    family, one = SparseFamily(*make_nets(1)), tuple(part[:1] for part in make_data("regression", 20))
    for judge in (evaluate_sparse, lambda *a: train_sparse(a[0], a[1], TrainConfig(epochs=1), seed=0, validation=a[1])):
        with pytest.raises(InputError, match="got target 0 the same in all of 1 examples"):
            judge(family, one)


def test_goes_on_from_a_file_as_if_never_stopped(tmp_path: Path) -> None:
    data, config = make_data("classification", 120), TrainConfig(epochs=4, batch_size=32, momentum=0.9)
    models, pruned = make_nets(1)
    whole, first, second = (SparseFamily(models, pruned) for _ in range(3))
    expected = train_sparse(whole, data, config, seed=3, validation=data, record_every=2)

    def stop(now: Progress) -> None:
        if now.epoch == 2:
            save_progress(tmp_path / "state", first, now)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_sparse(first, data, config, seed=3, validation=data, record_every=2, after_epoch=stop)
    progress = load_progress(tmp_path / "state", second)
    assert train_sparse(second, data, config, seed=3, validation=data, record_every=2, progress=progress).curve == (
        expected.curve
    )
    assert torch.equal(second.theta, whole.theta)


def test_state_of_other_networks_is_refused(tmp_path: Path) -> None:
    models, pruned = make_nets(1)
    save_progress(tmp_path / "state", SparseFamily(models[:2], pruned[:2]), Progress())
    family = SparseFamily(models, pruned)
    with pytest.raises(DataError, match="other networks"):
        load_progress(tmp_path / "state", family)
    write_tensors(tmp_path / "empty", "widthwise.sparse_family", 1, {"epoch": 1, "curve": []}, {})
    with pytest.raises(DataError, match="other networks"):
        load_progress(tmp_path / "empty", family)
    with pytest.raises(DataError):
        load_progress(tmp_path / "nothing", family)


def test_a_diverged_network_is_nan_and_leaves_the_others_alone() -> None:
    models, pruned = make_nets(1)
    data = make_data("regression", 100)
    rates = torch.tensor([0.01, 0.01, 1e6, 0.01])
    family, sane = SparseFamily(models, pruned), SparseFamily(models, pruned)
    with pytest.warns(DivergenceWarning, match="network 3 of 4 diverged in epoch 1, step"):
        train_sparse(family, data, TrainConfig(epochs=30, batch_size=10), seed=0, rates=rates)
    train_sparse(sane, data, TrainConfig(epochs=30, batch_size=10), seed=0, rates=rates.clamp(max=0.01))
    score = evaluate_sparse(family, data)
    assert math.isnan(float(score[2]))
    assert gap(family.model(1), sane.model(1)) == 0


def chain(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (chain(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), "allowed is nn.Sequential of Linear"),
        (chain(nn.Linear(3, 4), nn.Linear(4, 2)), "allowed is nn.Sequential of Linear"),
        (chain(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.Identity(), nn.Linear(4, 2)), "allowed is"),
        (chain(nn.ReLU(), nn.Linear(3, 2)), "allowed is nn.Sequential of Linear"),
        (chain(nn.Linear(3, 2), nn.ReLU()), "allowed is nn.Sequential of Linear"),
        (chain(), "allowed is nn.Sequential of Linear"),
        (nn.Linear(3, 2), "allowed is nn.Sequential of Linear"),
        (chain(nn.Linear(2**16, 2)), "more inputs than 65535"),
        (chain(nn.Linear(3, 2)).half(), "float16"),
    ],
)
def test_networks_that_do_not_fit_are_refused(model: nn.Module, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SparseFamily([model], [{}])


def test_families_that_do_not_fit_together_are_refused() -> None:
    models, pruned = make_nets(1)
    for bad, masks, message in (
        ([], [], "got 0 and 0"),
        (models, pruned[:2], "got 4 and 2"),
        ([models[0], nn.Sequential(nn.Linear(3, 2))], [{}, {}], "allowed is one"),
        ([models[0], models[1].float()], pruned[:2], "types"),
    ):
        with pytest.raises(InputError, match=message):
            SparseFamily(bad, masks)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.zeros(0, INPUTS), torch.zeros(0, dtype=torch.long), "0 inputs and 0 targets"),
        (torch.zeros(3, INPUTS), torch.zeros(2, dtype=torch.long), "3 inputs and 2 targets"),
        (torch.zeros(3, 5), torch.zeros(3, dtype=torch.long), "5 inputs an example"),
        (torch.full((3, INPUTS), math.nan), torch.zeros(3, dtype=torch.long), "data inputs"),
        (torch.zeros(3, INPUTS), torch.tensor([0, 4, 1]), "class indices 0 to 3"),
        (torch.zeros(3, INPUTS), torch.tensor([0, -1, 1]), "class indices 0 to 3"),
        (torch.zeros(3, INPUTS), torch.zeros(3, 2), "targets"),
        (torch.zeros(3, INPUTS), torch.full((3, OUTPUTS), math.inf), "data targets"),
    ],
)
def test_data_that_do_not_fit_are_refused(x: Tensor, y: Tensor, message: str) -> None:
    family = SparseFamily(*make_nets(1))
    with pytest.raises(InputError, match=message):
        train_sparse(family, (x, y), TrainConfig(epochs=1), seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(2, 5, INPUTS)}, "x: got shape"),
        ({"x": torch.zeros(2, 5, INPUTS + 1)}, "x: got shape .* of torch.float32"),
        ({"x": torch.zeros(0, 5, INPUTS + 1, dtype=torch.float64)}, "x: got shape"),
        ({"y": torch.zeros(2, 4, dtype=torch.long)}, "y: got shape"),
        ({"y": torch.full((2, 5), OUTPUTS)}, "y: allowed are int64 class indices 0 to 3"),
        ({"y": torch.zeros(2, 5, dtype=torch.int32)}, "y: allowed are int64"),
        ({"y": torch.zeros(2, 5, OUTPUTS)}, "y: got shape .* of torch.float32"),
        ({"rates": torch.ones(3)}, "rates"),
        ({"rule": Rule(0.9)}, "moments: this rule needs 1 lines"),
        ({"rule": Rule(0.9, 0.0, 0.99), "moments": torch.zeros(9, dtype=torch.float64)}, "needs 2 lines"),
    ],
)
def test_steps_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    family = SparseFamily(*make_nets(1))
    x, y = torch.zeros(2, 5, INPUTS + 1, dtype=torch.float64), torch.zeros(2, 5, dtype=torch.long)
    with pytest.raises(InputError, match=message):
        family.descend(**{"x": x, "y": y, "rates": torch.ones(4), **change})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="x: got shape"):
        family.forward(x[0, :, 1:])
