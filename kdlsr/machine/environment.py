"""What `environment.json` records: what else, beside a run's config, its bits depend on."""

import functools
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from kdlsr.machine.cores import cpu_info


def describe_environment(device: torch.device, precision: str, threads: int) -> dict[str, Any]:
    """Returns what `environment.json` records: what else the bits of a run depend on."""
    from importlib.metadata import version  # importing timm itself takes seconds

    from kdlsr import __version__

    return {
        "kdlsr": __version__,
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": version("timm"),
        "numpy": version("numpy"),
        "device_type": device.type,
        "device": device_name(device),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "precision": precision,
        "threads": threads,
        "host": platform.node(),
    }


def device_name(device: torch.device) -> str:
    """Returns what a GPU or the processor calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return cpu_info("model name") or platform.processor() or platform.machine()


@functools.cache
def _git_commit() -> str | None:
    """Returns the commit of the checkout this code runs from; None where it is no checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    # Without locks: `git describe --dirty` writes the index, and one killed at that leaves a lock.
    asked = (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
    try:
        commit, changes = (
            subprocess.run(
                ["git", "--no-optional-locks", "-C", str(root), *words],
                capture_output=True,
                text=True,
                timeout=10,
                check=False,
            ).stdout.strip()
            for words in asked
        )
    except (OSError, subprocess.TimeoutExpired):
        return None  # git is not installed, or does not answer: the field is informative only
    return f"{commit}-dirty" if commit and changes else commit or None
