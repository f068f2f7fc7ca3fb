"""Which device, which arithmetic, how many threads: `auto` turned into facts."""

import functools
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from kdlsr.config import UserError

Precision = Literal["fp32", "bf16", "fp16"]
AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_device(name: str) -> torch.device:
    """Turns `auto`, `cpu`, `cuda`, `cuda:1` into a device that is there.

    Raises:
        UserError: no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"device={name}: expected auto, cpu, cuda or cuda:<number>") from error
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device={name}: expected auto, cpu, cuda or cuda:<number>")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device={name}: torch sees {torch.cuda.device_count()} CUDA devices here")
    return device


def resolve_precision(name: str, device: torch.device) -> Precision:
    """Turns `auto` into bf16 where the hardware has it natively, else fp32.

    Raises:
        UserError: fp16 without a GPU.
    """
    if name == "auto":
        return "bf16" if _has_native_bf16(device) else "fp32"
    if name == "fp16" and device.type != "cuda":
        raise UserError("precision=fp16 needs a CUDA device; on a CPU use bf16 or fp32")
    assert name in ("fp32", "bf16", "fp16")
    return name  # type: ignore[return-value]


def _has_native_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)  # from Ampere
    return bool(_cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})


@functools.cache
def _cpu_flags() -> frozenset[str]:
    info = Path("/proc/cpuinfo")
    if not info.exists():  # not Linux: no claim is made, and fp32 is used
        return frozenset()
    for line in info.read_text().splitlines():
        if line.lower().startswith(("flags", "features")):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def available_cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_threads(small: bool, cores: int | None) -> int:
    """Returns a job's share of the cores (None: all of them); 1 for a small network."""
    return 1 if small else max(1, min(cores or available_cores(), available_cores()))


@contextmanager
def computing(threads: int, deterministic: bool) -> Iterator[None]:
    """Sets threads and determinism for the duration of one run, and puts them back."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    _set_deterministic(deterministic)
    torch.backends.cudnn.benchmark = not deterministic
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        _set_deterministic(before[1])


def compile_model(model: nn.Module, device: torch.device) -> None:
    """Has `model` compiled when it is first called; on a GPU its kernels become CUDA graphs.

    Batches have one shape but for an epoch's last, so a step is replayed as a whole, without
    the host launching kernels one by one. A graph's output is overwritten when it is next
    called, which `Learner.forward` announces: what is to last longer has to be copied.
    """
    model.compile(mode="reduce-overhead" if device.type == "cuda" else None)


def _set_deterministic(mode: bool) -> None:
    if mode == torch.are_deterministic_algorithms_enabled():
        return  # the call imports torch's compiler, which takes as long as torch itself
    if mode:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(mode)


def describe_environment(device: torch.device, precision: str, threads: int) -> dict[str, Any]:
    """Returns what `environment.json` records: what else the bits of a run depend on."""
    from importlib.metadata import version  # importing torchvision itself takes a second

    from kdlsr import __version__

    is_gpu = device.type == "cuda"
    return {
        "kdlsr": __version__,
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "numpy": version("numpy"),
        "device_type": device.type,
        "device": torch.cuda.get_device_name(device) if is_gpu else _cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "precision": precision,
        "threads": threads,
        "host": platform.node(),
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@functools.cache
def _git_commit() -> str | None:
    """Returns the commit of the checkout this code runs from; None where it is no checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None  # git is not installed, or does not answer: the field is informative only
    return done.stdout.strip() or None
