"""What needs an NVIDIA GPU: the same code on the device, to the same bits twice."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from conftest import TINY, Command, step_of

from kdlsr.losses import build_loss, losses

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_with_a_teacher_ends_with_the_same_bytes_twice(
    train: Command, tmp_path: Path, precision: str
) -> None:
    command = [*TINY, "schedule.epochs=2", "loss=kd", "teacher=self", "device=cuda"]
    command += ["deterministic=true", f"precision={precision}"]
    contents = []
    for folder in ("first", "second"):
        done = train(*command, f"output_dir={folder}")
        assert done.returncode == 0, done.stderr
        runs = sorted((tmp_path / folder / "runs").iterdir())
        contents.append([(run / "metrics.jsonl").read_bytes() for run in runs])
    assert contents[0] == contents[1]


def test_the_device_is_recorded(train: Command, tmp_path: Path) -> None:
    assert train(*TINY, "schedule.epochs=1", "device=cuda").returncode == 0
    (run,) = (tmp_path / "outputs" / "runs").iterdir()
    assert json.loads((run / "environment.json").read_text())["device_type"] == "cuda"


def test_auto_is_the_gpu_and_bf16_from_ampere() -> None:
    from kdlsr.machine.device import resolve_device, resolve_precision

    device = resolve_device("auto")
    assert device.type == "cuda"
    native = torch.cuda.get_device_capability(device) >= (8, 0)
    assert resolve_precision("auto", device) == ("bf16" if native else "fp32")


def test_a_step_does_not_wait_for_the_device(tmp_path: Path) -> None:
    """torch raises where a step of the loop would synchronise."""
    import numpy as np
    from conftest import RecordingObserver
    from test_fit import SCHEDULE

    from kdlsr.config.inputs import ImageSpec
    from kdlsr.data import Images
    from kdlsr.data.normalisation import Normalisation
    from kdlsr.data.recipe import read_recipe
    from kdlsr.data.stream import EvalStream, TrainStream
    from kdlsr.models import Recipe, build_model
    from kdlsr.training.fit import train_epoch
    from kdlsr.training.learner import Learner
    from kdlsr.training.optimisation import build_optimizer, resolve_optimisation
    from kdlsr.training.steps import TrainingSteps
    from kdlsr.training.task import Task

    device = torch.device("cuda")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 128)
    pixels = rng.integers(0, 256, (128, 32, 32, 3), dtype=np.uint8)
    normalisation = Normalisation((0.5,) * 3, (0.25,) * 3)
    samples = Images(pixels, labels).samples(
        ImageSpec(32, 32, 3), normalisation, read_recipe("cifar"), device
    )
    chosen = np.arange(128)
    task = Task(
        TrainStream(samples, chosen, 0, 32),
        EvalStream(samples, chosen),
        None,
        build_loss("ce", {}, 4),
        None,
        0,
    )
    model = build_model("resnet8", {}, spec=ImageSpec(32, 32, 3), num_classes=4).to(device)
    optimizer = build_optimizer(model, resolve_optimisation(SCHEDULE, Recipe()), SCHEDULE)
    learner = Learner(model, optimizer, SCHEDULE, "bf16", device)
    train_epoch(TrainingSteps(learner, task), 0, RecordingObserver())
    stream = task.train.epoch(1)
    batches = list(stream)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in batches:
            terms = task.loss(step_of(learner.forward(batch.inputs), batch.labels))
            learner.update(terms["total"])
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_compiled_run_and_its_evaluation_agree_with_eager_ones() -> None:
    """CUDA graphs overwrite their outputs: evaluation must have copied every batch of it."""
    from test_fit import CPU, _learner, _task

    from kdlsr.training.compiling import compile_model
    from kdlsr.training.fit import predict

    device = torch.device("cuda")
    learner = _learner()
    expected = predict(learner, _task().test)
    learner.device = device
    learner.model.to(device)
    compile_model(learner.model, device)
    learner.compiled = True
    assert learner.is_graphed
    test = _task(device=device).test
    for _ in range(3):  # a graph is recorded in the second call and replayed from then on
        logits = predict(learner, test)
        assert torch.allclose(logits.to(CPU), expected, atol=1e-3)


def test_the_optimiser_is_the_fused_one_on_the_gpu() -> None:
    from test_fit import SCHEDULE

    from kdlsr.models import Recipe
    from kdlsr.training.optimisation import build_optimizer, resolve_optimisation

    model = torch.nn.Linear(4, 4, device="cuda")
    optimizer = build_optimizer(model, resolve_optimisation(SCHEDULE, Recipe()), SCHEDULE)
    model(torch.ones(2, 4, device="cuda")).sum().backward()
    before = model.weight.detach().clone()
    torch.cuda.set_sync_debug_mode("error")
    try:
        optimizer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert optimizer.param_groups[0]["fused"]
    assert not torch.equal(model.weight, before)


def test_loss_terms_are_shown_once_they_have_arrived() -> None:
    from kdlsr.training.term_log import TermLog

    torch.empty(3, 1, pin_memory=True)  # the first allocation of its kind may wait for the device
    log, ones = TermLog(3), torch.ones(3, device="cuda")
    torch.cuda.synchronize()
    torch.cuda._sleep(2_000_000_000)
    for one in ones:
        log.add({"total": one}, 5)
    assert log.latest() == {}
    torch.cuda.synchronize()
    assert log.latest() == log.means() == {"total": 1.0}


@pytest.mark.parametrize("name", losses.names())
def test_a_loss_does_not_make_the_host_wait_and_can_be_recorded(name: str) -> None:
    device = torch.device("cuda")
    loss = build_loss(name, {}, 5)
    state = loss.state(8).to(device)
    z = torch.randn(8, 5, device=device, requires_grad=True)
    labels, other = torch.arange(8, device=device) % 5, torch.randn(8, 5, device=device)
    step = step_of(z, labels, other, state=state, partner_logits=other)
    step = dataclasses.replace(
        step,
        rows=step.rows.to(device),
        progress=step.progress.to(device),
        epoch=step.epoch.to(device),
    )
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            loss(step)["total"].backward()
            with torch.no_grad():
                loss.end_epoch(state)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        recorded = loss(step)["total"]
    state.load_state_dict(loss.state(8).state_dict())
    graph.replay()
    state.load_state_dict(loss.state(8).state_dict())
    assert torch.equal(recorded, loss(step)["total"])
