"""Your own module and your own loader: compare ways of spending its weights, then prune one network yourself.

Run it with `python examples/own_module.py`; it takes about a minute on two cores.
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import widthwise as ww


class SmallConvNet(nn.Module):
    """Any module will do; all widthwise asks for is a function from a width to a module."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2))
        self.mix = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2))
        self.head = nn.Linear(4 * width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images ``(n, 1, 8, 8)`` to logits ``(n, 10)``."""
        return self.head(self.mix(self.features(x)).flatten(1))


def digits() -> DataLoader:
    """Handwritten digits, as a loader of your own would give them."""
    raw = load_digits()
    x = torch.tensor(raw.images, dtype=torch.float32).unsqueeze(1) / 16 - 0.3
    return DataLoader(TensorDataset(x, torch.tensor(raw.target)), batch_size=64, shuffle=True)


def compare_widths() -> None:
    """The main job, on a module of your own."""
    found = ww.compare(
        digits(),
        SmallConvNet,
        base_width=4,
        factors=(2, 4),
        seeds=2,
        train=ww.TrainConfig(epochs=10, lr=0.1, momentum=0.9),
    )
    for sentence in found.findings:
        print("-", sentence)


def prune_one() -> None:
    """Prune a network at initialization, train it as you always do, and keep it."""
    torch.manual_seed(0)
    model, loader = SmallConvNet(16), digits()
    loss = nn.CrossEntropyLoss()
    mask = ww.prune(model, 0.9, method="snip", data=loader, loss=loss)
    print(mask.report())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(5):
        for x, y in loader:
            optimizer.zero_grad()
            loss(model(x), y).backward()
            optimizer.step()
    correct = sum(int((model(x).argmax(1) == y).sum()) for x, y in loader)
    print(f"training accuracy {correct / 1797:.1%} with {mask.kept} of {mask.total} weights")
    ww.save(model, "pruned.safetensors")
    again = ww.load("pruned.safetensors", SmallConvNet(16))
    print("loaded again, sparsity", f"{ww.Mask.of(again).sparsity:.1%}")


if __name__ == "__main__":
    compare_widths()
    prune_one()
