"""Overrides as values: read once, written once, the same in a config as on a command line."""

import contextlib
import random
import string
from typing import Any

import pytest

from kdlsr.config import UserError
from kdlsr.config.compose import compose_config
from kdlsr.config.inheritance import teacher_config, teacher_overrides
from kdlsr.config.overrides import Override, Overrides, SeveralValues, quote_filters, write_value
from kdlsr.config.schema import as_plain, is_same_experiment, moves_no_number, read_config

TEXTS = [
    *(
        "a b",
        'say "so"',
        "back\\slash",
        "end\\",
        'a\\"b',
        "null",
        "1",
        "True",
        "",
        "x,y",
        "${seed}",
    ),
    *("it's", "[1]", "/a/b-c.d", "/x/epoch=3-acc=0.95.ckpt", "/My Data (1)", "cuda:1", "1e-3"),
    *("*-kd-*", "{a}", "a:b", "0x1", "1_0", "+", "-", "~x", "a'b\"c\\", "\t", "\u00e9"),
]
VALUES = [*TEXTS, ["a=b", 'c"d'], [1, 2.5, [None, True]], None, True, False, 1, -3, 0.05, 1e-05,
          1e30, float("inf"), {"mail-type": "END", "n": 2, "x": ["a b"]}, []]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_what_is_written_is_read_back_to_the_same_value_and_type(value: Any) -> None:
    again = Override.parse(str(Override("key", value))).value
    assert again == value
    assert repr(again) == repr(value)


def test_random_text_is_read_back_as_it_was() -> None:
    draw = random.Random(0)
    characters = string.ascii_letters[:4] + string.digits[:3] + string.punctuation + " \t\u00fc"
    for _ in range(2000):
        text = "".join(draw.choices(characters, k=draw.randrange(12)))
        assert Override.parse(str(Override("key", text))).value == text


def test_what_cannot_be_read_is_refused_and_says_how_to_quote() -> None:
    draw = random.Random(1)
    for _ in range(2000):
        text = "".join(draw.choices("ab=[]{}()\"'\\,:$~+@./ 01-", k=draw.randrange(10)))
        with contextlib.suppress(UserError):  # and nothing else is raised
            Override.parse(text)
    with pytest.raises(UserError) as refused:
        Override.parse("teacher.path=/x/epoch=3-acc=0.95.ckpt")
    told = "a string can be quoted: 'teacher.path=\"/x/epoch=3-acc=0.95.ckpt\"'"
    assert str(refused.value).endswith(told)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["seed=0,1", "seed=range(3)", "seed=choice(0,1)", "model=glob(*)"])
def test_a_sweep_is_no_value(text: str) -> None:
    with pytest.raises(SeveralValues, match="is several values"):
        Override.parse(text)


def test_the_last_of_a_key_counts_and_groups_stand_before_what_is_set_in_them() -> None:
    typed = ["loss.alpha=0.1", "seed=1", "loss=kd", "seed=2", "+cluster=ray", "~loss.tau"]
    assert Overrides.parse(typed).texts() == [
        "seed=2",
        "loss=kd",
        "+cluster=ray",
        "loss.alpha=0.1",
        "~loss.tau",
    ]


def test_one_and_true_are_different_overrides() -> None:
    assert len({Override("a", 1), Override("a", True), Override("a", 1.0), Override("a", 1)}) == 3


def test_a_command_can_be_copied_into_a_shell() -> None:
    overrides = Overrides.of("teacher", "self", {"overrides": ["loss=lsr", "loss.alpha=0.1"]})
    expected = 'teacher=self \'teacher.overrides=["loss=lsr","loss.alpha=0.1"]\''
    assert str(overrides) == expected


@pytest.mark.parametrize(
    "overrides",
    [
        ["loss=kd", "teacher=self", "loss.alpha=0.25"],
        ["loss.scale=0.5", "loss=ce", "seed=3", "schedule.milestones=[1,2]"],
        ["model.width=8", "model=resnet20", "tracker=wandb", "tracker.tags=[a]"],
    ],
)
def test_applied_to_a_config_they_are_what_composing_with_them_is(overrides: list[str]) -> None:
    base = ["dataset=digits", "model=resnet8"]
    applied = Overrides.parse(overrides).apply_to(compose_config(base))
    assert applied == compose_config(Overrides.parse([*base, *overrides]).texts())


