"""A run's folder says what the run is and what came of it; what does not agree does not count."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import RecordingWatcher
from made_runs import make_complete

from kdlsr.config import UserError
from kdlsr.config.compose import compose_config
from kdlsr.config.overrides import Overrides
from kdlsr.config.schema import read_config
from kdlsr.progress import NobodyWatching, WatchedRun
from kdlsr.progress.times import RunTimes
from kdlsr.runs.card import RunCard
from kdlsr.runs.execute import checkpoint_of, complete_run, store_of
from kdlsr.runs.folder import RunFolder
from kdlsr.runs.plan import Run, plan_run
from kdlsr.runs.session import Session
from kdlsr.runs.store import Contents, Store

PROMISED = ("metrics.jsonl", "result.json", "test_logits.npz")
DAMAGES: dict[str, bytes | None] = {
    "empty": b"",
    "cut": b'{"schema": 1, "run_',
    "zeroed": bytes(300),
    "foreign": b'{"accuracy": 93.5}',
    "a list": b"[1, 2]",
    "not UTF-8": b"\xff\xfe",
    "a folder": None,
}


def _damage(path: Path, how: str) -> None:
    content = DAMAGES[how]
    path.unlink(missing_ok=True)
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)


def _ids(contents: Contents) -> list[str]:
    return [run.card.run_id for run in contents.runs]


def _card(run: Run) -> RunCard:
    card = store_of(run.config).run(run.run_id).card()
    assert card is not None
    return card


# ---------------------------------------------------------------- the card


def test_a_card_is_written_before_the_run_or_its_teacher_is_trained(plan: Any) -> None:
    student = plan("loss=kd", "teacher=self", "schedule.epochs=1")
    begun: list[list[str]] = []

    class Looking(NobodyWatching):
        def display(self, run: WatchedRun, times: RunTimes) -> Any:
            begun.append(_ids(store_of(student.config).contents()))
            return super().display(run, times)

    complete_run(student, Session(Looking()))
    both = sorted([student.run_id, student.teacher_run.run_id])
    assert begun == [both, both]  # the teacher's training, then the student's


def test_a_run_made_for_teaching_says_so_until_it_is_asked_for_itself(plan: Any) -> None:
    student = plan("loss=kd", "teacher=self", "schedule.epochs=1")
    teacher = student.teacher_run
    complete_run(student, Session())
    assert (_card(student).made_for, _card(teacher).made_for) == ("itself", "teaching")
    before = _files(store_of(teacher.config).run(teacher.run_id).path)
    complete_run(teacher, Session())
    assert _card(teacher).made_for == "itself"
    after = _files(store_of(teacher.config).run(teacher.run_id).path)
    assert {name for name in before if before[name] != after[name]} == {"run.json"}
    complete_run(plan("loss=kd", "teacher=self", "schedule.epochs=1", "seed=1"), Session())
    assert _card(teacher).made_for == "itself"  # for good


def test_a_prefix_for_teaching_becomes_itself_when_it_is_asked_for(plan: Any) -> None:
    teacher = plan()
    checkpoint_of(teacher, 1, Session(), "teaching")
    assert _card(teacher).made_for == "teaching"
    checkpoint_of(teacher, 2, Session())
    assert _card(teacher).made_for == "itself"
    checkpoint_of(teacher, 3, Session(), "teaching")
    assert _card(teacher).made_for == "itself"


def _files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def test_a_card_says_what_its_run_is(plan: Any) -> None:
    student = plan("loss=kd", "teacher=self", "teacher.epoch=2", "seed=5", "data_seed=6")
    make_complete(student)
    card = _card(student)
    assert (card.run_id, card.cell_id) == (student.run_id, student.cell_id)
    assert (card.seed, card.seeds) == (5, (5, 6))
    assert card.teacher is not None
    assert card.teacher.run_id == card.teacher.name == student.teacher_run.run_id
    assert card.teacher.cell_id == student.teacher_run.cell_id
    assert card.teacher.epoch == 2
    assert card.config["schedule"]["lr"] == 0.1  # resolved
    assert card.identity["numerics"] == card.numerics
    assert RunCard.from_json(json.loads(json.dumps(card.to_json()))) == card


def test_the_command_on_a_card_makes_the_same_run(tmp_path: Path) -> None:
    words = ["dataset=digits", "model=resnet8", "schedule=quick", "loss=kd", "teacher=resnet20"]
    words += ["loss.tau=2", "seed=3", 'teacher.overrides=["loss=lsr","loss.alpha=0.1"]']
    command = Overrides.parse([*words, f"output_dir={tmp_path}"])
    run = plan_run(read_config(compose_config(command.texts())), command)
    assert run.teacher_run is not None
    for one in (run, run.teacher_run):
        make_complete(one)
        again = plan_run(read_config(compose_config(_card(one).command)))
        assert (again.run_id, again.cell_id) == (one.run_id, one.cell_id)


@pytest.mark.parametrize("key", ["identity", "run_id", "schema", "made_for", "numerics"])
def test_an_edited_card_is_refused(plan: Any, key: str) -> None:
    run = plan()
    path = make_complete(run).path / "run.json"
    values = json.loads(path.read_text())
    edited = {
        "identity": values["identity"] | {"init_seed": 7},
        "run_id": values["run_id"][:-1] + ("0" if values["run_id"][-1] != "0" else "1"),
        "schema": "one",
        "made_for": "show",
        "numerics": None,
    }
    with pytest.raises(UserError, match=r"run\.json"):
        RunCard.from_json(values | {key: edited[key]})
    path.write_text(json.dumps(values | {key: edited[key]}))
    contents = store_of(run.config).contents()
    assert contents.runs == ()
    (fault,) = contents.faults
    assert str(path) in fault


# ---------------------------------------------------------------- what is believed


@pytest.mark.parametrize("name", ["a-copy", "zz-copy"])
def test_a_copied_folder_does_not_count_twice(plan: Any, name: str) -> None:
    run = plan()
    folder = make_complete(run).path
    assert name < folder.name or name > folder.name
    shutil.copytree(folder, folder.with_name(name))
    contents = store_of(run.config).contents()
    assert _ids(contents) == [run.run_id]
    assert contents.runs[0].folder.path == folder
    assert contents.faults == (f"not counted: {folder.with_name(name)} is a copy of {run.run_id}",)


def test_a_run_whose_folder_was_renamed_is_known_by_its_card(plan: Any) -> None:
    run = plan()
    folder = make_complete(run).path
    folder.rename(folder.with_name("best-so-far"))
    contents = store_of(run.config).contents()
    assert _ids(contents) == [run.run_id]
    assert contents.runs[0].status == "complete"
    assert contents.faults == ()


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("file", ["run.json", "result.json", "metrics.jsonl"])
def test_a_damaged_file_costs_one_line_that_names_it_and_nothing_else(
    plan: Any, file: str, how: str
) -> None:
    run, other = plan(), plan("seed=1")
    folder = make_complete(run).path
    make_complete(other)
    _damage(folder / file, how)
    contents = store_of(run.config).contents()
    (fault,) = contents.faults
    assert file in fault
    assert str(folder) in fault
    assert "\n" not in fault
    status = {stored.card.run_id: stored.status for stored in contents.runs}
    assert status.pop(other.run_id) == "complete"
    assert status == ({} if file == "run.json" else {run.run_id: "incomplete"})


def test_what_is_no_run_costs_a_line_and_hidden_folders_and_files_none(plan: Any) -> None:
    run = plan()
    runs = make_complete(run).path.parent
    (runs / "notes").mkdir()
    (runs / ".trash").mkdir()
    (runs / "README.txt").touch()
    contents = store_of(run.config).contents()
    assert _ids(contents) == [run.run_id]
    (fault,) = contents.faults
    assert f"{runs / 'notes'} has no run.json" in fault
    assert Store(runs / "nowhere").contents() == Contents((), ())


def _edit_top1(folder: Path) -> None:
    path = folder / "result.json"
    values = json.loads(path.read_text())
    values["protocols"]["last"]["test"]["top1"] = 99.99
    path.write_text(json.dumps(values))


def _lose_a_line(folder: Path) -> None:
    path = folder / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def _lose_all_lines(folder: Path) -> None:
    (folder / "metrics.jsonl").unlink()


def _delete_result(folder: Path) -> None:
    (folder / "result.json").unlink()


def _empty_result(folder: Path) -> None:
    (folder / "result.json").write_bytes(b"")


def _exchange_result(folder: Path) -> None:
    path = folder / "result.json"
    path.write_text(path.read_text().replace(folder.name, "digits-another-s0-0123456789"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of one run, trained once."""
    return tmp_path_factory.mktemp("trained")


