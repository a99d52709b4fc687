"""What leaves the finite numbers in training ends in a message that names network, step and layer."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from widthwise import models
from widthwise._finite import first_not_finite
from widthwise.errors import InputError
from widthwise.estimators import WideSparseRegressor
from widthwise.training import DivergenceWarning, Family, TrainConfig, evaluate, fit, objective_for, train
from widthwise.training.divergence import reported_elsewhere
from widthwise.training.sparse_family import Rule, SparseFamily
from widthwise.training.sparse_loop import evaluate_sparse, train_sparse


class Bad(nn.Module):
    """Takes the logarithm of what may be negative."""

    def forward(self, x):
        return x.log()


def net(inputs=5, width=6, outputs=2, seed=0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, outputs)).double()


def pairs(n=12):
    return torch.randn(n, 5, dtype=torch.float64), torch.randn(n, 2, dtype=torch.float64)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda m, x: x.view(-1)[3:4].fill_(torch.nan), "the input holds"),
        (lambda m, x: m[0].bias.data[1:2].fill_(torch.inf), "'0.bias' holds"),
        (lambda m, x: m[3].weight.data[:1].fill_(torch.nan), "'3.weight' holds"),
        (lambda m, x: m[1].running_var[:1].fill_(torch.nan), "'1.running_var' holds"),
        (lambda m, x: m.__setitem__(2, Bad()), "'2' (Bad) is the first"),
        (lambda m, x: m[3].weight.data.fill_(1e308), "'3' (Linear) is the first"),
        (lambda m, x: None, None),
    ],
)
def test_the_first_to_be_not_finite_is_named_and_nothing_is_changed(spoil, said):
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 9)).double()
    x = pairs()[0]
    spoil(model, x)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = first_not_finite(model, x)
    assert found is None if said is None else found.startswith(said)
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0, equal_nan=True)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_dicts_and_the_network_itself_are_seen_too():
    class Heads(nn.Module):
        def forward(self, x):
            return {"a": [x], "b": (x / 0,)}

    assert first_not_finite(Heads(), torch.ones(1)) == (
        "the network itself (Heads) is the first to make values that are NaN or infinite"
    )


def test_fit_stops_at_the_step_and_names_the_layer():
    model = net()
    with pytest.raises(InputError, match=r"loss: got (nan|inf) in epoch 1, step \d+; .* (loss|first|holds)"):
        fit(model, pairs(), TrainConfig(epochs=40, batch_size=1, lr=1e9), objective_for("regression"))


def test_fit_names_a_layer_that_makes_nan_of_finite_numbers():
    model = nn.Sequential(nn.Linear(5, 2), Bad()).double()
    with pytest.raises(InputError, match=r"epoch 1, step 1; .*'1' \(Bad\) is the first"):
        fit(model, pairs(), TrainConfig(epochs=1, batch_size=4, lr=0.1), objective_for("regression"))


def test_fit_refuses_weights_that_the_last_update_spoiled():
    model, (x, y) = net(), pairs()
    with pytest.raises(InputError, match="holds values that are NaN or infinite in epoch 1"):
        fit(model, (x, 1e10 * y), TrainConfig(epochs=1, batch_size=12, lr=1e308), objective_for("regression"))


@pytest.mark.parametrize(
    "model", [net(), nn.Sequential(net(), nn.LayerNorm(2, dtype=torch.float64))], ids=["chain", "vmap"]
)
def test_a_family_goes_on_and_tells_which_network_was_lost_where(model):
    family = Family([model, model])
    with torch.no_grad():
        family.params[next(n for n in family.params if n.endswith("2.weight"))][1] = 1e200
    objective, data = objective_for("regression"), pairs()
    with pytest.warns(
        DivergenceWarning, match=r"network 2 of 2 diverged in epoch 1, step 1: .*(first|holds|update).*NaN"
    ) as told:
        train(family, data, TrainConfig(epochs=4, batch_size=4, lr=0.1), objective, seeds=[0, 0])
    assert len(told) == 1
    assert evaluate(family, data, objective).isnan().tolist() == [False, True]
    assert family.lost().tolist() == [False, True]


def test_the_step_told_is_the_one_at_which_it_happened():
    """Against a plain loop that looks at the weights after every step."""
    config, objective, data = TrainConfig(epochs=60, batch_size=4, lr=3.0), objective_for("regression"), pairs()
    family = Family([net()])
    with pytest.warns(DivergenceWarning) as told:
        train(family, data, config, objective, seeds=[5])
    from widthwise.training.loop import order_of

    model, at = net(), None
    for epoch in range(60):
        for step, batch in enumerate(torch.split(order_of(12, 5, epoch), 4), 1):
            loss = objective.losses(model(data[0][batch])[None], data[1][batch][None]).sum()
            for parameter, slope in zip(model.parameters(), torch.autograd.grad(loss, model.parameters()), strict=True):
                parameter.data -= 3.0 * slope
            if at is None and not all(p.isfinite().all() for p in model.parameters()):
                at = f"epoch {epoch + 1}, step {step}:"
    assert at is not None
    assert at in str(told[0].message)


@pytest.mark.parametrize("rule", [Rule(), Rule(0.9), Rule(0.9, 0.0, 0.999)])
def test_a_sparse_family_tells_it_too(rule):
    family = SparseFamily([net(), net(seed=1)], [{}, {}])
    with pytest.warns(DivergenceWarning, match=r"network 1 of 2 diverged in epoch \d+, step \d+: .*\d\.?") as told:
        train_sparse(
            family, pairs(), TrainConfig(epochs=30, batch_size=4, lr=0.01), seed=0,
            rates=torch.tensor([1e306, 0.01]), rule=rule,
        )  # fmt: skip
    assert len(told) == 1
    assert family.lost().tolist() == [True, False]
    assert evaluate_sparse(family, pairs()).isnan().tolist() == [True, False]


def test_callers_whose_results_say_so_can_keep_it_quiet():
    family = Family([net()])
    with warnings.catch_warnings(), reported_elsewhere():
        config = TrainConfig(epochs=3, batch_size=4, lr=1e308)
        train(family, pairs(), config, objective_for("regression"), seeds=[0])
    assert family.lost().all()


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_estimators_refuse_a_rate_that_diverges(activation, early_stopping):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(60, 4)), generator.normal(size=60)
    model = WideSparseRegressor(
        weights=40, width=10, learning_rate=1e300, activation=activation, early_stopping=early_stopping, random_state=0
    )
    with pytest.raises(InputError, match=r"learning_rate: got 1e\+300, but training diverged in .*step \d+: .*"):
        model.fit(x, y)


def test_native_layers_hand_nan_on():
    """A sparse model gives NaN where its dense counterpart does: nothing hides it from the checks above."""
    from widthwise import densify, prune, sparsify

    model = models.mlp(20, 3, width=16)
    prune(model, 0.9, "random")
    sparse = sparsify(model)
    x = torch.randn(5, 20)
    x[2, 7] = torch.nan
    torch.testing.assert_close(sparse(x).isnan(), densify(sparse)(x).isnan())