TEACHERS = [
    [],
    ["model.width=8", "schedule.lr=0.02", "loss.tau=2", "seed=3", "data_seed=5"],
    ["teacher.overrides=['loss=lsr','loss.alpha=0.2']", "until=3", "keep_epochs=[2]"],
    ["schedule.epochs=9", "schedule.batch_size=32", "teacher.overrides=['schedule=cifar200']"],
    ["dataset.subset=99", "teacher.overrides=['dataset=digits','dataset.val_fraction=0.1']"],
    ["teacher=resnet20", "model.width=8", "teacher.overrides=['model.width=4','seed=9']"],
    ["teacher.overrides=['loss=kd','teacher=resnet20']", "precision=fp32", "tracker=wandb"],
]


@pytest.mark.parametrize("student", TEACHERS, ids=str)
def test_a_teachers_config_and_command_line_are_the_same_run(student: list[str]) -> None:
    common = ["dataset=digits", "model=resnet8", "schedule=quick", "loss=kd", "teacher=self"]
    overrides = Overrides.parse([*common, *student])
    config = read_config(compose_config(overrides.texts()))
    command = teacher_overrides(overrides, config.teacher)
    assert read_config(compose_config(command.texts())) == teacher_config(config)


def test_a_schedules_own_rate_is_no_more_inherited_by_command_than_by_config(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A user's schedule may set lr itself; a teacher has the rate of its own network's recipe."""
    own = {**compose_config([])["schedule"], "lr": 0.7}
    monkeypatch.setattr("kdlsr.config.inheritance.option", lambda *_: own)
    student = Overrides.parse(["schedule=quick", "loss=kd", "teacher=resnet8"])
    config = read_config(compose_config(student.texts()))
    assert teacher_overrides(student, config.teacher).texts().count("schedule.lr=null") == 1


def test_a_teachers_overrides_are_read_once_and_written_back() -> None:
    plain = compose_config(["loss=kd", "teacher=self", "teacher.overrides=['loss.alpha=1e-1']"])
    config = read_config(plain)
    assert config.teacher.overrides == Overrides([Override("loss.alpha", 0.1)])
    assert as_plain(config)["teacher"]["overrides"] == ["loss.alpha=0.1"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[1]", r"teacher.overrides\[0\]=1 is not possible; expected a string"),
        ("a", "teacher.overrides='a' is not possible; expected a list of overrides"),
        ("['==']", "teacher.overrides: cannot read =="),
        ("['seed=1,2']", "teacher.overrides: seed=1,2 is several values"),
    ],
)
def test_what_is_no_override_is_refused_where_it_stands(value: str, message: str) -> None:
    plain = compose_config(["loss=kd", "teacher=self", f"teacher.overrides={value}"])
    with pytest.raises(UserError, match=message):
        read_config(plain)


@pytest.mark.parametrize(
    ("key", "moves_nothing", "same_experiment"),
    [
        ("threads", True, True),
        ("tracker.mode", True, True),
        ("dataset.root", True, True),
        ("teacher.store_limit_gb", True, True),
        ("rows", True, True),
        ("precision", False, True),
        ("compile", False, True),
        ("seed", False, False),
        ("loss.alpha", False, False),
        ("schedule.sgd.lr", False, False),
        ("no_such_key", False, False),
    ],
)
def test_what_moves_no_number_is_said_in_one_place(
    key: str, moves_nothing: bool, same_experiment: bool
) -> None:
    assert (moves_no_number(key), is_same_experiment(key)) == (moves_nothing, same_experiment)


@pytest.mark.parametrize(
    ("typed", "passed_on"),
    [
        ("runs=[loss.name=kd,dataset.name=digits]", 'runs=["loss.name=kd","dataset.name=digits"]'),
        ("runs=loss=kd", 'runs=["loss=kd"]'),
        ("runs=[*-kd-*, loss.tau=4]", 'runs=[*-kd-*,"loss.tau=4"]'),
        ("runs=digits-*", "runs=digits-*"),
        ('baseline=["loss=ce"]', 'baseline=["loss=ce"]'),
        ("name=a=b", "name=a=b"),
    ],
)
def test_filters_need_no_quotes(typed: str, passed_on: str) -> None:
    assert quote_filters(typed, ("runs", "baseline")) == passed_on


def test_values_that_are_not_plain_are_a_bug() -> None:
    with pytest.raises(TypeError, match="no plain value"):
        write_value(object())
