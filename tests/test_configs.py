"""Every option of every group composes, is planned, and is stepped."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import step_of
from made_sounds import make_beeps, make_esc_folders, make_esc_listed, make_fsdd, make_gtzan
from made_texts import TEXTS, lay

from kdlsr.config import UserError
from kdlsr.config.compose import compose_config, shipped_folder
from kdlsr.config.inputs import ImageSpec, SpectrogramSpec
from kdlsr.config.schema import RunConfig, read_config
from kdlsr.data.prepare import facts_of
from kdlsr.data.stream import Batch
from kdlsr.losses import Loss, losses
from kdlsr.models import models
from kdlsr.runs.plan import plan_run
from kdlsr.training.learner import Learner
from kdlsr.training.optimisation import build_optimizer

CONF = shipped_folder("conf")
FORMS = {
    "lsr": ("as_written", "as_released"),
    "kd": ("as_written", "as_released", "standard"),
    "tfkd_self": ("as_written", "as_released", "standard"),
    "tfkd_reg": ("as_written", "as_released"),
    "dist": ("as_written", "as_released"),
}

# Of a family that has a shallower network of the same class, which is stepped.
DEEPER = {f"crd_resnet{depth}" for depth in ("32", "56", "110", "32x4")}
DEEPER |= {"crd_wrn_40_1", "crd_wrn_40_2", "crd_vgg13"}

# Sounds have no download: trees of tones, in each one's layout.
SOUNDS: dict[str, Callable[[Path], Path]] = {
    "audio_folder": make_beeps,
    "esc10": make_esc_folders,
    "esc50": make_esc_listed,
    "fsdd": make_fsdd,
    "gtzan": make_gtzan,
}


def _options(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def _image_models() -> list[str]:
    """Those that are built as they are named: timm's need an architecture, texts' a file."""
    named = [model for model in _options("model") if model not in {"timm", *DEEPER}]
    return [model for model in named if issubclass(ImageSpec, models.get(model).takes)]


def _config(*overrides: str) -> RunConfig:
    return read_config(compose_config(["precision=fp32", *overrides]))


def _teacher_for(loss: str) -> list[str]:
    return ["teacher=self"] if "soft_targets" in losses.get(loss).needs else []


def _step(config: RunConfig, inputs: torch.Tensor) -> float:
    """One step of the network and loss that a config describes; returns the loss."""
    run = plan_run(config)
    torch.manual_seed(0)
    model = run.build_model().to(memory_format=torch.channels_last).train()
    optimizer = build_optimizer(model, run.optimisation, config.schedule)
    learner = Learner(model, optimizer, config.schedule, "fp32", torch.device("cpu"))
    before = [p.detach().clone() for p in model.parameters()]
    labels = torch.arange(len(inputs)) % run.facts.num_classes
    batch = Batch(inputs.contiguous(memory_format=torch.channels_last), labels, labels)
    logits = learner.forward(batch.inputs)
    teacher_logits = torch.randn_like(logits) if run.loss.needs_teacher else None
    state = run.loss.state(len(labels))
    step = step_of(logits, labels, teacher_logits, state=state, partner_logits=logits.detach())
    terms = run.loss(step)
    learner.set_rate(0.01)
    learner.update(terms["total"])
    moved = [not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
    # timm starts its last normalisations at zero, which holds back what lies before them.
    assert all(moved) or (config.model.name == "timm" and any(moved))
    return terms["total"].item()


@pytest.mark.parametrize("model", _image_models())
def test_every_model_takes_a_step_on_cifar100(model: str) -> None:
    loss = _step(_config(f"model={model}"), torch.randn(2, 3, 32, 32))
    assert 0 < loss < 50


def test_a_model_of_timms_takes_a_step() -> None:
    config = _config("model=timm", "model.architecture=resnet10t", "model.small_input=true")
    assert _step(config, torch.randn(2, 3, 32, 32)) > 0


@pytest.mark.parametrize(
    ("loss", "form"),
    [(loss, form) for loss in _options("loss") for form in FORMS.get(loss, (None,))],
)
def test_every_loss_takes_a_step_in_every_form(loss: str, form: str | None) -> None:
    chosen = [f"loss.form={form}"] if form else []
    config = _config(
        "dataset=digits", "model=resnet8", f"loss={loss}", *_teacher_for(loss), *chosen
    )
    assert _step(config, torch.randn(8, 1, 8, 8)) > 0


@pytest.mark.parametrize("dataset", _options("dataset"))
def test_every_data_set_is_planned_without_being_there(dataset: str, tmp_path: Path) -> None:
    overrides = [f"dataset={dataset}", f"dataset.root={tmp_path}"]
    if dataset in TEXTS:
        lay(dataset, tmp_path)
        assert facts_of(_config(*overrides).dataset).num_classes >= 2
        return
    if dataset in SOUNDS:
        SOUNDS[dataset](tmp_path)
    if dataset == "image_folder":
        from PIL import Image

        for split in ("train", "test"):
            for name in ("a", "b"):
                (tmp_path / split / name).mkdir(parents=True)
                Image.new("RGB", (32, 32)).save(tmp_path / split / name / "0.png")
    run = plan_run(_config(*overrides))
    assert run.facts.num_classes >= 2


@pytest.mark.parametrize("dataset", sorted(SOUNDS))
def test_every_data_set_of_sounds_takes_a_step(dataset: str, tmp_path: Path) -> None:
    SOUNDS[dataset](tmp_path)
    config = _config(f"dataset={dataset}", f"dataset.root={tmp_path}", "model=resnet8")
    spec = plan_run(config).facts.spec
    assert isinstance(spec, SpectrogramSpec)
    assert _step(config, torch.randn(2, *spec.shape)) > 0


@pytest.mark.parametrize("schedule", _options("schedule"))
def test_every_schedule_is_planned(schedule: str) -> None:
    assert plan_run(_config(f"schedule={schedule}")).optimisation.optimizer == "sgd"


@pytest.mark.parametrize("teacher", ["self", *_image_models()])
def test_every_model_is_a_teacher(teacher: str) -> None:
    run = plan_run(_config("loss=kd", f"teacher={teacher}"))
    assert run.teacher is not None


@pytest.mark.parametrize("tracker", _options("tracker"))
def test_every_tracker_is_planned(tracker: str) -> None:
    plan_run(_config(f"tracker={tracker}"))


def test_the_default_of_tfkd_reg_on_cifar100_is_the_papers_resnet18_row() -> None:
    loss: Loss = plan_run(_config("loss=tfkd_reg", "model=resnet18")).loss
    values = {k: getattr(loss, k) for k in ("alpha", "tau", "correct_probability", "multiplier")}
    assert values == {
        "alpha": 0.1,
        "tau": 20.0,
        "correct_probability": 0.99,
        "multiplier": 100.0,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("teacher=null", "teacher=null: no such option"),
        ("loss=1", "loss=1: no such option; known: ce"),
        ("schedule=90", "schedule=90: no such option; known: audio20"),
        ("model=true", "model=true: no such option"),
        ("dataset=", "dataset=: no such option"),
        ("loss=[ols,ps_kd]", "loss is given a list; expected one option"),
    ],
)
def test_a_group_is_given_the_name_of_an_option_and_nothing_else(text: str, message: str) -> None:
    with pytest.raises(UserError) as refused:
        compose_config([text])
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
