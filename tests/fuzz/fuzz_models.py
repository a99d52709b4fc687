"""Safetensors: masks, models dense and sparse, checkpoints of a training, files of weights."""

from __future__ import annotations

import json
import struct
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from unittest.mock import patch

import torch
from fuzz_target import Dialect, in_file, target
from torch import nn

from widthwise import checkpoint
from widthwise._tensorfile import write_tensors
from widthwise.comparison.group import _restore
from widthwise.compression.linearfile import LinearFile
from widthwise.errors import InputError, InputTypeError
from widthwise.experiments.features import imagenet_features
from widthwise.masks import Mask
from widthwise.models import gpt, mlp
from widthwise.pruning import prune
from widthwise.sparse import sparsify
from widthwise.training import Family
from widthwise.training.ranks import Ranks
from widthwise.training.saved import Point, Saver
from widthwise.widening import widen

Load = Callable[[Path], object]
_CUT = b"\n"


def _plain(load: Load) -> Dialect:
    """Bytes as they lie on the disk."""
    return lambda data, folder: load(in_file(data, folder, "x.safetensors"))


def _headed(load: Load) -> Dialect:
    """A header and, after a line break, the numbers; the length is put before them."""

    def read(data: bytes, folder: Path) -> object:
        head, _, numbers = data.partition(_CUT)
        return load(in_file(struct.pack("<Q", len(head)) + head + numbers, folder, "x.safetensors"))

    return read


def _ours(kind: str, load: Load) -> Dialect:
    """Our own header, a line of the tensors' types and places, and the numbers: what is left to the fuzzer is ours."""

    def read(data: bytes, folder: Path) -> object:
        ours, _, rest = data.partition(_CUT)
        places, _, numbers = rest.partition(_CUT)
        text = json.dumps(ours.decode("utf-8", "replace")).encode()
        head = b'{"__metadata__":{"%s":%s}%s' % (kind.encode(), text, places)
        return load(in_file(struct.pack("<Q", len(head)) + head + numbers, folder, "x.safetensors"))

    return read


def _dialects(kind: str, load: Load) -> list[Dialect]:
    return [_plain(load), _headed(load), _ours(kind, load)]


def _seeds(kind: str, *files: bytes) -> Sequence[Sequence[bytes]]:
    """The same files in the three dialects."""
    headed, ours = [], []
    for file in files:
        end = 8 + struct.unpack("<Q", file[:8])[0]
        head = file[8:end].rstrip()
        headed.append(head + _CUT + file[end:])
        entries = json.loads(head)
        header = entries.pop("__metadata__", {}).get(kind, "{}")
        places = json.dumps(entries, separators=(",", ":")).encode()[1:]
        ours.append(header.encode() + _CUT + (b"," if entries else b"") + places + _CUT + file[end:])
    return files, headed, ours


def _written(write: Callable[[Path], object]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x")
        write(path)
        return path.read_bytes()


def _load_mask(path: Path) -> object:
    return Mask.load(path).report()


def _load_large_mask(path: Path) -> object:
    """As one that is too large to be read at once."""
    with patch("widthwise._maskfile._LARGE", 0):
        mask = Mask.load(path)
    return mask.report(), mask.sparsity, [mask[name] for name in mask]


_MASK = "widthwise.mask"


@target("mask", *_dialects(_MASK, _load_mask), *_dialects(_MASK, _load_large_mask))
def _mask_seeds() -> Sequence[Sequence[bytes]]:
    one = Mask({"weight": torch.tensor([[True, False, True]])})
    two = Mask({"a.weight": torch.ones(2, 3, dtype=torch.bool), "b": torch.zeros(1, 9, 1, 1, dtype=torch.bool)})
    seeds = _seeds(_MASK, _written(one.save), _written(two.save))
    return *seeds, *seeds


def _load_model(path: Path) -> object:
    checkpoint.about(path)
    return checkpoint.load(path)


def _fill_model(path: Path) -> object:
    return checkpoint.load(path, nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)))


def _pruned(model: nn.Module) -> nn.Module:
    prune(model, 0.5, "random", on_collapse="allow")
    return model


_MODEL = "widthwise.model"
_OTHER = [_ours(_MODEL, _fill_model)]


