"""Runs in a store that nobody trained: their cards, and how they ended."""

from collections.abc import Iterator
from contextlib import contextmanager

from kdlsr.metrics import Metrics
from kdlsr.runs.card import MadeFor
from kdlsr.runs.execute import store_of
from kdlsr.runs.folder import RunFolder
from kdlsr.runs.owner import Ownership
from kdlsr.runs.plan import Run, card_of
from kdlsr.runs.result import PROTOCOLS, AtEpoch, RunResult
from kdlsr.runs.writer import RunWriter
from kdlsr.training.record import EpochRecord


def _nobody(holder: object) -> None:
    raise AssertionError(f"waited for {holder}")


def make_complete(run: Run, top1: float = 50.0, made_for: MadeFor = "itself") -> RunFolder:
    """Stores a run as if it had been trained, with one accuracy at all of its epochs."""
    test = Metrics(top1, None, 1.5, 0.5, 1.25, 0.75, 0.125)
    epochs = range(1, run.config.schedule.epochs + 1)
    history = [EpochRecord(epoch, 0.1, {"total": 1.0}, None, test) for epoch in epochs]
    chosen = {name: AtEpoch(epoch=len(history), test=test) for name in PROTOCOLS[:2]}
    folder = store_of(run.config).run(run.run_id)
    with written(folder) as writer:
        writer.card(card_of(run, made_for))
        writer.metrics(history)
        writer.result(
            RunResult(
                run_id=run.run_id,
                cell_id=run.cell_id,
                status="complete",
                protocols={**chosen, "best_val": None},
                parameters=1,
                environment="uniform",
            )
        )
    return folder


@contextmanager
def written(folder: RunFolder) -> Iterator[RunWriter]:
    """Yields what writes into a run's folder, as a run in training would."""
    with Ownership(folder.path, _nobody) as owner:
        yield RunWriter(folder, owner)


def make_failed(run: Run, error: Exception) -> RunFolder:
    """Stores a run as if it had ended with an error."""
    folder = store_of(run.config).run(run.run_id)
    with written(folder) as writer:
        writer.card(card_of(run, "itself"))
        writer.failure(run.cell_id, error)
    return folder
