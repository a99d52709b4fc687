"""One network's training: the family's step for step, resumed to the same bit, in several processes to rounding."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import widthwise as ww
from widthwise.errors import DataError, InputError
from widthwise.training import Family, TrainConfig, fit, objective_for, train

CONFIG = TrainConfig(epochs=3, batch_size=7, lr=0.05, momentum=0.9, weight_decay=1e-3, schedule="cosine")


def data(n: int = 40, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 6, dtype=dtype, generator=generator)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()


def network(*, dropout: float = 0.0, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3))
    return model.to(dtype)


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


class Stop(Exception):  # noqa: N818  # no error
    pass


def stop_at(step: int):
    def watch(done: float, total: float, what: str) -> None:
        if done == step:
            raise Stop

    return watch


def test_it_takes_the_steps_of_a_family():
    model = ww.models.mlp(6, 3, width=16).double()
    mask = ww.prune(model, 0.5, "magnitude")
    family = Family([model], [{name: ~alive for name, alive in mask.items()}])
    train(family, data(), CONFIG, objective_for("classification"), seeds=[5], validation=data())
    curve = fit(model, data(), CONFIG, objective_for("classification"), seed=5, validation=data())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), family.params[name][0], rtol=1e-10, atol=1e-12)
    assert [epoch for epoch, _ in curve] == [1, 2, 3]
    assert ww.Mask.of(model) == mask
    assert all((p == 0)[~mask[n]].all() for n, p in model.named_parameters() if n in mask)


@pytest.mark.parametrize("step", [1, 4, 6, 11, 17])
def test_a_stopped_training_goes_on_to_the_same_bits(tmp_path, step):
    objective, path = objective_for("classification"), tmp_path / "fit.safetensors"
    straight = network(dropout=0.3)
    whole = fit(straight, data(), CONFIG, objective, seed=2, validation=data())
    model = network(dropout=0.3)
    with pytest.raises(Stop):
        fit(
            model,
            data(),
            CONFIG,
            objective,
            seed=2,
            checkpoint=path,
            save_every=0,
            validation=data(),
            watch=stop_at(step),
        )
    model = network(dropout=0.3)
    steps: list[float] = []
    curve = fit(
        model,
        data(),
        CONFIG,
        objective,
        seed=2,
        checkpoint=path,
        validation=data(),
        watch=lambda done, total, what: steps.append(done),
    )
    assert steps[0] == (step if step % 6 == 0 else step + 1)  # the last step of an epoch is saved with its metric
    assert torch.equal(weights(model), weights(straight))
    assert curve == whole
    again = network(dropout=0.3)
    assert fit(again, data(), CONFIG, objective, seed=2, checkpoint=path, validation=data()) == whole
    assert torch.equal(weights(again), weights(straight))


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    objective, path = objective_for("classification"), tmp_path / "fit.safetensors"
    fit(network(), data(), CONFIG, objective, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(InputError, match="another training"):
        fit(network(), data(), CONFIG, objective, seed=1, checkpoint=path)
    pruned = network()
    ww.prune(pruned, 0.5, "magnitude")
    with pytest.raises(InputError, match="another training"):
        fit(pruned, data(), CONFIG, objective, checkpoint=path)
    assert path.read_bytes() == before
    path.write_bytes(b"damaged")
    with pytest.raises(DataError, match="safetensors"):
        fit(network(), data(), CONFIG, objective, checkpoint=path)


def test_bfloat16_is_near_and_keeps_the_weights_dtype():
    objective = objective_for("classification")
    full, mixed = (ww.models.mlp(6, 3, width=16) for _ in range(2))
    mixed.load_state_dict(full.state_dict())
    short = TrainConfig(epochs=1, batch_size=10, lr=0.05)
    fit(full, data(dtype=torch.float32), short, objective)
    fit(mixed, data(dtype=torch.float32), short, objective, precision="bfloat16")
    assert all(p.dtype == torch.float32 for p in mixed.parameters())
    assert not torch.equal(weights(full), weights(mixed))
    torch.testing.assert_close(weights(full), weights(mixed), rtol=0, atol=2e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_on_cuda_learns_and_resumes(tmp_path, precision):
    objective, config = objective_for("classification"), TrainConfig(epochs=20, batch_size=10, lr=0.1)
    pair = data(dtype=torch.float32)
    model = ww.models.mlp(6, 3, width=32).cuda()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    path = tmp_path / "fit.safetensors"
    whole = fit(model, pair, config, objective, precision=precision, validation=pair)
    assert whole[-1][1] > 0.8
    end = weights(model)
    for watch in (stop_at(30), None):
        model.load_state_dict(start)
        try:
            fit(model, pair, config, objective, precision=precision, checkpoint=path, save_every=0, watch=watch)
        except Stop:
            continue
    assert torch.equal(weights(model), end)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"precision": "half"}, "allowed are bfloat16, float16, full"),
        ({"precision": "float16"}, "float16"),
        ({"record_every": 0}, "record_every"),
        ({"save_every": -1}, "save_every"),
        ({"data": (torch.zeros(0, 6), torch.zeros(0).long())}, "0 inputs"),
        ({"data": (torch.full((2, 6), torch.nan), torch.zeros(2).long())}, "NaN"),
        ({"model": nn.ReLU()}, "no parameters"),
    ],
)
def test_bad_arguments(changes, match):
    if changes.get("precision") == "float16" and torch.cuda.is_available():
        pytest.skip("the model is on the CPU all the same")
    arguments = {"model": network(), "data": data(), "config": CONFIG, "objective": objective_for("classification")}
    with pytest.raises(InputError, match=match):
        fit(**{**arguments, **changes})


WORKER = Path(__file__).with_name("ranks_worker.py")


def torchrun(folder: Path, what: str, ranks: int = 2) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    return subprocess.run(
        [*command, str(WORKER), what, str(folder)], capture_output=True, text=True, timeout=240, check=False
    )


def test_two_ranks_train_the_network_of_one_process_and_go_on_after_a_stop(tmp_path):
    found = torchrun(tmp_path, "train")
    assert found.returncode == 0, found.stderr
    for build in ("pruned", "mixing"):  # the latter with BatchNorm and dropout
        names = (f"{build}-{which}.txt" for which in (0, 1, "resumed-0", "resumed-1"))
        assert len({(tmp_path / name).read_text() for name in names}) == 1
    lines = (tmp_path / "pruned-0.txt").read_text().split()
    together = torch.tensor([float.fromhex(line) for line in lines], dtype=torch.float64)
    from ranks_worker import pruned, settings

    model = pruned()
    fit(model, data(), **settings())
    torch.testing.assert_close(weights(model), together, rtol=1e-10, atol=1e-12)
    assert int((together == 0).sum()) >= ww.Mask.of(model).total // 2


@pytest.mark.slow
def test_masks_that_differ_are_refused_on_every_rank(tmp_path):
    found = torchrun(tmp_path, "differ", ranks=3)
    assert found.returncode == 0, found.stderr
    said = [(tmp_path / f"said-{rank}.txt").read_text() for rank in range(3)]
    assert all("its mask on rank 1 is not that of rank 0" in text for text in said)


@pytest.mark.slow
def test_a_loss_that_is_infinite_on_one_rank_ends_all(tmp_path):
    found = torchrun(tmp_path, "spoiled", ranks=3)
    assert found.returncode == 0, found.stderr
    said = [(tmp_path / f"said-{rank}.txt").read_text() for rank in range(3)]
    assert all("in epoch 1, step 1" in text for text in said)
    assert ["is the first to make" in text for text in said] == [False, True, False]
    assert ["that of another rank is NaN" in text for text in said] == [True, False, True]
