"""Which device, and how it computes: `auto` turned into facts, threads and determinism set."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from kdlsr.config.errors import UserError
from kdlsr.machine.cores import cpu_info

Precision = Literal["fp32", "bf16", "fp16"]
# Flags of processors. Of BF16 any says that bf16 is native; of BF16_MATRICES, that whole matrices
# are multiplied in it, without which transformers are slower in bf16 than in fp32.
BF16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
BF16_MATRICES = frozenset({"amx_bf16"})
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


def resolve_precision(name: str, device: torch.device, flags: frozenset[str] = BF16) -> Precision:
    """Turns `auto` into bf16 where the hardware has it natively, else fp32.

    Args:
        name: of the precision, or `auto`.
        device: that computes.
        flags: of a processor, of which one makes bf16 worth while for the network.

    Raises:
        UserError: fp16 without a GPU.
    """
    if name == "auto":
        return "bf16" if _has_native_bf16(device, flags) else "fp32"
    if name == "fp16" and device.type != "cuda":
        raise UserError("precision=fp16 needs a CUDA device; on a CPU use bf16 or fp32")
    assert name in ("fp32", "bf16", "fp16")
    return name  # type: ignore[return-value]


def _has_native_bf16(device: torch.device, flags: frozenset[str]) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)  # from Ampere
    # Where nothing is said of the processor no claim is made, and fp32 is used.
    return not flags.isdisjoint(cpu_info("flags", "features").split())


def multiplies_bf16_matrices() -> bool:
    """Says whether the processor has AMX for bf16."""
    return _has_native_bf16(torch.device("cpu"), BF16_MATRICES)


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


def _set_deterministic(mode: bool) -> None:
    if mode == torch.are_deterministic_algorithms_enabled():
        return  # the call imports torch's compiler, which takes as long as torch itself
    if mode:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(mode)
