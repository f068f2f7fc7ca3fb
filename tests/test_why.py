"""In which fields two runs differ, told by the command as a user has it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import processes
import pytest
from conftest import environment
from made_runs import make_complete

from kdlsr.config.compose import compose_config
from kdlsr.config.overrides import Overrides
from kdlsr.config.schema import read_config
from kdlsr.runs.plan import Run, plan_run

DIGITS = ["dataset=digits", "model=resnet8", "schedule=quick", "precision=fp32"]
KD = [*DIGITS, "loss=kd", "teacher=resnet20"]


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., Run]:
    """Stores a complete run below `outputs`, untrained."""

    def store(*overrides: str) -> Run:
        command = Overrides.parse([*overrides, f"output_dir={tmp_path / 'outputs'}"])
        run = plan_run(read_config(compose_config(command.texts())), command)
        for one in (run, run.teacher_run):
            if one is not None:
                make_complete(one)
        return run

    return store


@pytest.fixture
def why(tmp_path: Path) -> Callable[..., Any]:
    def run(*words: str) -> Any:
        return processes.run("kdlsr.why", list(words), tmp_path, environment())

    return run


def _fields(output: str) -> dict[str, str]:
    """The fields below the two run_ids, by name."""
    pairs = (line.split(maxsplit=1) for line in output.splitlines() if line.startswith("  "))
    return {key: value.strip() for key, value in pairs}


def test_two_runs_differ_in_the_fields_in_which_their_identities_do(stored: Any, why: Any) -> None:
    first, second = stored(*DIGITS), stored(*DIGITS, "loss=lsr", "seed=2")
    done = why(first.run_id, second.run_id)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == [f"A  {first.run_id}", f"B  {second.run_id}"]
    fields = _fields(done.stdout)
    assert fields["loss.name"] == "ce -> lsr"
    assert fields["init_seed"] == fields["data_seed"] == "0 -> 2"
    assert fields["loss.alpha"].startswith("absent -> ")
    assert {key.partition(".")[0] for key in fields} == {"loss", "init_seed", "data_seed"}


def test_a_run_is_held_against_what_overrides_would_make(stored: Any, why: Any) -> None:
    first = stored(*DIGITS)
    done = why(first.run_id, *DIGITS, "schedule.lr=0.05", "model.width=8")
    assert done.returncode == 0, done.stderr
    assert _fields(done.stdout) == {"model.width": "16 -> 8", "schedule.lr": "0.1 -> 0.05"}
    same = why(first.run_id, *DIGITS, "threads=3", "keep_epochs=[1]", "schedule.lr=0.1")
    assert same.returncode == 0
    assert "The same run" in same.stdout


def test_teachers_are_told_field_by_field(stored: Any, why: Any) -> None:
    first = stored(*KD, 'teacher.overrides=["loss=lsr"]')
    done = why(first.run_id, *KD, "teacher.seed=7")
    assert done.returncode == 0, done.stderr
    lines = [line.strip() for line in done.stdout.splitlines()[2:]]
    assert any(line.startswith("teacher: loss.name") and "lsr -> ce" in line for line in lines)
    assert any(line.startswith("teacher: init_seed") and "1000 -> 7" in line for line in lines)
    assert all(line.startswith("teacher: ") for line in lines)


def test_a_run_is_named_by_a_part_of_its_id_or_by_its_folder(
    stored: Any, why: Any, tmp_path: Path
) -> None:
    first, second = stored(*DIGITS), stored(*DIGITS, "loss=lsr")
    for name in ("ce-s0", "*-ce-s0-*", str(tmp_path / "outputs" / "runs" / first.run_id)):
        done = why(name, second.run_id)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"A  {first.run_id}\nB  {second.run_id}\n")
    same = why(first.run_id, "ce-s0")
    assert "The same run" in same.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["digits", "lsr-s0"], "digits fits 2 runs (digits-resnet8-"),
        (["nothing", "lsr-s0"], "nothing: no such run in "),
        (["lsr-s0", "lrs-s0"], "lrs-s0: no such run in "),
        (["lsr-s0", "loss=lrs"], "loss=lrs: no such option; nearest: lsr"),
        (["lsr-s0", "output_dir=elsewhere"], "lsr-s0: no such run in elsewhere/runs"),
    ],
)
def test_a_name_that_fits_no_run_or_several_is_one_line_and_exit_code_2(
    stored: Any, why: Any, words: list[str], message: str
) -> None:
    stored(*DIGITS)
    stored(*DIGITS, "loss=lsr")
    done = why(*words)
    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


DAMAGED = [("", "empty"), ("[" * 100_000, "nested too deep"), ('{"a": Infinity}', "Infinity is no")]


def test_a_damaged_card_is_one_line_and_exit_code_2(stored: Any, why: Any, tmp_path: Path) -> None:
    run = stored(*DIGITS)
    folder = tmp_path / "outputs" / "runs" / run.run_id
    for content, reason in DAMAGED:
        (folder / "run.json").write_text(content)
        done = why(str(folder))
        assert done.returncode == 2
        assert f"run.json is no JSON: {reason}" in done.stderr
        assert done.stderr.count("\n") == 1
