"""A family computes what its networks compute one at a time."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from widthwise.errors import InputError
from widthwise.models import mlp
from widthwise.training import DivergenceWarning, Family, TrainConfig, evaluate, fit, objective_for, train
from widthwise.training.loop import order_of


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.outer(x + torch.tanh(self.inner(x)))


class Branching(nn.Module):
    """Its forward looks at values, which vmap cannot follow."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        h = self.inner(x)
        return self.outer(h.relu() if float(h.detach().sum()) > 0 else h.tanh())


BUILDERS = {
    "chain": lambda: mlp(6, 3, width=5, depth=2, activation="gelu"),
    "chain without bias": lambda: mlp(6, 3, width=5, bias=False),
    "vmap": Residual,
    "loop": Branching,
}


def networks(name: str, count: int = 4) -> list[nn.Module]:
    return [BUILDERS[name]().double() for _ in range(count)]


def autograd_gradients(model, x, y, loss):
    model = copy.deepcopy(model).train()
    loss(model(x), y).backward()
    return {n: p.grad for n, p in model.named_parameters()}


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("name", BUILDERS)
def test_outputs_and_gradients_are_those_of_the_single_networks(name, task):
    models = networks(name)
    family = Family(models)
    x = torch.randn(len(models), 7, 6, dtype=torch.float64)
    y = torch.randint(3, (len(models), 7)) if task == "classification" else torch.randn(4, 7, 3).double()
    loss = nn.functional.cross_entropy if task == "classification" else nn.functional.mse_loss
    outputs = family.forward(x)
    grads = family.gradients(x, y, objective_for(task))
    assert family.engine == name.split()[0]
    for i, model in enumerate(models):
        torch.testing.assert_close(outputs[i], model(x[i]), rtol=1e-12, atol=1e-12)
        for key, grad in autograd_gradients(model, x[i], y[i], loss).items():
            torch.testing.assert_close(grads[key][i], grad, rtol=1e-10, atol=1e-12)


def random_pruned(model: nn.Module) -> dict[str, torch.Tensor]:
    return {n: torch.rand_like(p) < 0.6 for n, p in model.named_parameters() if p.dim() > 1}


def train_alone(model, pruned, data, config, seed, loss):
    """The oracle: PyTorch's own SGD, one network, weights zeroed after each step."""
    optimizer = torch.optim.SGD(
        model.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
    )
    scheduler = (
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs) if config.schedule == "cosine" else None
    )
    x, y = data

    def enforce():
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if pruned and name in pruned:
                    parameter.masked_fill_(pruned[name], 0)

    enforce()
    for epoch in range(config.epochs):
        for batch in order_of(len(x), seed, epoch).split(config.batch_size):
            optimizer.zero_grad()
            loss(model(x[batch]), y[batch]).backward()
            optimizer.step()
            enforce()
        if scheduler:
            scheduler.step()
    return model


@pytest.mark.parametrize("name", ["chain", "vmap"])
@pytest.mark.parametrize(
    "config",
    [
        TrainConfig(epochs=3, batch_size=8, lr=0.1),
        TrainConfig(epochs=4, batch_size=7, lr=0.05, momentum=0.9, weight_decay=1e-2, schedule="cosine"),
    ],
)
def test_training_together_equals_training_alone(name, config):
    models = networks(name)
    pruned = [None, random_pruned(models[1]), random_pruned(models[2]), None]
    seeds = [3, 3, 5, 7]
    data = (torch.randn(30, 6, dtype=torch.float64), torch.randint(3, (30,)))
    family = Family(models, pruned)
    train(family, data, config, objective_for("classification"), seeds=seeds)
    for i, model in enumerate(models):
        alone = train_alone(model, pruned[i], data, config, seeds[i], nn.functional.cross_entropy)
        for key, parameter in alone.named_parameters():
            torch.testing.assert_close(family.params[key][i], parameter.detach(), rtol=1e-8, atol=1e-10)
            if pruned[i] and key in pruned[i]:
                assert not family.params[key][i][pruned[i][key]].any()


def test_batchnorm_statistics_are_kept_for_each_network():
    def build():
        return nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).double()

    models = [build() for _ in range(3)]
    family = Family(models)
    x = torch.randn(3, 9, 6, dtype=torch.float64)
    family.gradients(x, torch.randint(2, (3, 9)), objective_for("classification"))
    for i, model in enumerate(models):
        model.train()(x[i])
        torch.testing.assert_close(family.buffers["1.running_mean"][i], model[1].running_mean)
        assert int(family.buffers["1.num_batches_tracked"][i]) == 1
        torch.testing.assert_close(family.model(i)(x[i]), model.eval()(x[i]))


