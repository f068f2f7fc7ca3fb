"""A run's identity: all that moves its numbers, nothing else; and what a teacher inherits."""

import re
from pathlib import Path

import pytest

from kdlsr.config import UserError
from kdlsr.config.compose import compose_config
from kdlsr.config.inputs import SpectrogramSpec
from kdlsr.config.schema import as_plain, read_config
from kdlsr.data.normalisation import check_normalisation
from kdlsr.runs.plan import Run, identity_of, plan_run
from kdlsr.teachers.kinds.checkpoint import FileTeacher

HERE = Path(__file__).parent
FILE = ["loss=kd", "teacher=checkpoint", f"teacher.path={HERE / 'conftest.py'}"]
DIGITS = ["dataset=digits", "model=resnet8", "schedule=quick", "precision=fp32"]


def plan(*overrides: str) -> Run:
    return plan_run(read_config(compose_config([*DIGITS, *overrides])))


def teacher_of(*overrides: str) -> Run:
    teacher = plan(*overrides).teacher_run
    assert teacher is not None
    return teacher


MOVES_NUMBERS = [
    ["seed=1"],
    ["init_seed=1"],
    ["data_seed=1"],
    ["model.width=8"],
    ["model=resnet20"],
    ["loss=lsr"],
    ["loss=lsr", "loss.alpha=0.2"],
    ["loss=lsr", "loss.form=as_released"],
    ["loss.scale=0.5"],
    ["schedule.epochs=9"],
    ["schedule.batch_size=32"],
    ["schedule.lr=0.05"],
    ["schedule.milestones=[3]"],
    ["schedule.optimizer=adam", "schedule.lr=0.1"],
    ["schedule.optimizer=adamw", "schedule.lr=0.1"],
    ["schedule.decay=linear", "schedule.milestones=[]"],
    ["schedule.warmup_epochs=0.5"],
    ["schedule.clip_norm=1"],
    ["dataset.views=none"],
    ["dataset.val_fraction=0.1"],
    ["dataset.val_fraction=0.1", "dataset.split_seed=1"],
    ["dataset.subset=100"],
    ["precision=bf16"],
    ["compile=true"],
    ["deterministic=true"],
    ["loss=kd", "teacher=self"],
    ["loss=kd", "teacher=self", "teacher.seed=7"],
    ["loss=kd", "teacher=self", "teacher.epoch=1"],
    ["loss=kd", "teacher=self", "teacher.dtype=float32"],
    ["loss=kd", "teacher=resnet20"],
    ["loss=kd", "teacher=resnet20", 'teacher.overrides=["model.width=8"]'],
    ["loss=kd", "teacher=self", 'teacher.overrides=["loss=lsr"]'],
    ["loss=tfkd_self"],
]


def test_everything_that_moves_the_numbers_moves_the_run_id() -> None:
    ids = [plan(*overrides).run_id for overrides in [[], *MOVES_NUMBERS]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    "overrides",
    [
        ["output_dir=elsewhere"],
        ["threads=3"],
        ["device=cpu"],
        ["tracker=wandb"],
        ["keep_epochs=[1]"],
        ["dataset.root=/somewhere"],
        ["dataset.split_seed=5"],  # without a validation split or a subset it decides nothing
        ["teacher.seed=5"],  # without a teacher
        ["schedule.lr=0.1"],  # what null means
        ["schedule.optimizer=sgd"],  # what auto means
    ],
)
def test_nothing_else_moves_it(overrides: list[str]) -> None:
    assert plan(*overrides).run_id == plan().run_id


def test_defaults_written_out_are_the_same_run() -> None:
    assert plan("loss=tfkd_reg", "loss.multiplier=10").run_id == plan("loss=tfkd_reg").run_id
    kd = ["loss=kd", "teacher=self"]
    assert plan(*kd, "teacher.epoch=8").run_id == plan(*kd).run_id
    assert plan(*kd, "teacher=resnet8").cell_id != plan().cell_id


def test_cells_differ_in_the_seed_only() -> None:
    kd = ["loss=kd", "teacher=self"]
    assert plan(*kd, "seed=1").cell_id == plan(*kd, "seed=2").cell_id
    assert plan(*kd).cell_id != plan(*kd, "loss.tau=2").cell_id
    # A teacher with the student's seed is another run for each seed, and one cell.
    follow = [*kd, "teacher.seed=${seed}"]
    assert plan(*follow, "seed=1").run_id != plan(*follow, "seed=2").run_id
    assert plan(*follow, "seed=1").cell_id == plan(*follow, "seed=2").cell_id


def test_a_run_id_is_readable_short_and_safe() -> None:
    run = plan("loss=kd", "teacher=resnet20", "seed=3")
    assert re.fullmatch(r"digits-resnet8-kd-from-resnet20-s3-[0-9a-f]{10}", run.run_id)
    assert re.fullmatch(r"digits-resnet8-kd-from-resnet20-[0-9a-f]{10}", run.cell_id)
    long = plan("seed=123456789012345678", "init_seed=1234567890123456789")
    for name in (run.run_id, long.run_id):
        assert re.fullmatch(r"[a-z0-9._-]{1,80}", name)


