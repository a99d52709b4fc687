"""Processes that train one network together, as ``torchrun`` starts them; alone, all of this does nothing."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from widthwise.errors import InputError
from widthwise.masks import Mask

__all__ = ["Ranks", "joined", "mask_digest"]


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together.

    Attributes:
        rank: its number, from 0.
        world: how many there are.
    """

    rank: int = 0
    world: int = 1

    @classmethod
    def now(cls) -> Ranks:
        """As ``torch.distributed`` is initialised, or alone."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size())

    def share(self, batch: Tensor) -> tuple[Tensor, float]:
        """This rank's part of a batch, and the weight of its mean loss so that gradients average to the batch's."""
        mine = batch.tensor_split(self.world)[self.rank]
        if not len(mine):
            return batch[:1], 0.0
        return mine, self.world * len(mine) / len(batch)

    def wrapped(self, model: nn.Module) -> nn.Module:
        """The model, its gradients averaged over the ranks, its weights those of rank 0."""
        return model if self.world == 1 else DistributedDataParallel(model)

    def check_masks(self, model: nn.Module) -> None:
        """Refuse masks that differ from rank to rank.

        Raises:
            InputError: on every rank, with the ranks whose mask is not that of rank 0.
        """
        if self.world == 1:
            return
        mine = torch.frombuffer(bytearray.fromhex(mask_digest(model)), dtype=torch.uint8).to(_device(model))
        all_of_them = [torch.empty_like(mine) for _ in range(self.world)]
        distributed.all_gather(all_of_them, mine)
        others = [str(i) for i, digest in enumerate(all_of_them) if not torch.equal(digest, all_of_them[0])]
        if others:
            raise InputError(
                f"model: its mask on rank {', '.join(others)} is not that of rank 0, allowed is one mask; prune with "
                "the same seed and data on every rank, or load one file"
            )

    def tell(self, record: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
        """Rank 0's JSON values, on every rank."""
        if self.world == 1:
            return dict(record)
        text = json.dumps(record).encode()
        size = torch.tensor([len(text)], device=device)
        distributed.broadcast(size, 0)
        data = torch.zeros(int(size), dtype=torch.uint8, device=device)
        if self.rank == 0:
            data.copy_(torch.from_numpy(np.frombuffer(text, np.uint8).copy()))
        distributed.broadcast(data, 0)
        found: dict[str, Any] = json.loads(data.cpu().numpy().tobytes())
        return found

    def any_of(self, mine: bool) -> bool:
        """Whether something holds on any rank."""
        if self.world == 1:
            return mine
        found = torch.tensor(float(mine), device="cuda" if distributed.get_backend() == "nccl" else "cpu")
        distributed.all_reduce(found, distributed.ReduceOp.MAX)
        return bool(found)

    def spread(self, tensor: Tensor) -> None:
        """Make a tensor that of rank 0, in place."""
        if self.world > 1:
            distributed.broadcast(tensor, 0)


@contextmanager
def joined(device: str = "cpu") -> Iterator[torch.device]:
    """Join the processes that ``torchrun`` has started; alone, do nothing. Gives the device to work on.

    Args:
        device: ``"cpu"`` (gloo) or ``"cuda"`` (NCCL, one GPU a process).

    Example:
        >>> with joined() as device:
        ...     print(device, Ranks.now())
        cpu Ranks(rank=0, world=1)
    """
    place = torch.device(device)
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield place
        return
    if place.type == "cuda":
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(place)
    distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield place
    finally:
        distributed.destroy_process_group()


def mask_digest(model: nn.Module) -> str:
    """Content hash of the mask in force, of none too."""
    digest = hashlib.sha256()
    for name, alive in (Mask.of(model) or {}).items():
        digest.update(f"{name}{tuple(alive.shape)}".encode())
        digest.update(np.packbits(alive.cpu().numpy()).tobytes())
    return digest.hexdigest()


def _device(model: nn.Module) -> torch.device:
    return next(iter(model.parameters())).device