@pytest.mark.parametrize(
    "alter",
    [_edit_top1, _lose_a_line, _lose_all_lines, _delete_result, _empty_result, _exchange_result],
)
def test_a_result_that_cannot_be_believed_does_not_count_and_is_made_again(
    plan: Any, tmp_path: Path, trained: Path, alter: Callable[[Path], None]
) -> None:
    complete_run(plan(f"output_dir={trained}"), Session())
    run = plan()
    shutil.copytree(trained / "runs", tmp_path / "runs")
    folder = store_of(run.config).run(run.run_id)
    before = {file: (folder.path / file).read_bytes() for file in PROMISED}
    alter(folder.path)
    assert not folder.is_complete()
    assert folder.result() is None
    (fault,) = store_of(run.config).contents().faults
    assert str(folder.path / "result.json") in fault
    watcher = RecordingWatcher()
    complete_run(run, Session(watcher))
    assert any(str(folder.path / "result.json") in line for line in watcher.lines)
    assert {file: (folder.path / file).read_bytes() for file in PROMISED} == before
    assert store_of(run.config).contents().faults == ()


def test_a_run_under_another_runs_name_is_not_that_run(plan: Any) -> None:
    run, other = plan("schedule.epochs=1"), plan("schedule.epochs=1", "seed=1")
    complete_run(run, Session())
    store = store_of(run.config)
    shutil.copytree(store.run(run.run_id).path, store.run(other.run_id).path)
    assert not store.run(other.run_id).is_complete()
    assert _ids(store.contents()) == [run.run_id]
    watcher = RecordingWatcher()
    result = complete_run(other, Session(watcher))
    assert result.run_id == other.run_id
    assert not any("goes on after" in line for line in watcher.lines)
    metrics = [store.run(r.run_id).path / "metrics.jsonl" for r in (run, other)]
    assert metrics[0].read_bytes() != metrics[1].read_bytes()
    assert store.contents().faults == ()