@pytest.mark.parametrize(
    ("overrides", "run_id"),
    [
        ([], "digits-resnet8-ce-s0-dcb32d2677"),
        (
            ["schedule=imagenet90", "dataset=cifar10", "model=plain_cnn"],
            "cifar10-plain_cnn-ce-s0-4ac39bddc9",
        ),
        (
            ["schedule=tiny200", "schedule.optimizer=lamb", "schedule.lr=0.01"],
            "digits-resnet8-ce-s0-23de01cf51",
        ),
        (
            ["schedule=short10", "loss=kd", "teacher=resnet20"],
            "digits-resnet8-kd-from-resnet20-s0-f621db0dcb",
        ),
    ],
)
def test_a_known_identity_stays_what_it_is(overrides: list[str], run_id: str) -> None:
    """Changing it orphans every run on users' disks: raise NUMERICS if that is meant."""
    assert plan(*overrides).run_id == run_id


def test_fields_younger_than_runs_that_are_there_are_named_only_where_they_are_set() -> None:
    younger = {"decay", "clip_norm"}
    assert not younger & set(identity_of(plan(), with_seeds=False)["schedule"])
    line = plan("schedule.decay=linear", "schedule.milestones=[]", "schedule.clip_norm=1")
    assert younger <= set(identity_of(line, with_seeds=False)["schedule"])
    assert plan("schedule.warmup_epochs=1.0").run_id == plan().run_id


def test_students_of_all_seeds_share_one_teacher() -> None:
    kd = ["loss=kd", "teacher=resnet20"]
    teachers = {teacher_of(*kd, f"seed={seed}").run_id for seed in range(3)}
    assert len(teachers) == 1
    (teacher,) = teachers
    assert "-s1000-" in teacher
    assert teacher == plan("model=resnet20", "seed=1000").run_id


def test_a_teacher_inherits_data_and_epochs_and_has_its_own_recipe() -> None:
    student = [
        "model=plain_cnn",
        "loss=kd",
        "teacher=resnet8",
        "schedule.epochs=5",
        "schedule.batch_size=32",
        "schedule.lr=0.002",
        "dataset.val_fraction=0.2",
        "dataset.split_seed=4",
        "loss.tau=3",
        "dataset=fashion_mnist",
    ]
    run = plan(*student)
    assert vars(run.optimisation) == {"optimizer": "adam", "lr": 0.002, "weight_decay": 0.0}
    teacher = run.teacher_run
    assert teacher is not None
    assert vars(teacher.optimisation) == {"optimizer": "sgd", "lr": 0.1, "weight_decay": 5e-4}
    assert teacher.config.dataset == run.config.dataset
    assert teacher.config.schedule.epochs == 5
    assert teacher.config.schedule.batch_size == 32
    assert (teacher.config.loss.name, teacher.teacher) == ("ce", None)
    assert {teacher.config.seed, teacher.config.init_seed, teacher.config.data_seed} == {1000}


def test_self_keeps_all_fields_of_the_model() -> None:
    teacher = teacher_of("loss=tfkd_self", "model.width=8")
    assert teacher.config.model.options["width"] == 8
    assert teacher.run_id == plan("model.width=8", "seed=1000").run_id
    named = teacher_of("loss=kd", "teacher=resnet8", "model.width=8")
    assert named.config.model.options["width"] == 16


def test_teacher_overrides_are_as_on_the_command_line() -> None:
    teacher = teacher_of(
        "loss=kd",
        "teacher=self",
        'teacher.overrides=["loss=lsr","loss.alpha=0.2","schedule.epochs=3","seed=9"]',
    )
    expected = plan("loss=lsr", "loss.alpha=0.2", "schedule.epochs=3", "seed=9")
    assert teacher.run_id == expected.run_id


def test_a_teacher_may_have_a_teacher() -> None:
    chain = 'teacher.overrides=["loss=kd","teacher=resnet20"]'
    teacher = teacher_of("loss=kd", "teacher=self", chain)
    assert teacher.teacher_run is not None
    assert teacher.teacher_run.config.model.name == "resnet20"


