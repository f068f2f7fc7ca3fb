"""What a report reads of a run's own folder, and the words for data and hardware.

The same for a table's runs and for any others; no statistics in here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from kdlsr.reporting.summary import RunState, RunSummary
from kdlsr.runs.card import RunCard
from kdlsr.runs.confidence import read_confidence
from kdlsr.runs.folder import DamagedFile, RunFolder
from kdlsr.training.record import EpochRecord


def read_run(
    card: RunCard, folder: RunFolder, state: RunState, overrides: Iterable[str]
) -> RunSummary:
    """Reads what a report shows of one run.

    Args:
        card: of the run, which need not have started.
        folder: the run's.
        state: how far it is.
        overrides: that make it.
    """
    reading = folder.read()
    fault = reading.fault
    history: tuple[EpochRecord, ...] = ()
    try:
        history = folder.history()
    except DamagedFile as error:
        fault = str(error)
    sessions = folder.sessions("environment.json")
    return RunSummary(
        card=card,
        state=state,
        overrides=tuple(overrides),
        config=card.config_text() if folder.path.exists() else "",
        history=history,
        result=reading.result,
        environment=tuple(filter(None, map(_environment_line, sessions))),
        fault=fault,
        folder=folder,
    )


def with_confidence(run: RunSummary, folder: RunFolder) -> RunSummary:
    """Returns a run with what its logits say, which are read whole, if it is complete.

    Damaged ones cost no more than a word: all else that is known of the run stands.
    """
    if run.result is None or not run.is_complete:
        return run
    try:
        return replace(run, confidence=read_confidence(folder, run.result))
    except DamagedFile as error:
        return replace(run, fault=run.fault or str(error))


def numbered_epoch(card: RunCard) -> int | None:
    """Returns the epoch at which a run's teacher is taken, where that is asked for by number."""
    epoch = card.config["teacher"]["epoch"]
    return epoch if card.teacher and isinstance(epoch, int) else None


def _environment_line(session: Mapping[str, Any]) -> str | None:
    """Returns a session's hardware in words; None where its record is damaged."""
    keys = ("device", "device_type", "threads", "precision", "torch", "kdlsr")
    if any(key not in session for key in keys):
        return None
    device, kind, threads, precision, torch, kdlsr = (session[key] for key in keys)
    plural = "" if threads == 1 else "s"
    return (
        f"{device} ({kind}, {threads} thread{plural} a run, {precision}), torch {torch}, "
        f"kdlsr {kdlsr}"
    )


def describe_data(config: Mapping[str, Any]) -> str:
    """Returns in words what was trained on and for how long.

    Args:
        config: of a run, resolved.
    """
    dataset = config["dataset"]
    subset = f", {dataset['subset']:,} training samples" if dataset["subset"] else ""
    held_out = dataset["val_fraction"]
    split = f", {100 * held_out:g} % held out for validation" if held_out else ""
    return f"{dataset['name']}{subset}{split}, {config['schedule']['epochs']} epochs"
