"""All runs below one output folder: one by its id, or every one that can be believed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kdlsr.runs.card import RunCard
from kdlsr.runs.folder import DamagedFile, RunFolder, read_json
from kdlsr.runs.identity import flatten
from kdlsr.runs.result import RunResult, Status
from kdlsr.training.checkpoint import checkpoint_path


@dataclass(frozen=True)
class StoredRun:
    """A run as the store has it.

    Attributes:
        card: what it is.
        folder: its files.
        status: how far it is.
        result: of a run that ended; None otherwise.
    """

    card: RunCard
    folder: RunFolder
    status: Status
    result: RunResult | None

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The resolved config, by dotted key."""
        return flatten(self.card.config)


@dataclass(frozen=True)
class Contents:
    """What a store holds: runs by run_id, and a line on each thing that could not be believed."""

    runs: tuple[StoredRun, ...]
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Store:
    """All runs below one output folder."""

    root: Path

    def run(self, run_id: str) -> RunFolder:
        """Returns a run's folder, which need not exist."""
        return RunFolder(self.root / "runs" / run_id, run_id)

    def replay(self, run_id: str) -> RunFolder:
        """Returns where epochs that a complete run did not keep are made again."""
        return RunFolder(self.root / "replays" / run_id, run_id)

    def find_checkpoint(self, run_id: str, epoch: int) -> Path | None:
        """Returns a run's checkpoint after `epoch`, which may be damaged; None: there is none."""
        return next(iter(self.checkpoints_after(run_id, epoch)), None)

    def checkpoints_after(self, run_id: str, epoch: int) -> list[Path]:
        """Returns a run's checkpoints after `epoch`: kept, recent or best, replayed."""
        run, replay = self.run(run_id), self.replay(run_id)
        folders = (run.kept, run.checkpoints, replay.kept)
        paths = (checkpoint_path(folder, epoch) for folder in folders)
        return [path for path in paths if path.exists()]

    def contents(self) -> Contents:
        """Reads every run; a damaged or foreign folder, or a copy, costs a line and no more.

        A run is known by the id on its card. Of several folders with one id that which has the
        id as its name is the run; the others are copies.
        """
        found: dict[str, StoredRun] = {}
        faults: list[str] = []
        for path in self._folders():
            try:
                run, fault = _read(path)
            except DamagedFile as error:
                faults.append(f"not counted: {error}")
                continue
            if fault is not None:
                faults.append(f"not counted: {fault}")
            other = found.get(run.card.run_id)
            if other is not None:
                copy = path if other.folder.path.name == run.card.run_id else other.folder.path
                faults.append(f"not counted: {copy} is a copy of {run.card.run_id}")
            if other is None or path.name == run.card.run_id:
                found[run.card.run_id] = run
        return Contents(tuple(found[run_id] for run_id in sorted(found)), tuple(faults))

    def _folders(self) -> Iterator[Path]:
        folder = self.root / "runs"
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
        return (path for path in paths if path.is_dir() and not path.name.startswith("."))


def _read(path: Path) -> tuple[StoredRun, str | None]:
    """Reads the run in a folder by the id on its card; and what in it cannot be believed.

    Raises:
        DamagedFile: there is no card, or it is damaged.
    """
    values = read_json(path / "run.json")
    if values is None:
        raise DamagedFile(f"{path} has no run.json: it is no run of this version of kdlsr")
    folder = RunFolder(path, str(values.get("run_id")))
    card = folder.card()
    assert card is not None
    reading = folder.read()
    return StoredRun(card, folder, reading.status, reading.result), reading.fault
