"""The machine that a benchmark ran on, in words: figures mean little without it."""

import os
import platform
from pathlib import Path

import numpy as np
import torch


def describe() -> str:
    """Returns one line: processor, cores that may be used, versions, vector instructions, GPU."""
    parts = [
        _processor(),
        f"{_usable_cores()} cores",
        f"Python {platform.python_version()}",
        f"torch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()})",
        f"NumPy {np.__version__}",
    ]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def _processor() -> str:
    listing = Path("/proc/cpuinfo")  # Linux only; elsewhere Python knows enough
    lines = listing.read_text().splitlines() if listing.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
