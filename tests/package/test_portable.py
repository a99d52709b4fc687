"""What asks the operating system or the processor, where these do not answer."""

from __future__ import annotations

import mmap
import os
import platform
from pathlib import Path

import numpy as np
import torch

from widthwise import _memory, environment
from widthwise.executor import base
from widthwise.infinite import stream
from widthwise.kernels import MLP
from widthwise.sweep import claims

NOWHERE = Path("/nonexistent/proc")


def test_memory_where_there_is_no_proc(monkeypatch):
    monkeypatch.setattr(_memory, "_MEMINFO", NOWHERE)
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert _memory.available_memory() == there
    monkeypatch.delattr(os, "sysconf")
    assert _memory.available_memory() is None


def test_kernels_have_no_bound_where_memory_is_unknown(monkeypatch):
    monkeypatch.setattr(_memory, "available_memory", lambda device: None)
    assert MLP(1).ntk(torch.ones(3, 2)).shape == (3, 3)


def test_cores_where_affinity_is_unknown(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert base.cores() == os.cpu_count()


def test_the_processors_name_where_there_is_no_proc(monkeypatch):
    monkeypatch.setattr(environment, "_CPUINFO", NOWHERE)
    assert environment.machine()["processor"] == (platform.processor() or "unknown")


def test_claims_where_there_is_no_proc(monkeypatch):
    monkeypatch.setattr(claims, "_NAMESPACE", NOWHERE)
    assert claims._place() == platform.node()


def test_pages_stay_where_they_cannot_be_given_back(monkeypatch, tmp_path):
    x = torch.randn(40, 3, dtype=torch.float64)
    wanted = MLP(1).ntk(x)
    monkeypatch.delattr(mmap, "MADV_DONTNEED", raising=False)
    monkeypatch.setattr(stream, "BLOCK", 1)
    MLP(1).save(tmp_path / "ntk.npy", x)
    assert torch.equal(torch.from_numpy(np.load(tmp_path / "ntk.npy")), wanted)
