"""A network that learns from its own past: from which, in which epoch, and after being killed."""

import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import processes
import pytest
import torch
from conftest import TINY, environment
from torch import nn
from torch.nn import functional as F

from kdlsr.config import UserError
from kdlsr.data.prepare import Streams, load_streams
from kdlsr.data.samples import Inputs
from kdlsr.files.download import Progress
from kdlsr.metrics import classification_metrics
from kdlsr.reporting.summarise import ONE_TEACHER, summarise
from kdlsr.reporting.summary import Cell, RunSummary
from kdlsr.runs.execute import checkpoint_of, complete_run, store_of
from kdlsr.runs.plan import Run, card_of
from kdlsr.runs.session import Session
from kdlsr.tables.index import profile_named
from kdlsr.tables.plan import Request
from kdlsr.tables.planning import plan_tables
from kdlsr.tables.reading import read_table
from kdlsr.teachers.past_targets import MeanOfLogits
from kdlsr.training.checkpoint import checkpoint_path, read_checkpoint
from kdlsr.training.optimisation import learning_rate
from kdlsr.training.past import Past

PROMISED = ("metrics.jsonl", "result.json", "test_logits.npz")
PAST = ["loss=kd", "loss.tau=2", "teacher=past", "teacher.dtype=float32"]


def _quiet(what: str, done: int, total: int) -> None: ...


QUIET: Progress = _quiet


def _state(run: Run, epoch: int) -> dict[str, Any]:
    folder = store_of(run.config).run(run.run_id)
    return read_checkpoint(checkpoint_path(folder.kept, epoch), run.run_id)


def _network(run: Run, epoch: int) -> nn.Module:
    model = run.build_model().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.load_state_dict(_state(run, epoch)["model"])
    return model.eval()


def _streams(run: Run) -> Streams:
    return load_streams(
        run.config.dataset,
        data_seed=run.config.data_seed,
        batch_size=run.config.schedule.batch_size,
        device=torch.device("cpu"),
        progress=QUIET,
    )


def _one_epoch_by_hand(run: Run, epoch: int, teachers: Sequence[nn.Module]) -> nn.Module:
    """Trains epoch `epoch` (from 0) from the checkpoint before it, in plain torch."""
    before, schedule = _state(run, epoch), run.config.schedule
    model = _network(run, epoch)
    rate, decay = run.optimisation.lr, run.optimisation.weight_decay
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=decay)
    optimizer.load_state_dict(before["optimizer"])
    base = rate * schedule.batch_size / schedule.lr_batch_size
    alpha, tau = 0.9, 2.0
    model.train()
    batches = list(_streams(run).train.epoch(epoch))
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(schedule, base, epoch, step, len(batches))
        assert not isinstance(batch.inputs, dict)
        with torch.no_grad():
            target = torch.stack([teacher(batch.inputs) for teacher in teachers]).mean(0)
        logits = model(batch.inputs)
        soft = F.kl_div(
            F.log_softmax(logits / tau, 1), F.softmax(target / tau, 1), reduction="batchmean"
        )
        loss = (1 - alpha) * F.cross_entropy(logits, batch.labels) + alpha * tau**2 * soft
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("ages", [[1], [1, 2]])
def test_an_epoch_is_learned_from_the_networks_own_earlier_weights(
    plan: Any, ages: list[int]
) -> None:
    run = plan(*PAST, f"teacher.epochs_ago={ages}", "keep_epochs=[1,2,3]")
    complete_run(run, Session())
    teachers = [_network(run, 3 - age) for age in ages]
    by_hand = _one_epoch_by_hand(run, 2, teachers).state_dict()
    ours = _state(run, 3)["model"]
    for name, value in by_hand.items():
        assert torch.allclose(value, ours[name], atol=1e-5), name


def test_before_there_is_a_past_the_loss_is_cross_entropy(plan: Any) -> None:
    taught, plain = plan(*PAST), plan()
    paths = [checkpoint_of(run, 1, Session()) for run in (taught, plain)]
    first, second = (torch.load(path, weights_only=True)["model"] for path in paths)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_of_several_epochs_ago_those_answer_that_there_are(plan: Any) -> None:
    runs = [plan(*PAST, f"teacher.epochs_ago={ages}") for ages in ("1", "[1,2]")]
    paths = [checkpoint_of(run, 2, Session()) for run in runs]
    first, second = (torch.load(path, weights_only=True)["model"] for path in paths)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert runs[0].run_id != runs[1].run_id


def test_a_result_compares_the_network_with_the_past_that_taught_last(plan: Any) -> None:
    run = plan(*PAST, "keep_epochs=[2,3]")
    found = complete_run(run, Session()).teacher
    assert found is not None
    assert (found.run_id, found.path, found.epoch) == (None, "past/1", 2)
    test = _streams(run).test
    with torch.inference_mode():
        inputs: list[Inputs] = [batch.inputs for batch in test]
        past, last = (torch.cat([_network(run, e)(i) for i in inputs]) for e in (2, 3))
    same = past.argmax(1) == last.argmax(1)
    assert found.agreement == pytest.approx(100 * float(same.double().mean()))
    assert found.top1 == pytest.approx(100 * float((past.argmax(1) == test.labels).double().mean()))
    kl = F.kl_div(F.log_softmax(last, 1), F.softmax(past, 1), reduction="batchmean")
    assert found.kl == pytest.approx(float(kl), rel=1e-3)
    views = list(_streams(run).train.epoch(2))
    with torch.inference_mode():
        seen: list[Inputs] = [batch.inputs for batch in views]
        logits = torch.cat([_network(run, 2)(inputs) for inputs in seen])
    expected = classification_metrics(logits, torch.cat([batch.labels for batch in views]))
    assert found.train is not None
    assert found.train.entropy == pytest.approx(expected.entropy, rel=1e-3)
    assert found.train.top1 == pytest.approx(expected.top1, abs=1.0)


