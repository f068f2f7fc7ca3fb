"""A run has one writer at a time, and a writer that is gone is succeeded by exactly one."""

import dataclasses
import errno
import json
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY
from made_runs import make_complete

from kdlsr.config import LostRun
from kdlsr.runs import owner
from kdlsr.runs.execute import store_of
from kdlsr.runs.owner import Ownership, current_holder, living_holder
from kdlsr.runs.plan import card_of
from kdlsr.runs.writer import RunWriter

HOLD = """
import sys, time
from pathlib import Path
from kdlsr.runs.owner import Ownership
with Ownership(Path(sys.argv[1]), lambda holder: None):
    print("mine", flush=True)
    time.sleep(60)
"""


def _hold_elsewhere(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "mine\n"
    return process


def _nobody(holder: object) -> None:
    raise AssertionError(f"waited for {holder}")


def test_a_free_run_is_owned_and_released(tmp_path: Path) -> None:
    with Ownership(tmp_path, _nobody) as ownership:
        holder = living_holder(tmp_path)
        assert holder is not None
        assert holder.pid == os.getpid()
        ownership.check()
    assert current_holder(tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_a_killed_owner_is_succeeded_at_once(tmp_path: Path) -> None:
    process = _hold_elsewhere(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    begun = time.monotonic()
    with Ownership(tmp_path, _nobody):
        assert time.monotonic() - begun < owner.STALE_S / 2
        assert len(list(tmp_path.glob("owner.*.json"))) == 1


def test_a_living_owner_is_waited_for_and_named(tmp_path: Path) -> None:
    process = _hold_elsewhere(tmp_path)
    waited_for = []

    def note(holder: object) -> None:
        waited_for.append(str(holder))
        process.terminate()
        process.wait()

    with Ownership(tmp_path, note):
        assert waited_for == [f"process {process.pid} on {platform.node()}"]


def test_an_owner_on_another_machine_is_succeeded_when_its_heart_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, "STALE_S", 1.0)
    monkeypatch.setattr(owner, "POLL_S", 0.05)
    path = tmp_path / "owner.1.json"
    record = {"host": "elsewhere", "pid": 1, "started": "x", "beat": 0}
    path.write_text(json.dumps(record))
    stop = threading.Event()

    def beat() -> None:
        for number in range(1, 15):
            if stop.wait(0.1):
                return
            temporary = tmp_path / "beat"
            temporary.write_text(json.dumps(record | {"beat": number}))
            temporary.replace(path)

    heart = threading.Thread(target=beat)
    heart.start()
    begun = time.monotonic()
    with Ownership(tmp_path, lambda holder: None):
        # 1.4 s of beats, then 1 s of silence.
        assert time.monotonic() - begun > 2.0
    stop.set()
    heart.join()


def test_who_was_taken_over_may_not_write(tmp_path: Path) -> None:
    with Ownership(tmp_path, _nobody) as ownership:
        successor = {"host": "elsewhere", "pid": 1, "started": "x", "beat": 0}
        (tmp_path / "owner.2.json").write_text(json.dumps(successor))
        with pytest.raises(LostRun, match="taken over by process 1 on elsewhere"):
            ownership.check()


def _count_inside(folder: str, rounds: int) -> None:
    for _ in range(rounds):
        with Ownership(Path(folder), lambda holder: None):
            marker = Path(folder) / "inside"
            marker.touch(exist_ok=False)  # fails if another process is inside too
            time.sleep(0.01)
            marker.unlink()


def _no_links(source: Path, target: Path) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.parametrize("links", [True, False])
def test_processes_that_compete_are_never_inside_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:  # as on network drives
        monkeypatch.setattr(os, "link", _no_links)
    monkeypatch.setattr(owner, "POLL_S", 0.02)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_count_inside, args=(str(tmp_path), 15)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]


@pytest.mark.parametrize("content", ["", '{"host": "elsew'])
def test_an_owner_file_that_is_not_whole_is_owned_until_it_stays_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    """One is seen for a moment where there are no hard links, and left by who dies in it."""
    monkeypatch.setattr(owner, "STALE_S", 0.5)
    monkeypatch.setattr(owner, "POLL_S", 0.05)
    (tmp_path / "owner.1.json").write_text(content)
    begun = time.monotonic()
    with Ownership(tmp_path, lambda holder: None):
        assert time.monotonic() - begun > 0.5
        assert [p.name for p in tmp_path.iterdir()] == ["owner.2.json"]


def _complete_folder(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("owner."))
    return {p.name: p.read_bytes() for p in files}


def test_a_writer_that_wakes_up_changes_nothing_of_a_run_that_others_completed(
    plan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stopped for longer than is waited for; its number has been used again since."""
    monkeypatch.setattr(owner, "STALE_S", 0.3)
    monkeypatch.setattr(owner, "POLL_S", 0.05)
    monkeypatch.setattr(owner, "HEARTBEAT_S", 3600)
    monkeypatch.setattr(owner, "_has_died", lambda holder: False)  # it lives, and is not moving
    run = plan()
    folder = store_of(run.config).run(run.run_id)
    stopped = Ownership(folder.path, _nobody)
    stopped.__enter__()
    sleeper = RunWriter(folder, stopped)
    with Ownership(folder.path, lambda holder: None):
        assert [p.name for p in folder.path.glob("owner.*")] == ["owner.2.json"]
    make_complete(run)
    before = _complete_folder(folder.path)
    third = Ownership(folder.path, _nobody)
    third.__enter__()
    assert [p.name for p in folder.path.glob("owner.*")] == ["owner.1.json"]  # the sleeper's name
    result = folder.result()
    assert result is not None
    writes: list[Callable[[], object]] = [
        lambda: sleeper.card(card_of(run, "teaching")),
        lambda: sleeper.metrics([]),
        lambda: sleeper.result(dataclasses.replace(result, parameters=2)),
        lambda: sleeper.failure(run.cell_id, OSError("disk")),
        sleeper.clear_failure,
        sleeper.remove_abandoned,
        lambda: sleeper.environment({"threads": 3}),
        lambda: sleeper.times({"seconds": 1}),
        lambda: sleeper.test_logits(np.zeros((2, 2), dtype=np.float32), np.zeros(2)),
        lambda: sleeper.checkpoint({"run_id": run.run_id}, 3, keep=False),
        lambda: sleeper.prune_checkpoints({1}),
    ]
    for write in writes:
        with pytest.raises(LostRun, match="was taken over by process"):
            write()
        assert _complete_folder(folder.path) == before
    stopped.__exit__(None, None, None)
    third.check()  # it did not take the others' file with it
    third.__exit__(None, None, None)
    assert _complete_folder(folder.path) == before


@pytest.mark.parametrize("other", ["boot", "namespace"])
def test_an_owner_of_another_boot_or_pid_namespace_is_not_taken_for_dead_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """Its PID is nobody's here, though the host's name is ours: it may well be alive."""
    monkeypatch.setattr(owner, "STALE_S", 0.6)
    monkeypatch.setattr(owner, "POLL_S", 0.05)
    process = _hold_elsewhere(tmp_path)
    process.kill()
    process.wait()
    path = tmp_path / "owner.1.json"
    holder = json.loads(path.read_text())
    host, boot, namespace = holder["machine"].split("|")
    changed = (host, "another-boot", namespace) if other == "boot" else (host, boot, "pid:[1]")
    path.write_text(json.dumps(holder | {"machine": "|".join(changed)}))
    assert living_holder(tmp_path) is not None
    waited_for: list[object] = []
    begun = time.monotonic()
    with Ownership(tmp_path, waited_for.append):
        assert time.monotonic() - begun > 0.6
    assert len(waited_for) == 1
