"""What a result was made with: versions and hardware, recorded beside every number."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import torch

from widthwise._version import __version__

__all__ = ["machine"]

_CPUINFO = Path("/proc/cpuinfo")
_PACKAGES = ("numpy", "scipy", "scikit-learn")


def machine() -> dict[str, str]:
    """Versions of Python and the libraries, the processor, its cores and PyTorch's threads."""
    found = {"widthwise": __version__, "python": platform.python_version(), "torch": torch.__version__}
    found |= {name: metadata.version(name) for name in _PACKAGES}
    found |= {"system": f"{platform.system()} {platform.machine()}", "processor": _processor()}
    found |= {"cores": str(os.cpu_count()), "threads": str(torch.get_num_threads())}
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    """Linux names the model in /proc/cpuinfo; elsewhere Python has to do."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or "unknown"
