"""`tests/benchmarks/gpu.py`, as far as a machine without a GPU shows that it would run on one."""

import gc
import importlib
import sys
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch

BENCHMARKS = Path(__file__).parent / "benchmarks"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The script as a module; its neighbours are gone from Python's list afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield importlib.import_module("gpu")
    for name in set(sys.modules) - before:
        if (BENCHMARKS / f"{name}.py").exists():
            del sys.modules[name]


def test_a_recorded_step_keeps_alive_what_its_graph_reads(
    gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = MagicMock()
    monkeypatch.setattr(torch, "cuda", cuda)

    def step_on(batch: torch.Tensor) -> Any:
        return partial(torch.sum, batch)

    batch = torch.ones(2)
    seen = weakref.ref(batch)
    replay = gpu.as_graph(step_on(batch))
    del batch
    gc.collect()
    replay()
    assert seen() is not None
    cuda.CUDAGraph.return_value.replay.assert_called_once()
    names = [name for name, *_ in cuda.mock_calls]
    assert names.index("Stream().wait_stream") < names.index("stream().__enter__")


def test_a_part_that_leaves_the_gpu_unusable_leaves_the_figures_before_it(
    gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unusable() -> None:
        raise RuntimeError("an illegal memory access was encountered")

    def crashing(bench: object, name: str) -> dict[str, float]:
        monkeypatch.setattr("torch.cuda.empty_cache", unusable)
        raise RuntimeError("it crashed")

    monkeypatch.setattr("torch.cuda.empty_cache", lambda: None)
    parts = {"good": lambda *_: {"rate": 1.0}, "bad": crashing, "next": lambda *_: {"other": 2.0}}
    monkeypatch.setattr(gpu, "PARTS", parts)
    bench = SimpleNamespace(device=torch.device("cuda"))
    found = gpu.measure(bench, "resnet18", list(parts))
    assert found == {
        "rate": 1.0,
        "bad": "RuntimeError: it crashed",
        "next": "RuntimeError: an illegal memory access was encountered",
    }