def test_the_mean_is_that_of_the_logits() -> None:
    networks = [nn.Linear(3, 4) for _ in range(3)]
    mean, inputs = MeanOfLogits([nn.Linear(3, 4) for _ in range(3)]), torch.randn(5, 3)
    mean.load([network.state_dict() for network in networks])
    assert torch.allclose(mean(inputs), torch.stack([n(inputs) for n in networks]).mean(0))
    mean.load([networks[1].state_dict()])
    assert torch.equal(mean(inputs), networks[1](inputs))


def test_no_more_epochs_are_remembered_than_are_needed() -> None:
    past, network = Past(depth=2), nn.Linear(1, 1)
    for value in range(5):
        nn.init.constant_(network.weight, value)
        past.remember(network)
    assert [float(past.ago(age)["weight"]) for age in (0, 1)] == [4, 3]  # type: ignore[index]
    assert past.ago(2) is None
    restored = Past(depth=2)
    restored.load_state_dict(past.state_dict())
    assert torch.equal(restored.ago(1)["weight"], past.ago(1)["weight"])  # type: ignore[index]


def test_a_run_without_a_past_has_none_in_its_checkpoint(plan: Any) -> None:
    assert "past" not in torch.load(checkpoint_of(plan(), 1, Session()), weights_only=True)


def test_a_prefix_goes_on_with_its_past_to_the_same_bytes(plan: Any, tmp_path: Path) -> None:
    ages = "teacher.epochs_ago=[1,2]"
    begun = plan(*PAST, ages)
    checkpoint_of(begun, 2, Session())
    complete_run(begun, Session())
    fresh = plan(*PAST, ages, f"output_dir={tmp_path / 'fresh'}")
    complete_run(fresh, Session())
    folders = [store_of(run.config).run(run.run_id).path for run in (begun, fresh)]
    for file in (*PROMISED, "checkpoints/epoch-0003.pt"):
        assert folders[0].joinpath(file).read_bytes() == folders[1].joinpath(file).read_bytes()


def test_a_run_killed_for_real_goes_on_from_its_own_past_to_the_same_bytes(
    plan: Any, tmp_path: Path
) -> None:
    options = [*PAST, "schedule.epochs=8", "teacher.epochs_ago=[1,3]"]
    run, undisturbed = plan(*options), plan(*options, f"output_dir={tmp_path / 'undisturbed'}")
    command = [*TINY, "precision=fp32", *options, f"output_dir={tmp_path}"]
    process = processes.Command("kdlsr.train", command, tmp_path, environment())
    folder = store_of(run.config).run(run.run_id)
    until = time.monotonic() + 60
    while not (folder.checkpoints / "epoch-0004.pt").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not folder.is_complete()
    for killed_or_not in (run, undisturbed):
        complete_run(killed_or_not, Session())
    other = store_of(undisturbed.config).run(run.run_id).path
    for file in (*PROMISED, "checkpoints/epoch-0008.pt"):
        assert (folder.path / file).read_bytes() == (other / file).read_bytes(), file


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["teacher.epochs_ago=3"], "teacher.epochs_ago=3: the run has 3 epochs"),
        (["teacher.epochs_ago=[2,1]"], "expected rising"),
        (["teacher.epochs_ago=0"], "expected an integer in \\[1, 20\\]"),
        (["teacher.epoch=2"], "has no epochs"),
        (["start=teacher"], "no weights to start from"),
        (['teacher.overrides=["model.width=8"]'], "is the student itself"),
    ],
)
def test_a_past_that_cannot_be_is_refused_at_the_plan(
    plan: Any, overrides: list[str], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        plan(*PAST, *overrides)


def test_a_table_has_rows_that_learn_from_their_own_past() -> None:
    table = read_table("wang2021/past")
    (planned,) = plan_tables([table], Request(profile_named("smoke"), (0,))).tables
    found = {
        cell.column: dict(run.config.teacher.options)
        for cell in planned.cells
        for run in cell.runs
        if run.config.teacher.name == "past"
    }
    assert found == {
        "last epoch": {"epochs_ago": [1]},
        "last three epochs": {"epochs_ago": [1, 2, 3]},
    }
    assert not any(run.teacher_run for cell in planned.cells if cell.column in found
                   for run in cell.runs)  # fmt: skip


def test_a_past_is_not_one_teacher_for_all_seeds(plan: Any) -> None:
    cards = [card_of(plan(*PAST, f"seed={seed}"), "itself") for seed in (0, 1)]
    runs = tuple(RunSummary(card, "not started") for card in cards)
    cell = Cell(key="a", row="a", column="a", name="a", kind="method", runs=runs)
    assert ONE_TEACHER not in summarise([cell], None).caveats


def test_seeds_of_one_past_are_one_cell(plan: Any) -> None:
    first, second = plan(*PAST, "seed=0"), plan(*PAST, "seed=1", "teacher.seed=5")
    assert first.cell_id == second.cell_id
    assert first.run_id != second.run_id