def test_a_teachers_file_is_known_by_its_content(tmp_path: Path) -> None:
    ids = []
    for name, content in (("a.pt", b"1"), ("b.pt", b"1"), ("c.pt", b"2")):
        (tmp_path / name).write_bytes(content)
        run = plan("loss=kd", "teacher=checkpoint", f"teacher.path={tmp_path / name}")
        assert isinstance(run.teacher, FileTeacher)
        assert run.teacher_run is None
        ids.append(run.run_id)
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["loss=kd"], "loss=kd needs a teacher: add teacher=<any model>"),
        (["teacher=resnet8"], "loss=ce uses no teacher: drop teacher=resnet8, or choose loss=kd"),
        (["loss=tfkd_self", "teacher=resnet20"], "with teacher=resnet20 use loss=kd"),
        (["loss=kd", "teacher=self", "teacher.epoch=9"], "trained for 8 epochs"),
        (["loss=kd", "teacher=self", "teacher.epoch=0"], "teacher.epoch=0 is not possible"),
        (["loss=kd", "teacher=self", "teacher.epoch=best_val"], "needs dataset.val_fraction"),
        (["keep_epochs=[9]"], "keep_epochs has 9; the run has 8 epochs"),
        (["+loss.tua=3"], "unknown key loss.tua"),
        (["+model.wdith=3"], "unknown key model.wdith; nearest: width"),
        (["+dataset.rot=3"], "unknown key dataset.rot; nearest: root"),
        (["dataset.views=cifr"], "nearest: cifar"),
        (["loss=lsr", "loss.alpha=1.5"], "loss.alpha=1.5 is not possible; expected a number in"),
        (["dataset.mean=[0.5,0.5,0.5]"], "dataset.mean has 3 values; digits has 1 channels"),
        (
            ["dataset.mean=[78.4]"],
            "dataset.mean=[78.4] is not possible; expected a number in [0, 1]",
        ),
        (["dataset.mean=[78.4]"], "1 is white, not 255 (78.4 / 255 = 0.3075)"),
        (["dataset.std=[95.9]"], "dataset.std=[95.9] is not possible; expected a number in (0, 1]"),
        (["dataset.std=[0]"], "dataset.std=[0.0] is not possible; expected a number in (0, 1]"),
        (["dataset.mean=[-0.1]"], "dataset.mean=[-0.1] is not possible"),
        (
            [*FILE, "teacher.mean=[125]", "teacher.std=[0.2]"],
            "teacher.mean=[125.0] is not possible",
        ),
        ([*FILE, "teacher.mean=[0.5]", "teacher.std=[63]"], "teacher.std=[63.0] is not possible"),
        (
            [*FILE, "teacher.mean=[0.5,0.5]", "teacher.std=[1,1]"],
            "teacher.mean has 2 values; digits",
        ),
        (
            ["dataset.subset=1"],
            "dataset.subset=1 is less than one sample for each of the 10 classes",
        ),
        (["dataset.subset=9"], "dataset.subset=9 is less than one sample for each"),
        (["model.width=100000000"], "GB of weights; this machine has"),
        (
            ["model.width=10000000000"],
            'model=resnet8 with {"width": 10000000000, "shortcut_padding',
        ),
        (["model.width=10000000000000000000"], "is larger than any memory"),
        (["loss=kd", "teacher=timm"], "teacher.architecture is missing; expected a string"),
        (["loss=kd", "teacher=checkpoint"], "teacher.path is missing; expected a string"),
        (["loss=kd", "teacher=timm", "teacher.architecture=zzzz"], "known ones is near"),
        (
            ["loss=kd", "teacher=checkpoint", f"teacher.path={HERE}"],
            f"teacher.path={HERE} is a folder",
        ),
        (
            [*FILE, "teacher.model=resnet19"],
            "teacher.model=resnet19: no such option; nearest: resnet",
        ),
        (["precision=fp16", "device=cpu"], "precision=fp16 needs a CUDA device"),
        (["device=gpu"], "device=gpu: expected auto, cpu, cuda"),
        (["loss=kd", "teacher=checkpoint", "teacher.path=no.pt"], "teacher.path=no.pt: no such"),
        (["loss=kd", "teacher=self", 'teacher.overrides=["loss.tua=1"]'], "unknown key loss.tua"),
        (["loss=kd", "teacher=self", 'teacher.overrides=["loss=lrs"]'], "nearest: lsr"),
        (
            ["loss=kd", "teacher=self", 'teacher.overrides=["=="]'],
            "teacher.overrides: cannot read ==",
        ),
        (["schedule.milestones=[3,2]"], "milestones must rise"),
        (["schedule.batch_size=1"], "an integer of at least 2"),
        (["loss=kd", "teacher=resnet8", "loss.multiplier=3"], "multiplier"),
    ],
)
def test_the_impossible_is_refused_in_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as refused:
        plan(*overrides)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


def test_a_teacher_of_timm_takes_the_students_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    known = {"num_classes": 10, "input_size": (3, 224, 224)}
    monkeypatch.setattr(timm, "get_pretrained_cfg_value", lambda _, key: known[key])
    with pytest.raises(UserError, match="takes images with 3 channels; the data set gives images"):
        plan("loss=kd", "teacher=timm", "teacher.architecture=resnet18")


def test_a_spectrograms_mean_may_be_in_decibels() -> None:
    values = {"mean": (-31.5,), "std": (12.0,)}
    check_normalisation(values, SpectrogramSpec(64, 100), "dataset", "made")
    with pytest.raises(UserError, match="expected a number above 0"):
        check_normalisation({"std": (-1.0,)}, SpectrogramSpec(64, 100), "dataset", "made")


def test_a_config_survives_the_round_trip_through_plain_values() -> None:
    config = read_config(compose_config([*DIGITS, "loss=kd", "teacher=resnet20"]))
    assert read_config(as_plain(config)) == config
