"""Faults injected for real, a few of each kind; `long.py` injects them everywhere.

Its table of all of them is made by `long.py`; nobody has run that whole yet.
"""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import power
import pytest
import trials
from conftest import REPOSITORY, RecordingWatcher
from processes_with_faults import ADDS, ALL, VISIBLE, Action, Change, Fault, Starter
from trials import CE, DE_KD, KD, TINY, Outcome, Workshop

from kdlsr.runs.execute import checkpoint_of, complete_run, store_of
from kdlsr.runs.owner import Ownership
from kdlsr.runs.session import Session
from kdlsr.training.checkpoint import checkpoint_path


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with Starter() as starter:
        if not starter.has_shim:
            pytest.skip("no C compiler, or no Linux: nothing can be injected")
        yield Workshop(starter, tmp_path_factory.mktemp("trials"))


def _assert_clean(outcome: Outcome) -> None:
    assert outcome.is_clean, "\n".join(outcome.told)


# ---------------------------------------------------------------- killed


def test_a_student_killed_twice_at_random_ends_with_the_same_bytes(shop: Workshop) -> None:
    _assert_clean(trials.killed_at_random(shop, KD, random.Random(0), kills=2))


@pytest.mark.parametrize(("share", "action"), [(0.2, Action.KILL_AFTER), (0.34, Action.TEAR)])
def test_a_kill_amid_a_write_costs_no_bit_of_student_or_teacher(
    shop: Workshop, share: float, action: Action
) -> None:
    """At 0.34 the teacher's checkpoint is kept, and used to be ahead of its metrics for good."""
    nth = int(share * shop.undisturbed(DE_KD).changes)
    _assert_clean(trials.killed_at_change(shop, DE_KD, nth, action))


# ---------------------------------------------------------------- stopped and woken


@pytest.mark.parametrize("share", [0.0, 0.35, 0.9])
def test_a_writer_that_wakes_just_before_it_names_a_file_changes_nothing(
    shop: Workshop, share: float
) -> None:
    """It has asked whether it still owns the run, and was stopped after that."""
    nth = 1 + int(share * (shop.count(CE, VISIBLE) - 1))
    _assert_clean(trials.stopped_and_continued(shop, CE, nth))


def test_a_heart_that_wakes_does_not_take_a_run_from_a_third(shop: Workshop) -> None:
    """A is stopped in a heartbeat, B succeeds and is interrupted, C has A's number again."""
    folder, start = shop.new_folder(), shop.starter.start
    long = (*CE.arguments[:-3], "schedule.epochs=400", *CE.arguments[-2:])
    heartbeat = Fault(Action.STOP, Change.RENAME, 2, only="/owner.1.json")
    first = start(folder, CE.module, *long, beat_s=0.02, fault=heartbeat)
    assert first.is_stopped()
    second = start(folder, CE.module, *long, beat_s=0.02)
    (run,) = (folder / "outputs" / "runs").iterdir()
    _wait_until((run / "checkpoints" / "epoch-0002.pt").exists)
    second.send(signal.SIGINT)
    assert second.wait().code == 130
    third = start(folder, CE.module, *long, beat_s=0.02)
    _wait_until((run / "owner.1.json").exists)
    first.send(signal.SIGCONT)
    assert first.wait().code == 1
    assert not third.has_ended(0.2)
    third.send(signal.SIGINT)
    assert third.wait().code == 130


def _wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("taken", ["by a successor", "by its successor's successor"])
def test_who_slept_on_the_way_to_a_run_takes_it_from_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: str
) -> None:
    """It had seen a dead owner 1; meanwhile 2 came and went, and 1 is a living owner again."""
    from kdlsr.runs import owner

    dead = Ownership(tmp_path, print)
    dead.__enter__()
    monkeypatch.setattr(owner, "_has_died", lambda holder: holder.token == dead._token)
    monkeypatch.setattr(owner, "POLL_S", 0.01)
    real, others = owner.create_whole, []

    def create(path: Path, content: str) -> bool:
        monkeypatch.setattr(owner, "create_whole", real)
        with Ownership(tmp_path, print):
            pass
        others.append(Ownership(tmp_path, print))
        others[0].__enter__()
        return real(path, content)

    monkeypatch.setattr(owner, "create_whole", create)

    def end_the_others(holder: object) -> None:
        others[0].check()  # nobody took it away
        others[0].__exit__(None, None, None)

    with Ownership(tmp_path, end_the_others) as sleeper:
        sleeper.check()
    assert not list(tmp_path.glob("owner.*"))


