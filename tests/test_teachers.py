"""Teachers are found, trained no further than needed, replayed, or read from files."""

import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, RecordingWatcher, environment, train_command

from kdlsr.config import RunFailed, UserError
from kdlsr.runs.execute import checkpoint_of, complete_run, store_of
from kdlsr.runs.plan import Run
from kdlsr.runs.session import Session
from kdlsr.training.checkpoint import checkpoint_epochs, checkpoint_path, read_checkpoint


def _teacher(run: Run) -> Run:
    assert run.teacher_run is not None
    return run.teacher_run


def _weights(path: Path, run: Run) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = read_checkpoint(path, run.run_id)["model"]
    return weights


def test_a_poorly_trained_teacher_is_trained_no_further_than_needed(plan: Any) -> None:
    student = plan("loss=kd", "teacher=self", "teacher.epoch=1")
    result = complete_run(student, Session())
    teacher = _teacher(student)
    folder = store_of(teacher.config).run(teacher.run_id)
    assert folder.status() == "incomplete"  # a prefix has no result
    assert checkpoint_epochs(folder.checkpoints) == [1]
    assert result.teacher is not None
    assert (result.teacher.run_id, result.teacher.epoch) == (teacher.run_id, 1)


def test_a_prefix_goes_on_to_the_whole_run_in_the_same_folder(plan: Any, tmp_path: Path) -> None:
    student = plan("loss=kd", "teacher=self", "teacher.epoch=1")
    complete_run(student, Session())
    teacher = _teacher(student)
    complete_run(teacher, Session())
    folder = store_of(teacher.config).run(teacher.run_id)
    fresh = plan("seed=1000", f"output_dir={tmp_path / 'fresh'}")
    assert fresh.run_id == teacher.run_id
    complete_run(fresh, Session())
    whole = store_of(fresh.config).run(fresh.run_id)
    for file in ("metrics.jsonl", "result.json", "test_logits.npz"):
        assert (folder.path / file).read_bytes() == (whole.path / file).read_bytes()
    assert checkpoint_path(folder.kept, 1).exists()  # the student may need it again


def test_an_epoch_that_was_not_kept_is_made_again_beside_the_run(plan: Any) -> None:
    run = plan("schedule.epochs=5")
    complete_run(run, Session())
    store = store_of(run.config)
    folder = store.run(run.run_id)
    gone = next(e for e in (1, 2, 3) if e not in checkpoint_epochs(folder.checkpoints))
    before = {p: p.stat().st_mtime_ns for p in folder.path.rglob("*")}
    watcher = RecordingWatcher()
    path = checkpoint_of(run, gone, Session(watcher))
    assert path.parent == store.replay(run.run_id).kept
    assert {p: p.stat().st_mtime_ns for p in folder.path.rglob("*")} == before
    assert not any("differ" in line for line in watcher.lines)
    lines = (folder.path / "metrics.jsonl").read_text().splitlines(keepends=True)
    assert read_checkpoint(path, run.run_id)["history"] == "".join(lines[:gone])
    assert checkpoint_of(run, gone, Session()) == path  # found the second time


def test_making_an_epoch_again_tells_no_tracker(plan: Any) -> None:
    run = plan("schedule.epochs=5", "tracker=wandb", "tracker.mode=offline")
    complete_run(dataclasses.replace(run, config=plan("schedule.epochs=5").config), Session())
    watcher = RecordingWatcher()
    folder = store_of(run.config).run(run.run_id)
    gone = next(e for e in (1, 2, 3) if e not in checkpoint_epochs(folder.checkpoints))
    checkpoint_of(run, gone, Session(watcher))
    assert [watched.tracker.name for watched in watcher.runs] == ["none"]


