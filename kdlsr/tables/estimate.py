"""How long runs will take, from the times of runs like them in the same store.

Times are of this store's hardware, whatever that was; what nothing like it has been run of is
not guessed.
"""

import json
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kdlsr.runs.execute import store_of
from kdlsr.runs.plan import Run, resolved_config
from kdlsr.runs.store import Store
from kdlsr.tables.plan import PlannedJob

Likeness = tuple[str, ...]
Times = dict[Likeness, list[float]]  # seconds of an epoch, of the runs in a store


def _likeness(config: Mapping[str, Any]) -> list[Likeness]:
    """Returns what runs of about equal cost per epoch share, closest likeness first."""
    dataset, schedule = config["dataset"], config["schedule"]
    same = (
        str(dataset["name"]),
        str(dataset.get("root")),
        str(dataset["subset"]),
        json.dumps(config["model"], sort_keys=True),
        str(config["precision"]),
    )
    teacher = config["teacher"]
    taught = f"{teacher['name']} {teacher['overrides']}" if teacher["name"] != "none" else ""
    batch_size = str(schedule["batch_size"])
    return [(*same, batch_size, taught), (*same, batch_size), same]


def seconds_of_epoch(times: Times, run: Run) -> float | None:
    """Returns the median of the closest likeness there is; None where nothing like it was run."""
    known = (times[likeness] for likeness in _likeness(resolved_config(run)) if likeness in times)
    return next(map(statistics.median, known), None)


def epochs_left(job: PlannedJob) -> int:
    """Returns how many epochs a job still has to train."""
    wanted = job.until or job.run.config.schedule.epochs
    folder = store_of(job.run.config).run(job.run.run_id)
    return max(0, wanted - folder.epochs())


def known_times(roots: Iterable[Path]) -> Times:
    """Returns the times of all runs below some output folders."""
    times: Times = {}
    for root in roots:
        for run in Store(root).contents().runs:
            sessions = run.folder.sessions("timing.json")
            epochs = [s for session in sessions for s in session["epoch_seconds"]]
            for likeness in _likeness(run.card.config) if epochs else []:
                times.setdefault(likeness, []).append(statistics.median(epochs))
    return times
