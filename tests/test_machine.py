"""`auto` becomes what is there; jobs that run at once share the cores."""

import pytest
import torch

from kdlsr.config import UserError
from kdlsr.machine import cores as machine_cores
from kdlsr.machine import device
from kdlsr.machine.cores import default_threads
from kdlsr.machine.device import computing, resolve_device, resolve_precision

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
