"""The data sets of the width predictors: those they were chosen on, and others that test the choice."""

from __future__ import annotations

import functools
from pathlib import Path

from torch import Tensor

from widthwise import data as datasets
from widthwise.data import Splits
from widthwise.experiments.common import thin
from widthwise.experiments.features import trained_features

__all__ = ["MOST", "SEEN", "UNSEEN", "bases", "splits"]

MOST = 2500
"""Examples of a set at most."""

_UCI = {
    "concrete": ("concrete.csv", "compressive_strength_mpa"),
    "energy": ("energy-efficiency.csv", "heating_load,cooling_load"),
    "airfoil": ("airfoil-self-noise.csv", "scaled_sound_pressure_level_db"),
    "plant": ("power-plant.csv", "net_hourly_electrical_output_mw"),
}
_BUNDLED = ("diabetes", "wine", "breast cancer")
_FEATURES = "cifar-10 features"
SEEN = (*_UCI, "digits", "mnist")
"""Sets on which the predictor of :func:`widthwise.best_width` was chosen."""
UNSEEN = (_FEATURES, *_BUNDLED)
"""Sets that came later."""


def bases(name: str) -> tuple[int, int]:
    """Widths of the dense networks that set the two numbers of weights."""
    return {"mnist": (2, 5), "digits": (3, 8), _FEATURES: (3, 8)}.get(name, (6, 24))


@functools.lru_cache(maxsize=1)
def splits(folder: str | None, name: str) -> Splits:
    """At most 2500 examples, a quarter of them to test on."""
    x, y = thin(_examples(folder, name), MOST, 0)
    return datasets.split(datasets.load((x.numpy(), y.numpy())), validation=0.0, test=0.25)


def _examples(folder: str | None, name: str) -> tuple[Tensor, Tensor]:
    if name == _FEATURES:
        return _cifar_features(Path(folder or ""))
    if name in _BUNDLED:
        from sklearn import datasets as bundled

        found = datasets.load(getattr(bundled, f"load_{name.replace(' ', '_')}")(return_X_y=True))
    elif name in _UCI:
        found = datasets.load(Path(folder or "") / "uci" / _UCI[name][0], target=_UCI[name][1])
    else:
        found = datasets.load(name if folder is None or name == "digits" else Path(folder) / name)
    return found.x, found.y


def _cifar_features(folder: Path) -> tuple[Tensor, Tensor]:
    """What a ResNet-18 of 8 channels, trained for 5 epochs on 4000 images, makes of others: 64 numbers an image."""
    images = datasets.load(f"{folder}/cifar-10/*.parquet")
    train = datasets.split(images, validation=0.0, standardize="none").train
    features = trained_features(train[0][:4000], train[1][:4000], width=8, epochs=5)
    return features(train[0][4000 : 4000 + MOST]), train[1][4000 : 4000 + MOST]
