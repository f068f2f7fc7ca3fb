"""What an epoch leaves is written beside the next one's training, to the same bytes."""

import io
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from kdlsr.config import LostRun, RunFailed
from kdlsr.runs import training_session
from kdlsr.runs.execute import complete_run, store_of
from kdlsr.runs.saving import Saving
from kdlsr.runs.session import Session
from kdlsr.runs.writer import RunWriter
from kdlsr.training.snapshot import snapshot


def _bytes(state: object) -> bytes:
    content = io.BytesIO()
    torch.save(state, content)
    return content.getvalue()


class Tied(nn.Module):
    """Two names for one weight, a view of a larger one, a buffer, and a layout of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 5)
        self.second = self.first
        self.conv = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.norm = nn.BatchNorm2d(4)
        self.register_buffer("part", torch.arange(12.0)[3:7])
        self.register_buffer("nothing", torch.empty(0))


def _trained() -> dict[str, Any]:
    torch.manual_seed(0)
    model = Tied()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    loss = model.norm(model.conv(torch.randn(2, 3, 5, 5))).square().sum()
    (loss + model.first(torch.ones(5)).sum()).backward()
    optimizer.step()
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}


def test_a_snapshot_is_saved_to_the_same_bytes_and_does_not_change() -> None:
    state = _trained()
    copied, before = snapshot(state), _bytes(state)
    assert _bytes(copied) == before
    for tensor in state["model"].values():
        tensor.zero_()
    assert _bytes(copied) == before
    assert _bytes(state) != before


def test_writes_come_one_after_the_other_and_the_end_waits_for_them() -> None:
    done: list[int] = []
    gate = threading.Event()

    def first() -> None:
        assert gate.wait(10)
        done.append(1)

    with Saving() as saving:
        saving.begin(first)
        assert done == []  # the caller goes on
        gate.set()
        saving.begin(lambda: done.append(2))
        assert done[0] == 1
    assert done == [1, 2]


def _refuse() -> None:
    raise OSError(28, "No space left on device", "metrics.jsonl")


def _save(*writes: Callable[[], None], then: BaseException | None = None) -> None:
    with Saving() as saving:
        for write in writes:
            saving.begin(write)
        if then is not None:
            raise then


def test_what_a_disk_refuses_is_raised_at_the_next_write_or_at_the_end() -> None:
    done: list[int] = []
    with pytest.raises(OSError, match="No space"):
        _save(_refuse, lambda: done.append(1))
    assert done == []
    with pytest.raises(OSError, match="No space"):  # what came later is not the reason
        _save(_refuse, then=RunFailed("the loss is not finite"))


def test_an_interruption_stays_one(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        _save(lambda: done.append(1), then=KeyboardInterrupt())
    assert done == [1]  # what was under way is finished
    with pytest.raises(KeyboardInterrupt):
        _save(_refuse, then=KeyboardInterrupt())
    assert "is not saved" in caplog.text


def test_a_run_that_was_lost_is_told_so_and_writes_no_more(
    plan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plan()

    def lose(self: RunWriter, *_: object, **__: object) -> None:
        raise LostRun(f"{self.folder.run_id} was taken over")

    monkeypatch.setattr(RunWriter, "checkpoint", lose)
    with pytest.raises(LostRun, match="was taken over"):
        complete_run(run, Session())
    folder = store_of(run.config).run(run.run_id)
    assert folder.epochs() <= 1
    assert not (folder.path / "result.json").exists()


def test_the_next_epoch_is_trained_while_one_is_written(
    plan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plan("schedule.epochs=2")
    trained = threading.Event()
    write, fit = RunWriter.metrics, training_session.fit

    def patient(self: RunWriter, history: Any) -> None:
        if len(history) == 1 and threading.current_thread() is not threading.main_thread():
            assert trained.wait(20)  # until a step of the second epoch
        write(self, history)

    def watched(learner: Any, task: Any, history: Any, until: int, observer: Any, save: Any) -> Any:
        forward = type(learner).forward

        def counting(inputs: Any) -> Any:
            if len(history) == 1 and learner.model.training:
                trained.set()
            return forward(learner, inputs)

        monkeypatch.setattr(learner, "forward", counting)
        return fit(learner, task, history, until, observer, save)

    monkeypatch.setattr(RunWriter, "metrics", patient)
    monkeypatch.setattr(training_session, "fit", watched)
    assert complete_run(run, Session()).status == "complete"