# ---------------------------------------------------------------- a disk that refuses


@pytest.mark.parametrize(
    ("error", "changes", "once"),
    [(errno.ENOSPC, ADDS, False), (errno.EIO, ALL, False), (errno.EIO, ALL, True)],
)
@pytest.mark.parametrize("share", [0.02, 0.97])
def test_what_the_disk_refuses_is_told_in_lines_and_costs_no_bit(
    shop: Workshop, error: int, changes: Change, once: bool, share: float
) -> None:
    nth = max(1, int(share * shop.undisturbed(CE).changes))
    _assert_clean(trials.refused(shop, CE, nth, error, changes, once))


def test_a_sweep_on_a_full_disk_says_that_it_is_full(shop: Workshop) -> None:
    """It said "ended without a result (killed?)"."""
    folder = shop.new_folder()
    fault = Fault(Action.REFUSE, ADDS, 40, errno.ENOSPC)
    ended = shop.starter.run(folder, CE.module, "-m", *TINY, "seed=0,1", fault=fault)
    assert ended.code == 1
    assert ended.stdout.count("No space left on device") >= 2
    assert not ended.has_traceback
    assert "killed?" not in ended.stdout


# ---------------------------------------------------------------- power


def test_a_power_cut_at_any_instant_costs_no_bit(shop: Workshop) -> None:
    cuts = list(power.cuts_of(shop, CE))
    assert len(cuts) > 60
    for cut in cuts[5::24]:
        _assert_clean(power.after_a_cut(shop, CE, cut))


# ---------------------------------------------------------------- damaged files


@pytest.mark.parametrize(
    ("file", "how"),
    [
        ("runs/*-ce-*/result.json", "flipped"),
        ("runs/*-kd-*/metrics.jsonl", "exchanged"),
        ("runs/*-kd-*/test_logits.npz", "flipped"),
        ("runs/*-kd-*/environment.json", "truncated"),
    ],
)
def test_a_damaged_file_is_named_or_does_no_harm(shop: Workshop, file: str, how: str) -> None:
    whole = shop.undisturbed(KD).folder
    (path,) = (whole / "outputs").glob(file)
    name = path.relative_to(whole / "outputs").as_posix()
    _assert_clean(trials.damaged(shop, KD, whole, name, how, random.Random(1)))


@pytest.mark.parametrize("content", ["[]", "7", '{"pid": "many"}', '{"beat": null}', "\0" * 9])
def test_an_owner_file_of_any_content_is_waited_for_and_succeeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    from kdlsr.runs import owner

    monkeypatch.setattr(owner, "STALE_S", 0.05)
    monkeypatch.setattr(owner, "POLL_S", 0.01)
    (tmp_path / "owner.1.json").write_text(content)
    with Ownership(tmp_path, lambda holder: None) as ownership:
        ownership.check()


@pytest.mark.parametrize("edit", ["best_test", "parameters", "command", "another epoch"])
def test_a_figure_that_was_edited_is_not_believed(plan: Any, edit: str) -> None:
    """Each of these was taken for true: only the last line of the metrics was looked at."""
    run = plan("schedule.epochs=2")
    complete_run(run, Session())
    folder = store_of(run.config).run(run.run_id)
    expected = folder.result()
    if edit == "another epoch":
        path = folder.path / "metrics.jsonl"
        first, last = path.read_text().splitlines()
        path.write_text(first.replace('"top1": ', '"top1": 1') + "\n" + last + "\n")
    else:
        path = folder.path / ("run.json" if edit == "command" else "result.json")
        values = json.loads(path.read_text())
        if edit == "best_test":
            values["protocols"]["best_test"]["test"]["top1"] = 99.0
        else:
            values[edit] = 7 if edit == "parameters" else ["seed=3"]
        path.write_text(json.dumps(values, indent=2) + "\n")
    (fault,) = store_of(run.config).contents().faults
    assert str(path) in fault
    watcher = RecordingWatcher()
    complete_run(run, Session(watcher))
    assert folder.result() == expected
    assert any(str(path) in line for line in watcher.lines)
    assert store_of(run.config).contents().faults == ()


