"""Many files are worked on by processes, to the same bytes; they end with whoever started them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from made_images import make_pets, source

from kdlsr.config import UserError
from kdlsr.data import in_parallel as module
from kdlsr.data.dataset import quiet
from kdlsr.data.in_parallel import in_parallel
from kdlsr.machine.side_process import SideProcess


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has a few files be many."""
    monkeypatch.setattr(module, "FIRST_FILES", 2)
    monkeypatch.setattr(module, "CHUNK_FILES", 5)
    monkeypatch.setattr(module, "WORTH_PROCESSES_S", -1.0)
    monkeypatch.setattr(module, "available_cores", lambda: 1)


def test_processes_give_the_bytes_and_the_fingerprint_that_threads_give(
    tmp_path: Path, many: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pets = source(make_pets(tmp_path / "pets"))
    monkeypatch.setenv("KDLSR_DATA", str(tmp_path / "by processes"))
    fingerprint, by_processes = pets.facts().fingerprint, pets.load()
    monkeypatch.undo()
    monkeypatch.setenv("KDLSR_DATA", str(tmp_path / "by threads"))
    assert pets.facts().fingerprint == fingerprint
    for one, other in zip(by_processes, pets.load(), strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)
        np.testing.assert_array_equal(one.labels, other.labels)


def _pids(chunk: Sequence[int]) -> list[tuple[int, int]]:
    return [(number, os.getpid()) for number in chunk]


def _refuse(chunk: Sequence[int]) -> None:
    if max(chunk) > 8:
        raise UserError(f"{max(chunk)} is too many")


def test_results_come_in_order_from_elsewhere_and_progress_is_told(
    many: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "available_cores", lambda: 2)
    told: list[int] = []
    found = in_parallel(_pids, range(23), "count", lambda _what, done, _of: told.append(done))
    numbers, pids = zip(*(pair for chunk in found for pair in chunk), strict=True)
    assert numbers == tuple(range(23))
    assert set(pids[:2]) == {os.getpid()}
    assert os.getpid() not in pids[2:]
    assert told == [2, 7, 12, 17, 22, 23]


def test_a_mistake_found_elsewhere_is_told_here(many: None) -> None:
    with pytest.raises(UserError, match=r"^11 is too many$"):
        list(in_parallel(_refuse, range(12), "count", quiet))


def test_where_no_process_can_be_started_threads_do_it(
    many: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> SideProcess:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(module, "SideProcess", refused)
    found = [pair for chunk in in_parallel(_pids, range(23), "count", quiet) for pair in chunk]
    assert found == [(number, os.getpid()) for number in range(23)]


def test_a_process_that_is_killed_is_told_in_a_line() -> None:
    with SideProcess() as process, pytest.raises(UserError, match="ended with -9; too little"):
        process.call(_die, None)


def _die(_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_ends_with_the_one_that_it_works_for() -> None:
    program = (
        "import time; from kdlsr.machine.side_process import SideProcess\n"
        "process = SideProcess(); process.call(abs, 1); print(process._process.pid, flush=True)\n"
        "time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 10
    while _is_running(child):
        assert time.monotonic() < until
        time.sleep(0.02)


def _is_running(pid: int) -> bool:
    """Whether there is such a process; one that nobody has waited for has ended all the same."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
