"""The loop does what a plain loop of torch does, and stops where numbers stop being numbers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, RecordingObserver, step_of
from torch.nn import functional as F

from kdlsr.config import RunFailed
from kdlsr.config.compose import compose_config
from kdlsr.config.inputs import ImageSpec
from kdlsr.config.schedule import ScheduleConfig
from kdlsr.config.schema import read_config
from kdlsr.data import Images
from kdlsr.data.normalisation import Normalisation
from kdlsr.data.recipe import read_recipe
from kdlsr.data.stream import EvalStream, TrainStream
from kdlsr.losses import build_loss
from kdlsr.metrics import Metrics, classification_metrics
from kdlsr.models import Recipe, build_model
from kdlsr.runs.execute import complete_run, store_of
from kdlsr.runs.plan import plan_run
from kdlsr.runs.session import Session
from kdlsr.training.fit import fit, predict
from kdlsr.training.learner import Learner
from kdlsr.training.optimisation import build_optimizer, learning_rate, resolve_optimisation
from kdlsr.training.record import EpochRecord, best_epoch
from kdlsr.training.task import Task

CPU = torch.device("cpu")
SCHEDULE = ScheduleConfig(epochs=3, batch_size=32, warmup_epochs=1, milestones=(2,))


def _task(seed: int = 0, device: torch.device = CPU) -> Task:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 100)
    pixels = rng.integers(0, 256, (100, 8, 8, 1), dtype=np.uint8)
    samples = Images(pixels, labels).samples(
        ImageSpec(8, 8, 1), Normalisation((0.5,), (0.25,)), read_recipe("shift"), device
    )
    samples.evaluation_batch_size = 16
    everything = np.arange(100)
    return Task(
        train=TrainStream(samples, everything, seed, 32),
        test=EvalStream(samples, everything[:50]),
        validation=None,
        loss=build_loss("ce", {}, 4),
        teacher=None,
        init_seed=0,
    )


def _learner(precision: str = "fp32") -> Learner:
    torch.manual_seed(0)
    model = build_model("resnet8", {"width": 4}, spec=ImageSpec(8, 8, 1), num_classes=4)
    model = model.to(memory_format=torch.channels_last)
    optimizer = build_optimizer(model, resolve_optimisation(SCHEDULE, Recipe()), SCHEDULE)
    return Learner(model, optimizer, SCHEDULE, precision, CPU)


def test_training_equals_a_plain_loop_of_torch() -> None:
    task, learner, observer = _task(), _learner(), RecordingObserver()
    history: list[EpochRecord] = []
    fit(learner, task, history, 3, observer, lambda: None)

    plain = _learner().model
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.0, momentum=0.9, weight_decay=5e-4)
    base = 0.1 * 32 / 128
    for epoch in range(3):
        plain.train()
        batches = list(task.train.epoch(epoch))
        for step, batch in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(SCHEDULE, base, epoch, step, len(batches))
            optimizer.zero_grad()
            F.cross_entropy(plain(batch.inputs), batch.labels).backward()
            optimizer.step()
    for ours, theirs in zip(learner.model.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
    assert observer.steps == 3 * 4
    assert [record.epoch for record in observer.records] == [1, 2, 3]


def test_a_record_holds_the_mean_terms_and_the_test_metrics() -> None:
    task, learner = _task(), _learner()
    history: list[EpochRecord] = []
    found = fit(learner, task, history, 1, RecordingObserver(), lambda: None)
    assert found is not None
    logits = found.test
    assert torch.equal(logits, predict(learner, task.test))
    (record,) = history
    assert record.test == classification_metrics(logits, task.test.labels)
    assert record.train["total"] == pytest.approx(record.train["hard"])
    assert record.train["soft"] == 0
    assert record.lr == pytest.approx(0.1 * 32 / 128)


def test_a_record_is_one_line_and_comes_back_from_it() -> None:
    metrics = Metrics(50.0, None, 1.5, 0.5, 1.25, 0.75, 0.125)
    record = EpochRecord(2, 0.1, {"hard": 1.0, "total": 1.0}, None, metrics)
    assert record.to_line() == (
        '{"epoch": 2, "lr": 0.1, "train": {"hard": 1.0, "total": 1.0}, "val": null, '
        '"test": {"top1": 50.0, "top5": null, "nll": 1.5, "brier": 0.5, "entropy": 1.25, '
        '"confidence": 0.75, "ece": 0.125}}\n'
    )
    for one in (record, replace(record, val=metrics)):
        assert EpochRecord.from_line(one.to_line()) == one
    with pytest.raises(ValueError, match="not JSON compliant"):
        replace(record, lr=float("nan")).to_line()


def test_losses_are_computed_in_fp32_whatever_the_networks_precision() -> None:
    learner = _learner("bf16")
    logits = learner.forward(torch.randn(4, 1, 8, 8))
    assert logits.dtype == torch.bfloat16
    terms = build_loss("ce", {}, 4)(step_of(logits, torch.arange(4)))
    assert terms["total"].dtype == torch.float32


def test_a_loss_that_is_not_finite_is_told_with_its_epoch_and_step() -> None:
    task, learner = _task(), _learner()
    saved = []
    with torch.no_grad():
        learner.model.linear.bias[0] = float("nan")  # type: ignore[union-attr,operator]
    with pytest.raises(RunFailed, match="not finite at step 1 of epoch 1: hard nan"):
        fit(learner, task, [], 1, RecordingObserver(), lambda: saved.append(1))
    assert not saved


def test_weights_that_diverged_after_the_last_loss_are_told_with_their_epoch(plan: Any) -> None:
    """One step, whose loss is finite and whose rate is not sane."""
    run = plan("schedule.lr=1e30", "schedule.batch_size=256", "schedule.warmup_epochs=0")
    with pytest.raises(RunFailed, match="test logits are not finite after epoch 1"):
        complete_run(run, Session())
    assert store_of(run.config).run(run.run_id).status() == "failed"


def test_of_equally_good_epochs_the_later_is_best() -> None:
    metrics = [Metrics(top1, None, 0.0, 0.0, 0.0, 0.0, 0.0) for top1 in (50.0, 70.0, 70.0, 60.0)]
    history = [EpochRecord(e, 0.1, {}, None, m) for e, m in enumerate(metrics, 1)]
    assert best_epoch(history, "test") == 3


def test_dropout_is_replayed_on_going_on(tmp_path: Path) -> None:
    """plain_cnn has dropout: its masks must not depend on where training was interrupted."""
    common = ["dataset=digits", "dataset.subset=200", "model=plain_cnn", "schedule=quick"]
    results = []
    for name, keep in (("whole", 3), ("broken", 1)):
        config = [*common, "precision=fp32", "schedule.epochs=3", f"output_dir={tmp_path / name}"]
        run = plan_run(read_config(compose_config(config)))
        if keep < 3:
            from kdlsr.runs.execute import checkpoint_of

            checkpoint_of(run, keep, Session())
        complete_run(run, Session())
        results.append((store_of(run.config).run(run.run_id).path / "metrics.jsonl").read_bytes())
    assert results[0] == results[1]


def test_no_validation_image_is_trained_on_by_student_or_teacher(tmp_path: Path) -> None:
    from kdlsr.data.prepare import load_streams

    config = [*TINY, "dataset.val_fraction=0.25", "loss=kd", "teacher=self"]
    run = plan_run(read_config(compose_config([*config, f"output_dir={tmp_path}"])))
    assert run.teacher_run is not None
    held_out = []
    for member in (run, run.teacher_run):
        streams = load_streams(
            member.config.dataset,
            data_seed=member.config.data_seed,
            batch_size=32,
            device=CPU,
            progress=lambda what, done, total: None,
        )
        assert streams.validation is not None
        validation = torch.cat([batch.rows for batch in streams.validation])
        trained = torch.cat([batch.rows for batch in streams.train.epoch(0)])
        assert not set(validation.tolist()) & set(trained.tolist())
        held_out.append(validation)
    assert torch.equal(*held_out)