def test_a_diverged_network_reports_nan_and_harms_no_other():
    models = networks("chain", 2)
    with torch.no_grad():
        models[0].output.weight.fill_(1e200)
    family = Family(models)
    data = (torch.randn(20, 6).double(), torch.randn(20, 3).double())
    objective = objective_for("regression")
    with pytest.warns(DivergenceWarning, match="network 1 of 2 diverged in epoch 1, step 1: .*'hidden1.weight'"):
        train(family, data, TrainConfig(epochs=20, batch_size=5, lr=0.01), objective, seeds=[0, 1])
    scores = evaluate(family, data, objective)
    assert torch.isnan(scores[0])
    assert torch.isfinite(scores[1])


def test_resuming_is_bit_for_bit_the_same_run():
    config = TrainConfig(epochs=6, batch_size=8, lr=0.1, momentum=0.9)
    data = (torch.randn(30, 6, dtype=torch.float64), torch.randint(3, (30,)))
    objective = objective_for("classification")
    models = networks("chain")
    whole = Family(models)
    train(whole, data, config, objective, seeds=[0, 1, 2, 3], validation=data, record_every=2)

    class StopError(Exception):
        pass

    saved = {}

    def stop(progress):
        if progress.epoch == 3:
            saved["state"] = {k: v.clone() for k, v in first.state().items()}
            saved["progress"] = copy.deepcopy(progress)
            raise StopError

    first = Family(models)
    with pytest.raises(StopError):
        train(first, data, config, objective, seeds=[0, 1, 2, 3], after_epoch=stop)
    second = Family(models)
    second.load_state(saved["state"])
    train(second, data, config, objective, seeds=[0, 1, 2, 3], progress=saved["progress"])
    for key, tensor in whole.params.items():
        assert torch.equal(second.params[key], tensor)


def test_the_score_is_sklearns():
    from sklearn.metrics import accuracy_score, r2_score

    outputs, labels, values = torch.randn(2, 50, 4), torch.randint(4, (50,)), torch.randn(50, 4)
    accuracy = objective_for("classification").score(outputs, labels)
    r2 = objective_for("regression").score(outputs, values)
    for i in range(2):
        assert float(accuracy[i]) == pytest.approx(accuracy_score(labels.numpy(), outputs[i].argmax(-1).numpy()))
        assert float(r2[i]) == pytest.approx(r2_score(values.numpy(), outputs[i].numpy()), abs=1e-6)


def test_no_r2_is_made_up_where_targets_never_vary():
    regression, outputs = objective_for("regression"), torch.rand(2, 5, 2)
    constant = torch.stack([torch.arange(5.0), torch.full((5,), 0.1)], 1)
    for targets in (constant, torch.rand(1, 2)):
        with pytest.raises(InputError, match="targets: got target . the same in all of . examples"):
            regression.score(outputs[:, : len(targets)], targets)
    assert objective_for("classification").score(outputs[:, :1], torch.tensor([1])).shape == (2,)
    for objective in (regression, objective_for("classification")):
        assert objective.score(outputs[:, :0], constant[:0, 0].long()).isnan().all()


def test_training_refuses_to_be_judged_by_one_example_before_it_begins():
    x, y, one = torch.rand(8, 3), torch.rand(8, 2), (torch.rand(1, 3), torch.rand(1, 2))
    model, config, objective = mlp(3, 2, width=4), TrainConfig(epochs=1), objective_for("regression")
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InputError, match="validation: got target 0 the same in all of 1 examples"):
        train(Family([model]), (x, y), config, objective, seeds=[0], validation=one)
    with pytest.raises(InputError, match="validation: got target 0 the same in all of 1 examples"):
        fit(model, (x, y), config, objective, validation=one)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert math.isnan(fit(model, (x, y), config, objective, validation=(one[0][:0], one[1][:0]))[0][1])


def test_bad_input_is_named():
    with pytest.raises(InputError, match="models: got an empty"):
        Family([])
    with pytest.raises(InputError, match="different shapes"):
        Family([mlp(6, 3, width=4), mlp(6, 3, width=5)])
    family = Family(networks("chain", 2))
    objective = objective_for("classification")
    with pytest.raises(InputError, match="seeds: got 1 for 2"):
        train(family, (torch.randn(4, 6), torch.zeros(4)), TrainConfig(), objective, seeds=[0])
    with pytest.raises(InputError, match="data: got 0 inputs"):
        train(family, (torch.randn(0, 6), torch.zeros(0)), TrainConfig(), objective, seeds=[0, 1])
    bad = torch.zeros(4, 6)
    bad[1, 2] = torch.nan
    with pytest.raises(InputError, match="data inputs: 1 of"):
        train(family, (bad, torch.zeros(4)), TrainConfig(), objective, seeds=[0, 1])
    with pytest.raises(InputError, match="lr: got 0"):
        TrainConfig(lr=0)
