"""Under `wandb agent` and W&B Launch: the run that was asked for is theirs, and no other."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TINY, environment
from wandb_log import LoggedRun, read_closed_runs

from kdlsr.tracking.wandb_agent import Agent, agent_of

SMALL = [*TINY, "dataset.subset=64", "schedule.epochs=1", "tracker=wandb", "tracker.mode=offline"]
OF_A_RUN = {
    "WANDB_NAME": "theirs",
    "WANDB_RUN_GROUP": "theirs",
    "WANDB_JOB_TYPE": "theirs",
    "WANDB_RESUME": "must",
    "WANDB_DIR": "/nowhere",
}
AGENT = {"WANDB_SWEEP_ID": "sweep1", "WANDB_RUN_ID": "run1"}
AGENT |= {"WANDB_PROJECT": "swept", "WANDB_ENTITY": "us", "WANDB_SWEEP_PARAM_PATH": "/nowhere"}


def ended(folder: Path, variables: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kdlsr.train", *SMALL, *words],
        cwd=folder,
        env=environment() | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def logged(folder: Path, count: int) -> dict[str, LoggedRun]:
    return {run.name: run for run in read_closed_runs(folder, count)}


@pytest.mark.parametrize("by", ["sweep", "launch"])
def test_an_agents_run_is_the_student_and_the_teacher_has_its_own(tmp_path: Path, by: str) -> None:
    """Both were written into the agent's run."""
    variables = OF_A_RUN | AGENT
    if by == "launch":
        del variables["WANDB_SWEEP_ID"]
        variables["WANDB_LAUNCH"] = "true"
    done = ended(tmp_path, variables, "loss=kd", "teacher=self")
    assert (done.returncode, done.stderr) == (0, "")
    runs = logged(tmp_path, 2)
    (student,) = (run for name, run in runs.items() if "-kd-" in name)
    (teacher,) = (run for name, run in runs.items() if "-ce-" in name)
    sweep = "sweep1" if by == "sweep" else ""
    assert (student.run_id, student.sweep_id) == ("run1", sweep)
    assert (student.project, student.entity, student.job_type) == ("swept", "us", "kd")
    assert (teacher.run_id, teacher.sweep_id) == (teacher.name, "")
    assert (teacher.project, teacher.job_type) == ("kdlsr", "ce")
    for run in (student, teacher):
        result = json.loads((tmp_path / "outputs/runs" / run.name / "result.json").read_text())
        assert (run.group, run.name) == (result["cell_id"], result["run_id"])
        assert (len(run.history), run.exit_code) == (1, 0)


def test_an_agent_that_draws_a_complete_run_is_told_its_figures(tmp_path: Path) -> None:
    assert ended(tmp_path, AGENT).returncode == 0
    assert ended(tmp_path, AGENT | {"WANDB_RUN_ID": "run2"}).returncode == 0
    first, again = read_closed_runs(tmp_path, 2)
    assert {first.run_id, again.run_id} == {"run1", "run2"}
    assert first.name == again.name
    assert again.summary["last/test/top1"] == first.summary["last/test/top1"]
    figures = ("test/top1", "train/total", "lr")
    assert [[row[k] for k in figures] for row in again.history] == [
        [row[k] for k in figures] for row in first.history
    ]


def test_without_an_agent_nothing_in_the_environment_names_a_run(tmp_path: Path) -> None:
    done = ended(tmp_path, OF_A_RUN | {"WANDB_RUN_ID": "run1"})
    assert (done.returncode, done.stderr) == (0, "")
    (run,) = read_closed_runs(tmp_path, 1)
    assert run.run_id == run.name
    assert run.group.startswith("digits-resnet8-ce-")
    assert (run.job_type, run.exit_code) == ("ce", 0)


def test_an_agent_waits_for_one_run_so_no_sweep_of_ours_is_started(tmp_path: Path) -> None:
    done = ended(tmp_path, AGENT, "-m", "seed=0,1")
    assert done.returncode == 2
    assert done.stderr == "kdlsr: tracker=wandb: its agent waits for one run; drop -m\n"


@pytest.mark.parametrize(
    ("variables", "agent"),
    [
        ({}, None),
        ({"WANDB_RUN_ID": "a"}, None),
        ({"WANDB_SWEEP_ID": "s"}, None),
        ({"WANDB_RUN_ID": "a", "WANDB_SWEEP_ID": "s"}, Agent("a", "s", None, None)),
        (
            {"WANDB_RUN_ID": "a", "WANDB_LAUNCH": "True", "WANDB_PROJECT": "p"},
            Agent("a", None, "p", None),
        ),
    ],
)
def test_an_agent_is_known_by_what_it_sets(variables: dict[str, str], agent: Agent | None) -> None:
    assert agent_of(variables) == agent


def test_the_words_that_an_agent_appends_are_overrides() -> None:
    """`${args_no_hyphens}` of a sweep's config: key=value, Python's own way to write values."""
    from kdlsr.config.overrides import Overrides

    words = [
        "loss.tau=4",
        "loss.alpha=0.1",
        "schedule.nesterov=True",
        "loss=kd",
        "loss.scale=1e-05",
    ]
    values = [override.value for override in Overrides.parse(words)]
    assert values == ["kd", 4, 0.1, True, 1e-05]