def test_lost_logits_of_a_complete_run_are_made_again_from_its_checkpoint(plan: Any) -> None:
    run = plan()
    complete_run(run, Session())
    folder = store_of(run.config).run(run.run_id)
    logits = folder.path / "test_logits.npz"
    content = logits.read_bytes()
    logits.write_bytes(b"")
    watcher = RecordingWatcher()
    complete_run(run, Session(watcher))
    assert logits.read_bytes() == content
    assert f"{run.run_id} goes on after epoch 3" in watcher.lines
    logits.unlink()
    for path in folder.checkpoints.glob("*.pt"):
        path.unlink()  # to make room: then the run is not made again for its logits alone
    complete_run(run, Session())
    assert not logits.exists()


def test_who_does_not_own_a_run_does_not_remove_its_damaged_checkpoint(plan: Any) -> None:
    run = plan("keep_epochs=[1]")
    complete_run(run, Session())
    kept = checkpoint_path(store_of(run.config).run(run.run_id).kept, 1)
    content = kept.read_bytes()
    kept.write_bytes(content[:-1])
    watcher = RecordingWatcher()
    found = checkpoint_of(run, 1, Session(watcher))
    assert kept.exists()
    assert found.read_bytes() == content
    assert any(f"{kept} disagrees with its checksum" in line for line in watcher.lines)
    assert checkpoint_of(run, 1, Session()) == found


# ---------------------------------------------------------------- many hands


def test_students_of_a_teacher_in_training_all_get_the_epoch_that_they_want(
    shop: Workshop,
) -> None:
    """One of six ended in a FileNotFoundError in 11 of 12 rounds: it had been pruned."""
    folder, start = shop.new_folder(), shop.starter.start
    teacher = [o for o in TINY if not o.startswith("schedule.epochs")]
    long = start(folder, CE.module, *teacher, "schedule.epochs=12", "seed=1000")
    _wait_until(lambda: bool(list(folder.glob("outputs/runs/*/checkpoints/epoch-0002.pt"))))
    student = (*teacher, "schedule.epochs=12", "loss=kd", "teacher=self", "teacher.epoch=3")
    students = [start(folder, CE.module, *student, f"loss.tau={n}") for n in (2, 3, 4)]
    ended = [running.wait() for running in (long, *students)]
    assert [e.code for e in ended] == [0, 0, 0, 0], [e.stderr for e in ended]
    results = folder.glob("outputs/runs/*-kd-*/result.json")
    epochs = [json.loads(path.read_text())["teacher"]["epoch"] for path in results]
    assert epochs == [3, 3, 3]


# ---------------------------------------------------------------- the first second

AT_IMPORT = """
import os, sys
class Hook:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Hook())
"""


@pytest.mark.parametrize(
    ("module", "number"),
    [("kdlsr.config.overrides", signal.SIGTERM), ("numpy._core.multiarray", signal.SIGINT)],
)
def test_a_signal_while_a_command_is_imported_is_no_traceback(
    tmp_path: Path, module: str, number: signal.Signals
) -> None:
    """NumPy, interrupted in its import, says "cannot load module more than once"."""
    (tmp_path / "sitecustomize.py").write_text(AT_IMPORT.format(module=module, number=int(number)))
    path = f"{tmp_path}{os.pathsep}{REPOSITORY}"
    ended = subprocess.run(
        [sys.executable, "-m", "kdlsr.train", *TINY],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode in (128 + number, -number)  # a shell says the same of both
    assert not ended.stderr or ended.stderr.startswith("kdlsr: interrupted")
    assert len(ended.stderr.splitlines()) <= 1
