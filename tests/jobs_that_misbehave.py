"""What processes are given to do in tests of those that run jobs; imports nothing that is slow."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from kdlsr.runs.executors import Job

LONG_S = 60.0


def behave(job: Job) -> None:
    """Notes its process, and does what the job's seed stands for."""
    seed = job.overrides.get("seed")
    Path(f"pid-{seed}").write_text(str(os.getpid()))
    if seed == 1:
        raise ValueError("one is wrong")
    if seed == 2:
        os.kill(os.getpid(), signal.SIGKILL)


def take_long(job: Job) -> None:
    """Notes its process, and that it was left to tidy up."""
    try:
        Path("pid").write_text(str(os.getpid()))
        time.sleep(LONG_S)
    finally:
        Path("tidy").write_text("")


def need_room(job: Job) -> None:
    """Lacks a GPU's memory the first time; notes where it is each time."""
    import torch

    seed = job.overrides.get("seed")
    seen = json.dumps({name: os.environ[name] for name in os.environ if name.startswith("CUDA_")})
    if not Path(f"tried-{seed}").exists():
        Path(f"tried-{seed}").write_text(seen)
        raise RuntimeError("a step failed") from torch.OutOfMemoryError("CUDA out of memory")
    Path(f"done-{seed}").write_text(seen)


def hold_memory(job: Job) -> None:
    """Notes its process, whose GPU gives no memory back from now on."""
    main: Any = sys.modules["__main__"]
    main.give_back_memory = _cannot
    Path(f"pid-{job.overrides.get('seed')}").write_text(str(os.getpid()))


def _cannot() -> int:
    raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")


def explode(job: Job) -> None:
    raise OSError(28, "No space left on device", str(job.overrides.get("seed")))


def tell_cores(job: Job) -> None:
    Path(f"cores-{job.overrides.get('seed')}").write_text(str(job.cores))