def test_kept_epochs_are_the_same_weights_as_a_replays(plan: Any, tmp_path: Path) -> None:
    kept = plan("keep_epochs=[1]", f"output_dir={tmp_path / 'kept'}")
    complete_run(kept, Session())
    other = plan()
    assert kept.run_id == other.run_id
    weights = [_weights(checkpoint_of(run, 1, Session()), run) for run in (kept, other)]
    assert torch.equal(weights[0]["linear.weight"], weights[1]["linear.weight"])


@pytest.mark.parametrize("choice", ["best_test", "best_val", "last"])
def test_a_named_epoch_is_the_one_that_the_teachers_result_names(plan: Any, choice: str) -> None:
    student = plan("loss=kd", "teacher=self", f"teacher.epoch={choice}", "dataset.val_fraction=0.2")
    result = complete_run(student, Session())
    teacher = _teacher(student)
    chosen = complete_run(teacher, Session()).at(choice)
    assert result.teacher is not None
    assert chosen is not None
    assert result.teacher.epoch == chosen.epoch
    assert result.teacher.top1 == pytest.approx(chosen.test.top1, abs=0.5)


def test_all_students_share_one_training_of_their_teacher(plan: Any, tmp_path: Path) -> None:
    for seed in range(3):
        complete_run(plan("loss=kd", "teacher=self", f"seed={seed}"), Session())
    assert len(list((tmp_path / "runs").iterdir())) == 4


