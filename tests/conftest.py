"""What all tests share: one thread, no network accounts, the command line as a user has it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
# Small enough for seconds, and still every part of a run.
TINY = ["dataset=digits", "dataset.subset=256", "model=resnet8", "model.width=4", "schedule=quick"]

os.environ.setdefault("WANDB_MODE", "offline")
torch.set_num_threads(1)

Command = Callable[..., subprocess.CompletedProcess[str]]


def environment() -> dict[str, str]:
    """A user's environment without accounts, in which the checkout's kdlsr is found."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "HYDRA_"))}
    return kept | {"PYTHONPATH": str(REPOSITORY), "WANDB_MODE": "offline", "COLUMNS": "200"}


def train_command(*overrides: str) -> list[str]:
    return [sys.executable, "-m", "kdlsr.train", *overrides]


@pytest.fixture
def train(tmp_path: Path) -> Command:
    """Runs `python -m kdlsr.train ...` in an empty folder and returns how it ended."""

    def run(*overrides: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            train_command(*overrides),
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
