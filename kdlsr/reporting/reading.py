"""What a report reads of a run's own folder, and the words for data and hardware.

The same for a table's runs and for any others; no statistics in here.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from kdlsr.reporting.summary import RunState, RunSummary
from kdlsr.runs.card import RunCard
from kdlsr.runs.folder import DamagedFile, RunFolder, read_bytes
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
    text = ""
    try:
        history = folder.history()
        text = (read_bytes(folder.path / "config.yaml") or b"").decode(errors="replace")
    except DamagedFile as error:
        fault = str(error)
    return RunSummary(
        card=card,
        state=state,
        overrides=tuple(overrides),
        config=text,
        history=history,
        result=reading.result,
        environment=tuple(map(_environment_line, folder.sessions("environment.json"))),
        fault=fault,
    )


def numbered_epoch(card: RunCard) -> int | None:
    """Returns the epoch at which a run's teacher is taken, where that is asked for by number."""
    epoch = card.config["teacher"]["epoch"]
    return epoch if card.teacher and isinstance(epoch, int) else None


def _environment_line(session: Mapping[str, Any]) -> str:
    threads = session["threads"]
    return (
        f"{session['device']} ({session['device_type']}, {threads} thread"
        f"{'s' if threads > 1 else ''} a run, {session['precision']}), torch {session['torch']}, "
        f"kdlsr {session['kdlsr']}"
    )


def describe_data(config: Mapping[str, Any]) -> str:
    """Returns in words what was trained on and for how long.

    Args:
        config: of a run, resolved.
    """
    dataset = config["dataset"]
    subset = f", {dataset['subset']:,} training images" if dataset["subset"] else ""
    held_out = dataset["val_fraction"]
    split = f", {100 * held_out:g} % held out for validation" if held_out else ""
    return f"{dataset['name']}{subset}{split}, {config['schedule']['epochs']} epochs"