def _save(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def test_weights_from_a_file_teach_as_the_run_itself_does(plan: Any, tmp_path: Path) -> None:
    by_run = complete_run(plan("loss=kd", "teacher=self"), Session())
    teacher = _teacher(plan("loss=kd", "teacher=self"))
    own = checkpoint_of(teacher, 3, Session())
    state = _weights(own, teacher)
    foreign = {f"layer{i}.{n.rpartition('.')[2]}": v for i, (n, v) in enumerate(state.items())}
    files = [
        own,
        _save(tmp_path / "bare.pt", state),
        _save(tmp_path / "wrapped.pth.tar", {"epoch": 3, "state_dict": state}),
        _save(tmp_path / "parallel.pt", {f"module.{k}": v for k, v in state.items()}),
        _save(tmp_path / "foreign.pt", foreign),
    ]
    for index, file in enumerate(files):
        watcher = RecordingWatcher()
        out = f"output_dir={tmp_path / str(index)}"
        run = plan("loss=kd", "teacher=checkpoint", f"teacher.path={file}", out)
        result = complete_run(run, Session(watcher))
        assert result.protocols == by_run.protocols
        assert result.teacher is not None
        assert by_run.teacher is not None
        assert result.teacher.kl == by_run.teacher.kl
        assert (result.teacher.run_id, result.teacher.path) == (None, str(file))
        assert any("matched by" in line for line in watcher.lines)


def test_a_file_that_does_not_fit_is_refused_and_nothing_is_trained(
    plan: Any, tmp_path: Path
) -> None:
    path = _save(tmp_path / "other.pt", {"weight": torch.zeros(3)})
    with pytest.raises(UserError, match="does not fit the network"):
        complete_run(plan("loss=kd", "teacher=checkpoint", f"teacher.path={path}"), Session())


def test_a_file_with_code_in_it_is_not_run(plan: Any, tmp_path: Path) -> None:
    victim = tmp_path / "harmed"

    class Harm:
        def __reduce__(self) -> Any:
            return (Path.touch, (victim,))

    path = _save(tmp_path / "evil.pt", {"state_dict": Harm()})
    run = plan("loss=kd", "teacher=checkpoint", f"teacher.path={path}")
    with pytest.raises(UserError, match="not unpickled"):
        complete_run(run, Session())
    assert not victim.exists()


def test_logits_beyond_the_teachers_dtype_end_the_run(plan: Any, tmp_path: Path) -> None:
    teacher = _teacher(plan("loss=kd", "teacher=self"))
    state = _weights(checkpoint_of(teacher, 3, Session()), teacher)
    state["linear.bias"] += 1e5  # more than float16 holds
    path = _save(tmp_path / "loud.pt", state)
    chosen = ["loss=kd", "teacher=checkpoint", f"teacher.path={path}"]
    run = plan(*chosen)
    with pytest.raises(RunFailed, match=r"beyond the range of float16.*teacher\.dtype=float32"):
        complete_run(run, Session())
    assert store_of(run.config).run(run.run_id).status() == "failed"
    complete_run(plan(*chosen, "teacher.dtype=float32"), Session())


def test_a_teacher_that_fails_fails_its_student_by_name(plan: Any) -> None:
    run = plan("loss=kd", "teacher=self", 'teacher.overrides=["schedule.lr=1e30"]')
    with pytest.raises(RunFailed, match=r"its teacher digits-resnet8-ce-s1000-.* failed: the loss"):
        complete_run(run, Session())


def test_a_students_logits_agree_with_itself_where_it_is_its_teacher(plan: Any) -> None:
    """KL to the teacher falls as a student is given more of it."""
    gentle = complete_run(plan("loss=kd", "teacher=self", "loss.alpha=0.1"), Session())
    strong = complete_run(plan("loss=kd", "teacher=self", "loss.alpha=1"), Session())
    assert strong.teacher is not None
    assert gentle.teacher is not None
    assert strong.teacher.kl < gentle.teacher.kl


def test_an_ls_trained_teacher_is_another_run(plan: Any) -> None:
    smoothed = plan("loss=kd", "teacher=self", 'teacher.overrides=["loss=lsr","loss.alpha=0.1"]')
    assert _teacher(smoothed).config.loss.name == "lsr"
    assert _teacher(smoothed).run_id != _teacher(plan("loss=kd", "teacher=self")).run_id


def test_double_training_begins_with_its_teachers_weights_and_uses_no_soft_targets(
    plan: Any,
) -> None:
    """With a vanishing rate the network stays what it started as: the teacher."""
    frozen = [
        "schedule.lr=1e-12",
        "schedule.weight_decay=0.0",
        'teacher.overrides=["schedule.lr=0.1"]',
    ]
    run = plan("teacher=self", "start=teacher", "schedule.epochs=1", *frozen)
    assert not run.loss.needs_teacher
    result = complete_run(run, Session())
    assert result.teacher is not None
    assert result.teacher.run_id == _teacher(run).run_id
    start = plan("schedule.epochs=1", *frozen[:2])  # the same, from drawn weights
    drawn = complete_run(start, Session())
    store = store_of(run.config)
    weights = [
        _weights(checkpoint_path(store.run(r.run_id).checkpoints, 1), r)
        for r in (run, _teacher(run), start)
    ]
    name = next(k for k in weights[0] if k.endswith("weight") and weights[0][k].dim() == 4)
    assert torch.allclose(weights[0][name], weights[1][name], atol=1e-6)
    assert not torch.allclose(weights[2][name], weights[1][name], atol=1e-3)
    assert result.at("last") != drawn.at("last")


def test_where_a_run_starts_is_part_of_its_identity(plan: Any) -> None:
    started, plain = plan("teacher=self", "start=teacher"), plan()
    assert started.cell_id != plain.cell_id


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["start=teacher"], "start=teacher needs a teacher"),
        (["start=teacher", "teacher=resnet20"], "teacher=resnet20 is another network"),
        (["start=nowhere", "teacher=self"], "expected one of scratch, teacher"),
        (["until=4"], "until=4: the run has 3 epochs"),
        (["until=0"], "until=0 is not possible"),
    ],
)
def test_a_start_or_an_end_that_cannot_be_is_refused(
    plan: Any, overrides: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        plan(*overrides)


def test_a_run_until_an_epoch_is_a_prefix_that_goes_on(plan: Any, tmp_path: Path) -> None:
    """The same identity, the same bits in the end."""
    prefix, whole = plan("until=1"), plan()
    assert prefix.run_id == whole.run_id
    checkpoint_of(prefix, 1, Session())
    folder = store_of(whole.config).run(whole.run_id)
    assert folder.status() == "incomplete"
    complete_run(whole, Session())
    fresh = plan(f"output_dir={tmp_path / 'fresh'}")
    complete_run(fresh, Session())
    again = store_of(fresh.config).run(fresh.run_id)
    assert (folder.path / "result.json").read_bytes() == (again.path / "result.json").read_bytes()


# ---------------------------------------------------------------- pixels

OTHERS = ["dataset.mean=[0.9]", "dataset.std=[0.05]"]
AS_LEARNT = 'teacher.overrides=["dataset.mean=[0.9]","dataset.std=[0.05]"]'
TIE = 100 / 500  # percent of the test images: one


def _foreign(path: Path, run: Run) -> Path:
    """The weights of a run in a file that says nothing of its pixels."""
    return _save(path, _weights(checkpoint_of(run, 3, Session()), run))


def test_a_teacher_of_other_pixels_sees_those_that_it_learnt_from(
    plan: Any, tmp_path: Path
) -> None:
    """As a run, and from a file: ours, which says what they were, and a foreign one."""
    own = complete_run(plan(*OTHERS, "seed=1000"), Session()).at("last")
    assert own is not None
    trained = plan(*OTHERS, "seed=1000")
    ours = checkpoint_of(trained, 3, Session())
    foreign = _foreign(tmp_path / "foreign.pt", trained)
    said = ["teacher.mean=[0.9]", "teacher.std=[0.05]"]
    ways = {
        "run": ["teacher=self", AS_LEARNT],
        "ours": ["teacher=checkpoint", f"teacher.path={ours}"],
        "foreign": ["teacher=checkpoint", f"teacher.path={foreign}", *said],
        "unsaid": ["teacher=checkpoint", f"teacher.path={foreign}"],
    }
    top1 = {}
    for way, chosen in ways.items():
        student = plan("loss=kd", *chosen, "schedule.epochs=3")
        if way == "run":
            assert student.teacher_run.run_id == trained.run_id
        result = complete_run(student, Session())
        assert result.teacher is not None
        top1[way] = result.teacher.top1
    for way in ("run", "ours", "foreign"):
        assert top1[way] == pytest.approx(own.test.top1, abs=TIE)
    assert abs(top1["unsaid"] - own.test.top1) > 5 * TIE  # the pixels do matter


def test_a_files_normalisation_is_part_of_what_its_students_are(plan: Any, tmp_path: Path) -> None:
    path = _save(tmp_path / "weights.pt", {})
    chosen = ["loss=kd", "teacher=checkpoint", f"teacher.path={path}"]
    said = plan(*chosen, "teacher.mean=[0.9]", "teacher.std=[0.05]")
    assert said.cell_id != plan(*chosen).cell_id
    with pytest.raises(UserError, match=r"teacher\.mean and teacher\.std go together"):
        plan(*chosen, "teacher.mean=[0.9]")


# ---------------------------------------------------------------- what is told


def _warnings(run: Run) -> list[str]:
    watcher = RecordingWatcher()
    complete_run(run, Session(watcher))
    return [line for line in watcher.lines if line.startswith("WARNING")]


def test_a_teacher_near_chance_is_told_and_one_that_is_meant_to_be_poor_is_not(
    plan: Any, tmp_path: Path
) -> None:
    frozen = 'teacher.overrides=["schedule.lr=1e-9","schedule.weight_decay=0.0"]'
    (warning,) = _warnings(plan("loss=kd", "teacher=self", frozen))
    assert "is hardly better than guessing (10.00 %)" in warning
    assert _warnings(plan("loss=kd", "teacher=self", frozen, "teacher.epoch=1")) == []
    good = 'teacher.overrides=["schedule.epochs=8","model.width=16","dataset.subset=null"]'
    assert _warnings(plan("loss=kd", "teacher=self", good, "schedule.epochs=1")) == []
    path = _foreign(tmp_path / "noise.pt", plan("schedule.lr=1e-9"))
    (warning,) = _warnings(plan("loss=kd", "teacher=checkpoint", f"teacher.path={path}"))
    assert str(path) in warning


def test_weights_that_are_not_finite_are_not_blamed_on_the_dtype(plan: Any, tmp_path: Path) -> None:
    teacher = _teacher(plan("loss=kd", "teacher=self"))
    state = _weights(checkpoint_of(teacher, 1, Session()), teacher)
    state["linear.bias"] += float("inf")
    path = _save(tmp_path / "inf.pt", state)
    run = plan("loss=kd", "teacher=checkpoint", f"teacher.path={path}")
    with pytest.raises(RunFailed, match="logit is not finite: its weights") as failed:
        complete_run(run, Session())
    assert "dtype" not in str(failed.value)
    assert "float16" not in str(failed.value)


# ---------------------------------------------------------------- a kind from outside

ORACLE = """
from dataclasses import dataclass
import torch
from kdlsr.config.schema import ModelConfig
from kdlsr.teachers.teacher import LoadedNetwork, Student, Teacher


class Uniform(torch.nn.Module):
    def __init__(self, classes, scale):
        super().__init__()
        self.classes, self.scale = classes, scale

    def forward(self, images):
        rates = torch.arange(self.classes, device=images.device)
        return self.scale * rates.expand(len(images), -1)


@dataclass(frozen=True, kw_only=True)
class Oracle(Teacher):
    classes: int
    scale: float

    @property
    def name(self):
        return "oracle"

    def identity(self, *, with_seeds):
        return {"kind": self.kind, "scale": self.scale}

    def weights_identity(self, checkpoint):
        return self.identity(with_seeds=True)

    def load(self, checkpoint):
        return LoadedNetwork(Uniform(self.classes, self.scale))


def oracle(*, student: Student, scale: float = 1.0) -> Oracle:
    return Oracle(
        kind="oracle",
        network=ModelConfig(name="oracle"),
        classes=student.facts.num_classes,
        scale=scale,
    )
"""
ORACLE_YAML = """
name: oracle
epoch: last
seed: 1000
overrides: []
dtype: float16
store: auto
store_limit_gb: 20
scale: 2.0
"""


def test_a_kind_of_teacher_from_outside_teaches(tmp_path: Path) -> None:
    """One Python file, named by an entry point, and one YAML file in a config folder."""
    metadata = tmp_path / "site" / "oracles-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Name: oracles\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[kdlsr.teachers]\noracle = oracles:oracle\n")
    (metadata.parent / "oracles.py").write_text(ORACLE)
    (tmp_path / "conf" / "teacher").mkdir(parents=True)
    (tmp_path / "conf" / "teacher" / "oracle.yaml").write_text(ORACLE_YAML)
    variables = environment()
    path = f"{variables.get('PYTHONPATH', '')}:{metadata.parent}"

    def run(*overrides: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            train_command("--config-dir", "conf", *TINY, "schedule.epochs=1", *overrides),
            cwd=tmp_path,
            env=variables | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )

    for scale in ("2.0", "0.5"):
        done = run("loss=kd", "teacher=oracle", f"teacher.scale={scale}")
        assert done.returncode == 0, done.stderr
    runs = list((tmp_path / "outputs" / "runs").glob("*-kd-from-oracle-*"))
    assert len(runs) == 2  # its option is part of what a student is
    assert len(list((tmp_path / "outputs" / "teacher_outputs").iterdir())) == 2
    results = [json.loads((folder / "result.json").read_text()) for folder in runs]
    assert {result["teacher"]["path"] for result in results} == {"oracle"}
    refused = run("loss=kd", "teacher=oracle", "+teacher.scael=1")
    assert refused.returncode == 2
    assert "unknown key teacher.scael; nearest: scale" in refused.stderr