def test_another_runs_checkpoints_are_not_gone_on_from(plan: Any, tmp_path: Path) -> None:
    run, other = plan(), plan("seed=1")
    checkpoint_of(run, 2, Session())
    store = store_of(run.config)
    source, target = store.run(run.run_id), store.run(other.run_id)
    shutil.copytree(source.checkpoints, target.checkpoints)
    watcher = RecordingWatcher()
    complete_run(other, Session(watcher))
    assert any(f"is not a checkpoint of {other.run_id}" in line for line in watcher.lines)
    assert not any("goes on after" in line for line in watcher.lines)
    fresh = plan("seed=1", f"output_dir={tmp_path / 'fresh'}")
    complete_run(fresh, Session())
    again = store_of(fresh.config).run(fresh.run_id).path
    for file in PROMISED:
        assert (target.path / file).read_bytes() == (again / file).read_bytes()


@pytest.mark.parametrize("how", [*DAMAGES, "sessions of another kind"])
@pytest.mark.parametrize("file", ["environment.json", "timing.json"])
def test_bookkeeping_never_fails_a_run(plan: Any, file: str, how: str) -> None:
    run = plan("schedule.epochs=2")
    folder = checkpoint_of(run, 1, Session()).parents[2]
    if how in DAMAGES:
        _damage(folder / file, how)
    else:
        (folder / file).write_text('{"sessions": [1, "two", {"threads": [1]}]}')
    assert complete_run(run, Session()).status == "complete"
    assert RunFolder(folder, run.run_id).is_complete()
    if how != "a folder":
        assert isinstance(json.loads((folder / file).read_text())["sessions"], list)
