"""Tracking: what W&B is told, and that nothing W&B does can cost a run."""

import dataclasses
import logging
import os
import pty
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb_log import LoggedRun, read_closed_runs

from kdlsr.config import UserError
from kdlsr.tracking import TrackedRun, flatten, open_tracker, read_tracker, trackers
from kdlsr.tracking import weights_and_biases as wb
from kdlsr.tracking.deadline import NoAnswer, within

CONF = Path(__file__).resolve().parents[1] / "conf" / "tracker"
LONGEST_ID = "digits-resnet8-tfkd_reg.as_released-" + "a" * 44
RUN = TrackedRun(
    run_id=LONGEST_ID,
    cell_id="digits-resnet8-tfkd_reg",
    job_type="tfkd_reg",
    config={
        "loss": {"name": "tfkd_reg", "alpha": 0.1, "multiplier": None},
        "schedule": {"milestones": [2, 4]},
        "seed": 3,
    },
    teacher="digits-resnet20-ce-0123",
)
RESULT = {
    "schema": 1,
    "run_id": LONGEST_ID,
    "cell_id": "digits-resnet8-tfkd_reg",
    "status": "complete",
    "protocols": {
        "last": {"epoch": 2, "test": {"top1": 96.5, "top5": None, "ece": 0.02}},
        "best_test": {"epoch": 1, "test": {"top1": 97.0}},
        "best_val": None,
    },
    "parameters": 78042,
    "teacher": {"run_id": "digits-resnet20-ce-0123", "epoch": 8, "top1": 98.25},
}


def record(epoch: int) -> dict[str, Any]:
    train = {"hard": 1.0 / epoch, "soft": 0.5, "total": 1.0 / epoch + 0.5}
    test = {"top1": 90.0 + epoch, "top5": None}
    return {"epoch": epoch, "lr": 0.1, "train": train, "test": test, "val": None}


