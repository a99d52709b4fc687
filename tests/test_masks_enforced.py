"""Pruned weights stay zero, whatever happens to the model."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from widthwise import _enforce
from widthwise.errors import InputError
from widthwise.masks import Mask
from widthwise.weights import prunable


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(6, 6), nn.Linear(6, 6)
        self.decode.weight = self.encode.weight

    def forward(self, x):
        return self.decode(self.encode(x).tanh())


class Attending(nn.Module):
    def __init__(self, **kwargs):
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True, **kwargs)

    def forward(self, x):
        return self.attention(x[:, None], x[:, None], x[:, None])[0]


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.recurrent = kind(6, 4, num_layers=2, bidirectional=True, batch_first=True)

    def forward(self, x):
        return self.recurrent(x[:, None])[0]


MODELS = {
    "mlp": lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)),
    "conv": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
    ),
    "tied": Tied,
    "attention": Attending,
    "attention-separate": partial(Attending, kdim=6, vdim=6, add_bias_kv=True),
    "transformer": lambda: nn.TransformerEncoderLayer(6, 2, 8, batch_first=True),
    "lstm": partial(Recurrent, nn.LSTM),
    "gru": partial(Recurrent, nn.GRU),
    "weight-norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 3)),
}
OPTIMIZERS = {
    "momentum": partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True),
    "weight decay": partial(torch.optim.SGD, lr=0.1, weight_decay=0.1),
    "adam": partial(torch.optim.Adam, lr=0.1, weight_decay=0.1),
    "adamw fused": partial(torch.optim.AdamW, lr=0.1, fused=True),
    "adamw foreach": partial(torch.optim.AdamW, lr=0.1, foreach=True, amsgrad=True),
    "rmsprop": partial(torch.optim.RMSprop, lr=0.1, momentum=0.9, centered=True),
    "adagrad": partial(torch.optim.Adagrad, lr=0.1),
}
SGD = OPTIMIZERS["momentum"]


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def halve(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Mask({n: torch.rand(p.shape, generator=generator) > 0.5 for n, p in prunable(model).items()}).apply(model)


def train(model, optimizer, steps=4):
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(5, 6, dtype=next(model.parameters()).dtype)).square().sum().backward()
        optimizer.step()


def holds(mask, model):
    """Whether exactly the dead weights are zero; living ones have moved, so none of them is."""
    return all(torch.equal(p != 0, mask[n]) for n, p in prunable(model).items())


def fresh():
    return MODELS["mlp"]()


@pytest.mark.parametrize("made", ["before", "after"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_made_before_or_after(name, made):
    model = fresh()
    if made == "before":
        optimizer = OPTIMIZERS[name](model.parameters())
        train(model, optimizer)
        mask = halve(model)
    else:
        mask = halve(model)
        optimizer = OPTIMIZERS[name](model.parameters())
    train(model, optimizer)
    assert holds(mask, model)


def test_every_kind_of_model_trains_and_keeps_its_keys(model):
    keys = list(model.state_dict())
    optimizer = SGD(model.parameters())
    mask = halve(model)
    train(model, optimizer)
    assert holds(mask, model)
    assert list(model.state_dict()) == keys
    assert Mask.of(model) == mask


def test_a_copy_trains_and_is_independent(model):
    mask = halve(model)
    train(model, SGD(model.parameters()))
    twin = copy.deepcopy(model)
    assert Mask.of(twin) == mask
    Mask.remove(model)
    train(twin, SGD(twin.parameters()))
    assert holds(mask, twin)
    assert Mask.of(twin) == mask
    assert Mask.of(model) is None
    again = copy.deepcopy(copy.deepcopy(twin))
    train(again, SGD(again.parameters()))
    assert holds(mask, again)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "weight-norm"])  # which torch cannot pickle
def test_a_pickled_model_keeps_its_mask(name):
    model = MODELS[name]()
    mask = halve(model)
    twin = pickle.loads(pickle.dumps(model))
    train(twin, SGD(twin.parameters()))
    assert holds(mask, twin)


def test_backward_twice_through_attention():
    model = MODELS["attention"]()
    mask = halve(model)
    for _ in range(2):
        model(torch.randn(5, 6)).sum().backward()
    assert holds(mask, model)


@pytest.mark.parametrize("assign", [False, True])
def test_loading_dense_weights_does_not_lose_the_mask(model, assign):
    mask = halve(model)
    dense = copy.deepcopy(model)
    Mask.remove(dense)
    with torch.no_grad():
        for weight in dense.parameters():
            weight.fill_(1.0)
    model.load_state_dict(dense.state_dict(), assign=assign)
    mask = Mask.of(model)  # assigning unties tied weights, each of which is masked then
    assert mask.sparsity > 0.2
    assert holds(mask, model)
    train(model, SGD(model.parameters()))
    assert holds(mask, model)


def test_resuming_in_a_fresh_model(tmp_path):
    torch.manual_seed(1)
    model = fresh()
    mask = halve(model)
    optimizer = OPTIMIZERS["adam"](model.parameters())
    train(model, optimizer)
    mask.save(tmp_path / "mask")
    state = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    torch.manual_seed(2)
    train(model, optimizer)

    resumed = fresh()
    resumed.load_state_dict(state[0])
    Mask.load(tmp_path / "mask").apply(resumed)
    second = OPTIMIZERS["adam"](resumed.parameters())
    second.load_state_dict(state[1])
    torch.manual_seed(2)
    train(resumed, second)
    assert holds(mask, resumed)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_another_dtype(dtype):
    model = fresh()
    mask = halve(model)
    model.to(dtype)
    train(model, torch.optim.SGD(model.parameters(), lr=0.01, weight_decay=0.1), steps=1)
    assert all((p[~mask[n]] == 0).all() for n, p in prunable(model).items())
    model.to(torch.float32)
    train(model, SGD(model.parameters()))
    assert holds(mask, model)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_weights(dtype):
    model = nn.Linear(6, 3, dtype=dtype)
    mask = halve(model)
    optimizer = SGD(model.parameters())
    model(torch.randn(5, 6, dtype=dtype)).abs().square().sum().backward()
    optimizer.step()
    assert holds(mask, model)


def test_channels_last():
    model = nn.Conv2d(4, 5, 3)
    mask = halve(model)
    model.to(memory_format=torch.channels_last)
    optimizer = SGD(model.parameters())
    model(torch.randn(2, 4, 8, 8)).square().sum().backward()
    optimizer.step()
    assert holds(mask, model)


def test_a_replaced_parameter_is_still_masked():
    model = fresh()
    mask = halve(model)
    model[0].weight = nn.Parameter(torch.ones(8, 6))
    train(model, SGD(model.parameters()))
    assert holds(mask, model)


def test_a_parameter_of_another_shape_is_refused():
    model = fresh()
    halve(model)
    model[2].weight = nn.Parameter(torch.ones(4, 8))
    model[2].bias = nn.Parameter(torch.ones(4))
    with pytest.raises(InputError, match=r"covers Linear.weight of shape \(3, 8\), got .* \(4, 8\); call Mask.remove"):
        train(model, SGD(model.parameters()))


def test_moving_to_the_meta_device_and_back_keeps_the_mask():
    model = fresh()
    mask = halve(model)
    state = copy.deepcopy(model.state_dict())
    model.to("meta").to_empty(device="cpu").load_state_dict(state)
    train(model, SGD(model.parameters()))
    assert holds(mask, model)


def test_bad_numbers_do_not_revive_the_dead():
    model = nn.Linear(2, 2, bias=False)
    mask = Mask({"weight": torch.tensor([[True, False], [False, True]])}).apply(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for bad in (float("nan"), float("inf"), 1.0):
        model.weight.grad = torch.full((2, 2), bad)
        optimizer.step()
        dead = model.weight.detach()[~mask["weight"]]
        assert dead.tolist() == [0.0, 0.0]
        assert not dead.signbit().any()


def test_taking_the_mask_off_lets_weights_move():
    model = fresh()
    halve(model)
    optimizer = SGD(model.parameters())
    train(model, optimizer)
    Mask.remove(model)
    train(model, optimizer)
    assert all((p != 0).all() for p in prunable(model).values())


def test_a_new_mask_takes_the_place_of_the_old():
    model = fresh()
    optimizer = SGD(model.parameters())
    halve(model, seed=1)
    second = halve(model, seed=2)
    train(model, optimizer)
    assert holds(second, model)


def test_only_the_parameters_of_the_optimizer_are_touched():
    first, second = fresh(), fresh()
    halve(first)
    halve(second)
    with torch.no_grad():
        second[0].weight.fill_(1.0)
    train(first, SGD(first.parameters()))
    assert (second[0].weight == 1).all()


def test_moving_average():
    model = fresh()
    mask = halve(model)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    optimizer = SGD(model.parameters())
    for _ in range(3):
        train(model, optimizer, steps=1)
        average.update_parameters(model)
    assert holds(mask, average.module)
    assert Mask.of(average.module) == mask


def test_autocast_and_grad_scaler():
    model = fresh()
    mask = halve(model)
    optimizer = OPTIMIZERS["adam"](model.parameters())
    scaler = torch.amp.GradScaler("cpu")
    for _ in range(3):
        with torch.autocast("cpu", torch.bfloat16):
            loss = functional.cross_entropy(model(torch.randn(5, 6)), torch.zeros(5, dtype=torch.long))
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    assert holds(mask, model)


@pytest.mark.parametrize("backend", ["eager", pytest.param("aot_eager", marks=pytest.mark.slow)])
@pytest.mark.parametrize("when", ["before", "after"])
def test_compiled_models(backend, when):
    torch.compiler.reset()
    model = fresh()
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    mask = halve(model if when == "before" else compiled)
    optimizer = SGD(model.parameters())
    train(compiled, optimizer)
    assert holds(mask, model)
    assert list(mask) == ["0.weight", "2.weight"]
    assert Mask.of(compiled) == Mask.of(model) == mask


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
def test_compiled_optimizer_step():
    torch.compiler.reset()
    model = fresh()
    mask = halve(model)
    optimizer = SGD(model.parameters())
    step = torch.compile(optimizer.step, backend="eager")
    for _ in range(3):
        model(torch.randn(5, 6)).square().sum().backward()
        step()
    assert holds(mask, model)


def test_lbfgs():
    model = fresh()
    mask = halve(model)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1)
    x = torch.randn(5, 6)

    def closure():
        optimizer.zero_grad()
        loss = model(x).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert holds(mask, model)


def test_a_training_loop_of_ones_own_applies_again():
    model = fresh()
    mask = halve(model)
    model(torch.randn(5, 6)).sum().backward()
    with torch.no_grad():
        for weight in model.parameters():
            weight -= 0.1 * weight.grad
    assert not holds(mask, model)
    mask.apply(model)
    assert holds(mask, model)


def test_optimizers_defined_by_users_are_covered():
    class Walk(torch.optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {})

        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.add_(1)

    model = fresh()
    mask = halve(model)
    train(model, Walk(model.parameters()))
    assert all((p[~mask[n]] == 0).all() for n, p in prunable(model).items())


def test_training_is_that_of_weights_multiplied_by_the_mask():
    model, x = fresh().double(), torch.randn(9, 6, dtype=torch.float64)
    reference = [p.detach().clone().requires_grad_() for p in model.parameters()]
    mask = halve(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        w1, b1, w2, b2 = reference
        hidden = functional.linear(x, w1 * mask["0.weight"], b1).tanh()
        loss = functional.linear(hidden, w2 * mask["2.weight"], b2).square().mean()
        moves = torch.autograd.grad(loss, reference)
        reference = [(p - 0.1 * g).detach().requires_grad_() for p, g in zip(reference, moves, strict=True)]
    for (name, ours), theirs in zip(model.named_parameters(), reference, strict=True):
        torch.testing.assert_close(ours, theirs * mask[name] if name in mask else theirs)


def test_models_are_freed():
    gc.collect()
    model = fresh()
    halve(model)
    twin = copy.deepcopy(model)
    watched = [weakref.ref(model[0]), weakref.ref(twin[0]), weakref.ref(model[0].weight)]
    keepers = len(_enforce._live)
    del model, twin
    gc.collect()
    assert [reference() for reference in watched] == [None, None, None]
    assert len(_enforce._live) == keepers - 4


def test_repeated_pruning_does_not_pile_up():
    model = fresh()
    halve(model)
    gc.collect()
    keepers, size = len(_enforce._live), len(pickle.dumps(model))
    for seed in range(20):
        halve(model, seed)
    gc.collect()
    assert len(_enforce._live) == keepers
    assert abs(len(pickle.dumps(model)) - size) < 100
    assert all(len(module._load_state_dict_post_hooks) <= 1 for module in model.modules())


def test_export_does_not_see_the_mask():
    model = fresh()
    halve(model)
    x = torch.randn(5, 6)
    exported = torch.export.export(model, (x,)).module()
    torch.testing.assert_close(exported(x), model(x))