@target("model", *_dialects(_MODEL, _load_model), *_OTHER)
def _model_seeds() -> Sequence[Sequence[bytes]]:
    torch.manual_seed(0)
    models = [mlp(2, 2, width=2), _pruned(mlp(2, 2, width=3, depth=2, standardize=True))]
    models += [widen(lambda width: mlp(2, 2, width=width), 2, 1.5, "linear_bottleneck")[0]]
    files = [_written(lambda path, m=model: checkpoint.save(m, path)) for model in models]
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    tiny = gpt(vocabulary=3, context=2, width=2, depth=1, heads=1)
    more = [_written(lambda path, m=model: checkpoint.save(m, path)) for model in (tied, tiny)]
    own = _written(lambda path: checkpoint.save(_pruned(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))), path))
    whole, headed, ours = _seeds(_MODEL, *files, *more)
    return whole, headed, ours, _seeds(_MODEL, own)[2]


@target("sparse-model", *_dialects(_MODEL, checkpoint.load), *_OTHER)
def _sparse_model_seeds() -> Sequence[Sequence[bytes]]:
    torch.manual_seed(0)
    model = sparsify(_pruned(mlp(4, 3, width=4)), policy="always")
    own = sparsify(_pruned(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))), policy="always")
    file, other = (_written(lambda path, m=net: checkpoint.save(m, path)) for net in (model, own))
    return *_seeds(_MODEL, file), _seeds(_MODEL, other)[2]


@cache
def _net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(2, 2)


def _trained() -> tuple[nn.Module, torch.optim.SGD, torch.amp.GradScaler]:
    model = _net()
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), torch.amp.GradScaler(enabled=False)


def _resume(path: Path) -> object:
    model, optimizer, scaler = _trained()
    point = Saver(path, 0, "task", Ranks()).restore(model, optimizer, scaler)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return point


def _checkpoint(path: Path) -> None:
    model, optimizer, scaler = _trained()
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    at = Point(1, 2, [(1, 0.5)])
    Saver(path, 0, "task", Ranks()).maybe(at, model, optimizer, scaler, always=True)


@target("fit-checkpoint", *_dialects("widthwise.fit", _resume))
def _fit_seeds() -> Sequence[Sequence[bytes]]:
    return _seeds("widthwise.fit", _written(_checkpoint))


@cache
def _family() -> Family:
    torch.manual_seed(0)
    return Family([mlp(2, 2, width=2), mlp(2, 2, width=2)], [None, None])


@target("compare-checkpoint", *_dialects("widthwise.unfinished", lambda path: _restore(path, _family())))
def _compare_seeds() -> Sequence[Sequence[bytes]]:
    family = _family()
    tensors = {f"state/{name}": tensor for name, tensor in family.state().items()}
    tensors |= {f"momentum/{name}": tensor for name, tensor in family.params.items()}
    header = {"epoch": 2, "curve": [[0, [0.5, float("nan")]]]}
    return _seeds(
        "widthwise.unfinished",
        _written(lambda path: write_tensors(path, "widthwise.unfinished", 1, header, tensors)),
    )


class _Small(nn.Module):
    """In place of the 45 MB of a ResNet-18: some of its names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 2, 1, bias=False), nn.BatchNorm2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn1(self.conv1(x)).mean((2, 3))


def _featured(path: Path) -> object:
    with patch("widthwise.experiments.features._ResNet18", _Small):
        return imagenet_features(path, size=4)(torch.ones(1, 3, 2, 2))


@target("features", *_dialects(_MODEL, _featured))
def _feature_seeds() -> Sequence[Sequence[bytes]]:
    from safetensors.torch import save

    torch.manual_seed(0)
    state = _Small().state_dict()
    without = {name: value.half() for name, value in state.items() if value.dim()}
    return _seeds(_MODEL, save(state), save(without))


def _read_layers(path: Path) -> object:
    file = LinearFile.read(path)
    for name in file.layers:
        try:
            following = file.following(file.named(name, "layer"))
            file = file.with_layers({name: file.linear(name), following: file.linear(following)})
        except (InputError, InputTypeError):
            continue
    return file


@target("weights", *_dialects(_MODEL, _read_layers))
def _weight_seeds() -> Sequence[Sequence[bytes]]:
    from safetensors.torch import save

    plain = save({f"l{i}.{k}": v for i in (1, 10) for k, v in nn.Linear(2, 2).state_dict().items()})
    half = save({f"{i}.weight": torch.ones(2, 2, dtype=torch.bfloat16) for i in (0, 2)})
    return _seeds(_MODEL, plain, half, _written(lambda path: checkpoint.save(mlp(2, 2, width=2), path)))
