"""`auto` becomes what is there; jobs that run at once share the cores."""

import importlib.util
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from kdlsr.config import UserError
from kdlsr.machine import compiler, device, environment
from kdlsr.machine import cores as machine_cores
from kdlsr.machine.cores import available_cores, check_threads, default_threads
from kdlsr.machine.device import computing, resolve_device, resolve_precision
from kdlsr.machine.gpus import free_memory, give_back_memory, lacks_memory

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ({"avx512f", "avx512_bf16"}, "bf16"),
        ({"avx512f", "amx_bf16"}, "bf16"),
        ({"avx512f", "avx512bw"}, "fp32"),
        (set(), "fp32"),
    ],
)
def test_auto_precision_is_bf16_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], precision: str
) -> None:
    monkeypatch.setattr(device, "cpu_info", lambda *fields: " ".join(flags))
    assert resolve_precision("auto", CPU) == precision
    assert resolve_precision("fp32", CPU) == "fp32"


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="expected auto, cpu, cuda"):
        resolve_device("tpu")
    with pytest.raises(UserError, match="torch sees"):
        resolve_device("cuda:99")


def test_more_threads_than_a_system_gives_are_refused() -> None:
    """100,000,000 of them were a segmentation fault."""
    check_threads(None)
    check_threads(4 * available_cores())
    with pytest.raises(UserError, match=r"threads=100000000 is not possible; expected at most \d+"):
        check_threads(100_000_000)


def test_compiling_without_a_compiler_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "Python.h").touch()
    (tmp_path / "g++").touch(0o755)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(compiler.sys, "platform", "linux")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    compiler.check_compiler("cpu")
    monkeypatch.setenv("CXX", "/nowhere/g++")
    with pytest.raises(UserError, match=r"CXX=/nowhere/g\+\+ is no program; install one"):
        compiler.check_compiler("cpu")
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"needs a C\+\+ compiler: no g\+\+ here"):
        compiler.check_compiler("cpu")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", lambda name: "/nowhere")
    with pytest.raises(UserError, match="Python's headers, and /nowhere has none"):
        compiler.check_compiler("cpu")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs triton"):
        compiler.check_compiler("cuda")


def test_what_an_option_needs_of_the_machine_is_found_at_the_plan(
    plan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "/nowhere/g++")
    with pytest.raises(UserError, match="compile=true needs"):
        plan("compile=true")
    with pytest.raises(UserError, match="threads=100000000"):
        plan("threads=100000000")
    with pytest.raises(UserError, match="precision=fp16 needs a CUDA device"):
        plan("precision=fp16", "device=cpu")
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "wandb" else found(name)
    )
    with pytest.raises(UserError, match="wandb is not installed; pip install wandb"):
        plan("tracker=wandb")


@pytest.mark.parametrize(("cores", "threads"), [(None, 8), (3, 3), (1, 1), (100, 8)])
def test_a_jobs_threads_are_its_cores_and_one_for_a_small_network(
    monkeypatch: pytest.MonkeyPatch, cores: int | None, threads: int
) -> None:
    monkeypatch.setattr(machine_cores, "available_cores", lambda: 8)
    assert default_threads(False, cores) == threads
    assert default_threads(True, cores) == 1


def test_threads_and_determinism_are_put_back_after_a_run() -> None:
    before = torch.get_num_threads()
    with computing(before + 1, deterministic=True):
        assert torch.get_num_threads() == before + 1
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_commit_is_recorded_without_a_write_to_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a file had been touched the index was written, and a full disk left its lock behind."""
    root = tmp_path / "checkout"
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(root)]
    (root / "kdlsr" / "machine").mkdir(parents=True)
    module = root / "kdlsr" / "machine" / "environment.py"
    module.write_text("")
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(environment, "__file__", str(module))
    os.utime(module, (1, 1))
    index = (root / ".git" / "index").read_bytes()
    recorded = environment._git_commit.__wrapped__  # asked anew
    commit = recorded()
    assert re.fullmatch("[0-9a-f]{40}", commit)
    module.write_text("# changed")
    assert recorded() == f"{commit}-dirty"
    assert (root / ".git" / "index").read_bytes() == index


# ---------------------------------------------------------------- a GPU's memory


@pytest.mark.parametrize(
    ("error", "lacks"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (torch.AcceleratorError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(`"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("out of memory"), False),
        (None, False),
    ],
)
def test_memory_was_short_where_torch_the_driver_or_a_library_says_so(
    error: Exception | None, lacks: bool
) -> None:
    assert lacks_memory(error) is lacks
    later = RuntimeError("a step failed")
    later.__cause__ = error
    assert lacks_memory(later) is lacks


def test_a_gpu_that_does_not_answer_has_no_memory_that_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full() -> None:
        raise torch.AcceleratorError("CUDA error: out of memory")

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (5, 9))
    assert free_memory() == 5
    monkeypatch.setattr("torch.cuda.mem_get_info", full)
    assert free_memory() == 0


def test_memory_is_given_back_with_the_workspaces_of_streams_that_are_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []
    monkeypatch.setattr("torch.cuda.max_memory_reserved", lambda: 7)
    for name in (
        "cuda.empty_cache",
        "cuda.reset_peak_memory_stats",
        "_C._cuda_clearCublasWorkspaces",
    ):
        monkeypatch.setattr(f"torch.{name}", lambda name=name: done.append(name))
    assert give_back_memory() == 7
    assert done[:2] == ["_C._cuda_clearCublasWorkspaces", "cuda.empty_cache"]
