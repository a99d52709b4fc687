"""Small networks in float64, each with a batch and a loss, that oracles can take apart."""

from __future__ import annotations

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from widthwise.weights import prunable


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.read = nn.Linear(4, 3)

    def forward(self, x):
        x = x.unflatten(1, (3, 2))
        x = torch.cat([x, x.square()], -1)
        return self.read(self.attention(x, x, x)[0].mean(1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent, self.read = nn.LSTM(2, 3, batch_first=True), nn.Linear(3, 3)

    def forward(self, x):
        return self.read(self.recurrent(x.unflatten(1, (3, 2)))[0][:, -1])


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x).tanh())


MODELS = {
    "mlp": lambda: nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4, bias=False), nn.ELU(), nn.Linear(4, 3)),
    "conv": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.GELU(), nn.Flatten(), nn.Linear(6, 3)
    ),
    "attention": Attending,
    "lstm": Recurrent,
    "tied": Tied,
}


def make(name):
    torch.manual_seed(0)
    return MODELS[name]().double()


def batch(n=8):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 6, dtype=torch.float64, generator=generator), torch.arange(n) % 3


def loss(output, y):
    return functional.cross_entropy(output, y)


def flat_loss(model, x, y):
    """The loss as a function of one flat vector of prunable weights, and the vector that the model has."""
    weights = {name: weight.detach() for name, weight in prunable(model).items()}

    def value(vector):
        parts = vector.split([w.numel() for w in weights.values()])
        named = {name: part.view(w.shape) for (name, w), part in zip(weights.items(), parts, strict=True)}
        return loss(functional_call(model, named, (x,)), y)

    return value, flat(weights)


def flat(tensors):
    return torch.cat([tensor.detach().flatten() for tensor in tensors.values()])


def slope(value, vector, step=1e-6):
    """The gradient by central differences."""
    moves = step * torch.eye(len(vector), dtype=vector.dtype)
    return torch.stack([(value(vector + move) - value(vector - move)).detach() / (2 * step) for move in moves])