@pytest.fixture(scope="module", autouse=True)
def _wandb_as_configured() -> Iterator[None]:
    """No mode from the environment: a test says which. What runs of W&B's own ends here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WANDB_MODE", raising=False)
        yield
        import wandb

        wandb.teardown()


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """The warning lines that a user would see."""
    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler = Collect(logging.WARNING)
    logging.getLogger("kdlsr").addHandler(handler)
    yield lines
    logging.getLogger("kdlsr").removeHandler(handler)


def offline(folder: Path, run: TrackedRun = RUN, **options: Any) -> Any:
    return open_tracker("wandb", {"mode": "offline", **options}, run, folder)


def track_two_epochs(folder: Path, run: TrackedRun = RUN, **options: Any) -> None:
    with offline(folder, run, **options) as tracker:
        tracker.epoch(record(1))
        tracker.epoch(record(2))
        tracker.complete(RESULT)


def track_one_epoch(folder: Path, error: BaseException) -> None:
    with offline(folder) as tracker:
        tracker.epoch(record(1))
        raise error


def only_run(folder: Path) -> LoggedRun:
    (logged,) = read_closed_runs(folder, 1)
    return logged


# The config


@pytest.mark.parametrize("name", trackers.names())
def test_each_tracker_has_a_config_file_with_its_defaults(name: str) -> None:
    text = (CONF / f"{name}.yaml").read_text()
    values = yaml.safe_load(text)
    assert text.startswith(f"# python -m kdlsr.train tracker={name}\n")
    assert values.pop("name") == name
    options = read_tracker(name, values)
    assert options == type(options)()
    assert set(values) == {f.name for f in dataclasses.fields(options)}


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("wanbd", {}, "nearest: wandb"),
        ("none", {"project": "x"}, "unknown key tracker.project"),
        ("wandb", {"projekt": "x"}, "nearest: project"),
        ("wandb", {"mode": "of"}, "one of online, offline, disabled"),
        ("wandb", {"project": "a/b"}, "without /"),
        ("wandb", {"tags": ["x" * 65]}, "1 to 64 characters"),
        ("wandb", {"timeout": 0}, "a number above 0"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_opened(
    name: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        read_tracker(name, options)


def test_importing_tracking_and_reading_its_options_imports_no_wandb() -> None:
    code = """
        import sys
        from kdlsr.tracking import read_tracker, trackers
        assert trackers.names() == ["none", "wandb"]
        read_tracker("wandb", {"mode": "offline"})
        sys.exit("wandb" in sys.modules)
    """
    assert _python(code).returncode == 0


def test_flattening_joins_keys_and_leaves_out_what_is_not_set() -> None:
    nested = {"a": {"b": 1, "c": None, "d": {"e": [1, 2]}}, "f": {}, "g": None, "h": 0}
    assert flatten(nested, ".") == {"a.b": 1, "a.d.e": [1, 2], "h": 0}


def test_the_tracker_none_leaves_no_trace(tmp_path: Path) -> None:
    with open_tracker("none", {}, RUN, tmp_path) as tracker:
        tracker.epoch(record(1))
        tracker.failed("nothing")
        tracker.complete(RESULT)
    assert not list(tmp_path.iterdir())


# What W&B is told


def test_the_wandb_run_has_the_runs_identity_group_and_config(tmp_path: Path) -> None:
    track_two_epochs(tmp_path, project="thesis", tags=["first", "second"], notes="why")
    logged = only_run(tmp_path)
    assert (logged.run_id, logged.name) == (RUN.run_id, RUN.run_id)
    assert len(logged.run_id) == 80
    assert (logged.group, logged.job_type) == (RUN.cell_id, "tfkd_reg")
    assert (logged.project, logged.tags, logged.notes) == ("thesis", ["first", "second"], "why")
    assert logged.config == {
        "loss.name": "tfkd_reg",
        "loss.alpha": 0.1,
        "schedule.milestones": [2, 4],
        "seed": 3,
        "teacher.run": RUN.teacher,
    }


def test_each_epoch_is_one_history_row_at_its_own_step(tmp_path: Path) -> None:
    track_two_epochs(tmp_path)
    first, second = only_run(tmp_path).history
    assert first == {
        "_step": 1,
        "epoch": 1,
        "lr": 0.1,
        "train/hard": 1.0,
        "train/soft": 0.5,
        "train/total": 1.5,
        "test/top1": 91.0,
    }
    assert (second["_step"], second["epoch"], second["test/top1"]) == (2, 2, 92.0)


def test_the_summary_has_all_protocols_and_names_the_teacher(tmp_path: Path) -> None:
    track_two_epochs(tmp_path)
    logged = only_run(tmp_path)
    expected = {
        "status": "complete",
        "last/epoch": 2,
        "last/test/top1": 96.5,
        "last/test/ece": 0.02,
        "best_test/epoch": 1,
        "best_test/test/top1": 97.0,
        "parameters": 78042,
        "teacher/run": RUN.teacher,
        "teacher/run_id": RUN.teacher,
        "teacher/top1": 98.25,
    }
    assert expected.items() <= logged.summary.items()
    assert logged.exit_code == 0


def test_all_files_go_below_the_runs_folder_and_the_console_stays_silent(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    track_two_epochs(tmp_path / "runs" / "x")
    assert [f.name for f in (tmp_path / "runs" / "x").iterdir()] == ["wandb"]
    assert tuple(capfd.readouterr()) == ("", "")


def test_two_jobs_in_one_process_are_two_wandb_runs(tmp_path: Path) -> None:
    for seed in (0, 1):
        run = dataclasses.replace(RUN, run_id=f"run-s{seed}", config={"seed": seed})
        track_two_epochs(tmp_path / run.run_id, run)
    logs = read_closed_runs(tmp_path, 2)
    assert [log.run_id for log in logs] == ["run-s0", "run-s1"]
    assert [log.config["seed"] for log in logs] == [0, 1]
    assert [len(log.history) for log in logs] == [2, 2]
    assert {log.group for log in logs} == {RUN.cell_id}


def test_a_teachers_run_inside_of_a_students_does_not_mix_with_it(tmp_path: Path) -> None:
    teacher = TrackedRun("the-teacher", "t", "ce", {})
    with offline(tmp_path / "student") as tracker:
        tracker.epoch(record(1))
        track_two_epochs(tmp_path / "teacher", teacher)
        tracker.epoch(record(2))
        tracker.complete(RESULT)
    assert only_run(tmp_path / "teacher").run_id == "the-teacher"
    for part in ("student", "teacher"):
        assert [row["epoch"] for row in only_run(tmp_path / part).history] == [1, 2]


def test_a_resumed_run_goes_on_under_the_same_id_with_new_epochs_only(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        track_one_epoch(tmp_path, KeyboardInterrupt())
    with offline(tmp_path) as tracker:
        tracker.epoch(record(2))
        tracker.complete(RESULT)
    logs = read_closed_runs(tmp_path, 2)
    assert {log.run_id for log in logs} == {RUN.run_id}
    assert [[row["_step"] for row in log.history] for log in logs] == [[1], [2]]
    assert [log.exit_code for log in logs] == [255, 0]


# How it ends


def test_a_failed_run_is_marked_failed_with_its_message(tmp_path: Path) -> None:
    with offline(tmp_path) as tracker:
        tracker.epoch(record(1))
        tracker.failed("loss is nan at step 17")
    logged = only_run(tmp_path)
    assert logged.exit_code == 1
    assert logged.summary["status"] == "failed"
    assert logged.summary["error"] == "loss is nan at step 17"


def test_an_exception_passes_and_marks_the_run_failed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), offline(tmp_path):
        _ = 1 / 0
    logged = only_run(tmp_path)
    assert (logged.exit_code, logged.summary["status"]) == (1, "failed")
    assert logged.summary["error"] == "ZeroDivisionError: division by zero"


class Terminated(BaseException):
    """As an entry point's SIGTERM handler would raise."""


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, Terminated, SystemExit])
def test_an_interruption_passes_and_the_run_is_neither_finished_nor_failed(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    with pytest.raises(interruption):
        track_one_epoch(tmp_path, interruption())
    logged = only_run(tmp_path)
    assert (logged.exit_code, logged.summary["status"]) == (255, "interrupted")
    assert [row["epoch"] for row in logged.history] == [1]


def test_a_run_that_stops_before_its_end_is_not_finished(tmp_path: Path) -> None:
    with offline(tmp_path) as tracker:
        tracker.epoch(record(1))
    assert only_run(tmp_path).exit_code == 255


def test_an_interruption_after_completion_leaves_the_run_complete(tmp_path: Path) -> None:
    with suppress(KeyboardInterrupt), offline(tmp_path) as tracker:
        tracker.complete(RESULT)
        raise KeyboardInterrupt
    assert only_run(tmp_path).exit_code == 0


# W&B trouble never costs a run


def _raise(error: BaseException) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        raise error

    return call


def _hang(*args: Any, **kwargs: Any) -> None:
    time.sleep(60)


@pytest.mark.parametrize("error", [OSError("no\nnetwork"), SystemExit(3)])
def test_a_wandb_that_does_not_start_costs_one_warning_line(
    tmp_path: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr("wandb.init", _raise(error))
    track_two_epochs(tmp_path)
    assert len(warnings) == 1
    assert "W&B could not start" in warnings[0]
    assert RUN.run_id in warnings[0]
    assert "\n" not in warnings[0]


def test_a_missing_wandb_costs_one_warning_line(
    tmp_path: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    track_two_epochs(tmp_path)
    assert len(warnings) == 1


def test_a_failing_log_costs_one_warning_and_the_run_still_ends_truly(
    tmp_path: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with offline(tmp_path) as tracker:
        tracker.epoch(record(1))
        with monkeypatch.context() as patch:
            patch.setattr("wandb.sdk.wandb_run.Run.log", _raise(RuntimeError("disk full")))
            tracker.epoch(record(2))
            tracker.epoch(record(3))
        tracker.epoch(record(4))
        tracker.complete(RESULT)
    assert len(warnings) == 1
    assert "disk full" in warnings[0]
    logged = only_run(tmp_path)
    assert [row["epoch"] for row in logged.history] == [1, 4]
    assert logged.exit_code == 0


def test_a_failing_finish_costs_one_warning_line(
    tmp_path: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from wandb.sdk.wandb_run import Run

    finish = Run.finish

    def finish_late(run: Run, exit_code: int) -> None:
        finish(run, exit_code)
        raise TimeoutError("Timed out finishing run.")

    monkeypatch.setattr(Run, "finish", finish_late)
    track_two_epochs(tmp_path)
    assert len(warnings) == 1
    assert "wandb sync" in warnings[0]


@pytest.mark.parametrize(
    "method", ["wandb.init", "wandb.sdk.wandb_run.Run.log", "wandb.sdk.wandb_run.Run.finish"]
)
def test_a_wandb_that_hangs_is_given_up_and_the_next_run_is_tracked_again(
    tmp_path: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    track_two_epochs(tmp_path / "warm")  # so that the limit below is not one on the start
    with monkeypatch.context() as patch:
        patch.setattr(wb, "GRACE_SECONDS", 0.5)
        patch.setattr(method, _hang)
        track_two_epochs(tmp_path / "hung", timeout=0.5)
    assert len(warnings) == 1
    assert "no answer within" in warnings[0]
    track_two_epochs(tmp_path / "next")
    assert only_run(tmp_path / "next").exit_code == 0
    assert len(warnings) == 1


def test_an_interruption_while_wandb_hangs_passes_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wandb.init", _hang)
    signal.signal(signal.SIGALRM, _raise(KeyboardInterrupt()))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    with pytest.raises(KeyboardInterrupt):
        track_two_epochs(tmp_path)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


@pytest.mark.parametrize("sent", [signal.SIGSTOP, signal.SIGKILL])
def test_wandbs_own_process_dying_or_stopping_changes_neither_exit_code_nor_later_runs(
    tmp_path: Path, sent: signal.Signals
) -> None:
    code = f"""
        import os, sys, time
        from pathlib import Path
        from kdlsr.tracking import TrackedRun, open_tracker, weights_and_biases as wb
        wb.GRACE_SECONDS = 15
        for name in ("hit", "next"):
            run = TrackedRun(name, "cell", "ce", {{}})
            options = {{"mode": "offline", "timeout": 0.5}}
            with open_tracker("wandb", options, run, Path({str(tmp_path)!r}, name)) as tracker:
                if name == "hit":
                    os.kill(wb._wandb_service_process().pid, {int(sent)})
                for epoch in range(1, 2001):  # more than fits into a socket's buffer
                    tracker.epoch({{"epoch": epoch}})
                tracker.complete({{}})
        sys.exit(7)
    """
    ended = _python(code, HOME=str(tmp_path))
    assert ended.returncode == 7, ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "for hit" in ended.stderr
    assert only_run(tmp_path / "next").exit_code == 0


# No account, no network


def test_online_without_an_account_never_asks_even_at_a_terminal(tmp_path: Path) -> None:
    code = f"""
        import sys
        from pathlib import Path
        from kdlsr.tracking import TrackedRun, open_tracker
        run = TrackedRun("r", "c", "ce", {{}})
        with open_tracker("wandb", {{}}, run, Path({str(tmp_path)!r})) as tracker:
            tracker.epoch({{"epoch": 1}})
            tracker.complete({{}})
        sys.exit(5)
    """
    keyboard, terminal = pty.openpty()
    try:
        ended = _python(code, stdio=terminal, HOME=str(tmp_path), TERM="xterm")
        said = os.read(keyboard, 65536).decode()
    finally:
        os.close(keyboard)
        os.close(terminal)
    assert ended.returncode == 5
    assert said.strip().count("\n") == 0, said
    assert "tracker.mode=offline" in said


def test_offline_asks_the_network_for_nothing(tmp_path: Path) -> None:
    code = f"""
        from pathlib import Path
        from kdlsr.tracking import TrackedRun, open_tracker
        run = TrackedRun("r", "c", "ce", {{}})
        options = {{"mode": "offline"}}
        with open_tracker("wandb", options, run, Path({str(tmp_path)!r})) as tracker:
            tracker.epoch({{"epoch": 1}})
            tracker.complete({{}})
    """
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.settimeout(0)
        address = f"http://127.0.0.1:{door.getsockname()[1]}"
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), address)
        ended = _python(code, HOME=str(tmp_path), WANDB_BASE_URL=address, **proxies)
        assert ended.returncode == 0, ended.stderr
        with pytest.raises(BlockingIOError):
            door.accept()
    assert only_run(tmp_path).exit_code == 0


def _python(
    code: str, stdio: int | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL if stdio is None else stdio,
        stdout=subprocess.PIPE if stdio is None else stdio,
        stderr=subprocess.PIPE if stdio is None else stdio,
        text=True,
        timeout=60,
        check=False,
    )


# The time limit


def test_within_its_time_a_calls_value_and_errors_are_its_own() -> None:
    assert within(5, lambda: 42) == 42
    with pytest.raises(TimeoutError, match="mine"):
        within(5, _raise(TimeoutError("mine")))
    with pytest.raises(RuntimeError, match="exit with 3"):
        within(5, _raise(SystemExit(3)))
    with pytest.raises(KeyboardInterrupt):
        within(5, _raise(KeyboardInterrupt()))


def test_a_call_that_does_not_return_is_left_behind() -> None:
    with pytest.raises(NoAnswer, match=r"no answer within 0\.05 s"):
        within(0.05, _hang)
