"""`-m`: what a sweep stands for, planned before anything starts; and what is printed to copy."""

import errno
import importlib.util
import re
import shlex
import subprocess
from io import StringIO
from pathlib import Path

import pytest
from conftest import TINY, environment, train_command
from rich.console import Console

from kdlsr.config import RunFailed, UserError
from kdlsr.config.command_line import read_command_line
from kdlsr.config.errors import in_a_line
from kdlsr.reporting.console import print_sweep
from kdlsr.runs.executors import Job
from kdlsr.runs.executors.job import died
from kdlsr.runs.sweep import SweptRun, plan_sweep

DIGITS = ["dataset=digits", "model=resnet8", "schedule=quick", "precision=fp32"]


def _overrides(*typed: str) -> list[str]:
    runs = plan_sweep([*DIGITS, *typed]).runs
    given = {*DIGITS, *typed}
    return [" ".join(t for t in run.overrides.texts() if t not in given) for run in runs]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["seed=0,1"], ["seed=0", "seed=1"]),
        (["seed=range(2)"], ["seed=0", "seed=1"]),
        (["seed=choice(3,1)"], ["seed=3", "seed=1"]),
        (["model=glob(resnet*,exclude=[resnet1*,resnet3*])"],
         ["model=resnet20", "model=resnet50", ""]),
        (["loss=ce,lsr", "seed=0,1"],
         ["loss=ce seed=0", "loss=ce seed=1", "loss=lsr seed=0", "loss=lsr seed=1"]),
        (["loss=lsr", "loss.alpha=0.1,0.2"], ["loss.alpha=0.1", "loss.alpha=0.2"]),
        (["schedule.milestones=[1,2],[3]"],
         ["schedule.milestones=[1,2]", "schedule.milestones=[3]"]),
        (["+sweep=tau_alpha", "loss=kd", "teacher=self", "loss.tau=3", "loss.alpha=0.5,0.9"],
         ["loss.alpha=0.5", "loss.alpha=0.9"]),
        (["rows={a: [], b: ['loss=lsr']}", "seed=0,1"],
         ["seed=0", "seed=1", "loss=lsr seed=0", "loss=lsr seed=1"]),
        (["+cluster=local", "hydra.launcher.timeout_min=5", "seed=0,0,1"], ["seed=0", "seed=1"]),
    ],
)  # fmt: skip
def test_a_sweep_is_its_product(typed: list[str], expected: list[str]) -> None:
    assert sorted(_overrides(*typed)) == sorted(expected)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["seed=interval(0,1)"], "seed=interval"),
        (["seed=range(0)"], "there is no such value to sweep over"),
        (["seed=0,-1"], r"seed=-1 .*\(in the job .*seed=-1\)"),
        (["until=2"], "until stops one run before its end"),
        (["hydra.launcher.timeout_min=1,2"], "how jobs are launched cannot be swept over"),
        (["hydra/sweeper=nevergrad"], "hydra/sweeper=nevergrad: no such option"),
        (["rows=[a]"], "rows must be a mapping"),
        (["rows={a: loss}"], "rows.a='loss' is not possible; expected a list of overrides"),
        (["rows={a: ['seed=1,2']}"], "rows.a: seed=1,2 is several values"),
        (["loss=ce,kdd"], "loss=kdd: no such option; nearest: dkd, kd"),
        (["loss.tua=1,2"], "unknown key loss.tua"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_before_it_starts(typed: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        plan_sweep([*DIGITS, *typed])
    assert "\n" not in str(refused.value)


def _again(run: SweptRun) -> list[SweptRun]:
    """The runs that a printed command makes, once a shell has read it."""
    _, _, _, *words = shlex.split(run.command)
    line = read_command_line(words)
    return plan_sweep(line.overrides).runs


def test_what_is_printed_of_a_run_makes_that_run(tmp_path: Path) -> None:
    """Of a search, whose file needs -m; of named rows; of values that a shell would take apart."""
    root = f"output_dir='{tmp_path}/My Data (1)'"
    teacher = "teacher.overrides=['loss=lsr','loss.alpha=0.2']"
    sweeps = [
        ["+sweep=tau_alpha", "loss=kd", "teacher=self", "loss.tau=1,4"],
        ["loss=kd", "teacher=self", teacher, "seed=0,1"],
        ["rows={a: [], b: ['loss=lsr']}", "seed=0,1"],
    ]
    for sweep in sweeps:
        runs = plan_sweep([*DIGITS, root, *sweep]).runs
        assert len(runs) > 1
        for run in runs[:2]:
            assert [again.run.run_id for again in _again(run)] == [run.run.run_id]


@pytest.mark.parametrize("width", [20, 80])
def test_a_printed_command_is_one_line_at_any_width(tmp_path: Path, width: int) -> None:
    """The first line of a wrapped one, alone, would be another valid run."""
    runs = plan_sweep(
        [*DIGITS, "loss=kd", "teacher=self", "seed=0,1", f"output_dir={tmp_path}"]
    ).runs
    printed = StringIO()
    assert print_sweep(Console(file=printed, width=width), runs) == 2
    lines = [line.strip() for line in printed.getvalue().splitlines()]
    assert [line for line in lines if line.startswith("python")] == [run.command for run in runs]


def test_flags_and_overrides_come_in_any_order() -> None:
    line = read_command_line(["seed=0,1", "-m", "loss=ce", "--cfg", "job", "--resolve"])
    assert line.overrides == ("seed=0,1", "loss=ce")
    assert (line.multirun, line.shows, line.helps) == (True, "--cfg", False)
    assert line.flags == ("-m", "--cfg", "job", "--resolve")


UNKNOWN = [["--bogus"], ["--cfg", "jib"], ["--experimental-rerun", "a.pkl"], ["--config-path", "a"]]


@pytest.mark.parametrize("words", UNKNOWN)
def test_a_flag_that_is_not_there_is_refused_in_one_line(words: list[str]) -> None:
    with pytest.raises(UserError, match="--help says what there is") as refused:
        read_command_line(words)
    assert "\n" not in str(refused.value)


def test_the_reason_of_a_failure_reaches_the_summary(
    tmp_path: Path,
) -> None:
    """It was "ended without a result (killed?)" where the disk was full."""

    def full(job: Job) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/mnt/runs/x/owner.json")

    sweep = plan_sweep([*DIGITS, "seed=0,1", f"output_dir={tmp_path}"])
    sweep.launch(full)
    printed = StringIO()
    assert print_sweep(Console(file=printed, width=40), sweep.runs, sweep.reasons) == 2
    reason = ": /mnt/runs/x/owner.json: No space left on device"
    assert sum(line.endswith(reason) for line in printed.getvalue().splitlines()) == 2


@pytest.mark.parametrize("kilobytes", [0, 4])
def test_files_that_cannot_grow_are_named_in_the_summary_of_a_sweep(
    tmp_path: Path, kilobytes: int
) -> None:
    """A limit on the size of files stands in for a full disk: it refuses every larger write."""
    if not kilobytes and importlib.util.find_spec("dill"):
        pytest.skip("torch imports dill where it is installed, which begins with a temporary file")
    small = [*TINY, "dataset.subset=64", "schedule.epochs=1", "seed=0,1"]
    command = shlex.join([*train_command("-m", *small)])
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f {kilobytes}; {command}"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "killed?" not in done.stdout
    assert len(re.findall(r"^(?:failed|incomplete): .*: File too large$", done.stdout, re.M)) == 2


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("no such thing\nat all"), "no such thing"),
        (RunFailed("the loss is not finite"), "the loss is not finite"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError(5, "Input/output error", "/mnt/x"), "/mnt/x: Input/output error"),
        (KeyError("x"), "KeyError: 'x'"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_an_error_is_a_line_with_its_reason(error: Exception, line: str) -> None:
    assert in_a_line(error) == line


@pytest.mark.parametrize(
    ("told", "last"),
    [
        ("Job 7 has not produced any output (state: FINISHED)\nError stream produced:\n---\nx\n"
         "OSError: [Errno 28] No space left on device\n", "No space left on device"),
        ("failed with trace:\nTraceback (most recent call):\n  x\nMemoryError\n", "MemoryError"),
        ("The worker died unexpectedly.\nIts ids are many.\n", "The worker died unexpectedly."),
        ("", "RuntimeError"),
    ],
)  # fmt: skip
def test_what_a_dead_process_printed_last_is_its_reason(told: str, last: str) -> None:
    assert last in died(RuntimeError(told))
