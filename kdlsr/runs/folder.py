"""The files of one run, `outputs/runs/<run_id>/`, read by one reader: it believes what agrees.

A card, a result and the last line of metrics.jsonl vouch for each other. What is damaged, or
another run's, is named in one line and counts as not there. Bookkeeping (environment.json,
timing.json) never fails a run.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from kdlsr.config import UserError
from kdlsr.files import parse_json
from kdlsr.runs.card import RunCard
from kdlsr.runs.identity import is_sealed, unsealed
from kdlsr.runs.result import RunResult, Status
from kdlsr.training.checkpoint import checkpoint_path
from kdlsr.training.record import EpochRecord

T = TypeVar("T")
LOGITS = ("test_logits.npz", "val_logits.npz")
FEATURES = "test_features.npz"


class DamagedFile(UserError):
    """A file of a run that cannot be what it should be; the text is one line that names it."""


@dataclass(frozen=True)
class Reading:
    """What a run's folder says of its end.

    Attributes:
        status: how far the run is.
        result: of a run that ended, if it can be believed.
        fault: what could not be believed, in one line that names the file; None where all can.
    """

    status: Status
    result: RunResult | None = None
    fault: str | None = None


@dataclass(frozen=True)
class RunFolder:
    """A run's folder, which need not exist yet.

    Attributes:
        path: where it is.
        run_id: whose it is to be.
    """

    path: Path
    run_id: str

    @property
    def checkpoints(self) -> Path:
        """The newest two checkpoints and the best ones."""
        return self.path / "checkpoints"

    @property
    def kept(self) -> Path:
        """Checkpoints that are kept for good, because a teacher is one of these epochs."""
        return self.checkpoints / "kept"

    def card(self) -> RunCard | None:
        """Returns run.json; None where the run has none (yet).

        Raises:
            DamagedFile: it is damaged, or another run's.
        """
        values = read_json(self.path / "run.json")
        if values is None:
            return None
        card = _typed(self.path / "run.json", lambda: RunCard.from_json(unsealed(values)))
        if card.run_id != self.run_id:
            raise DamagedFile(f"{self.path / 'run.json'} is that of {card.run_id}")
        _check_seal(self.path / "run.json", values)
        return card

    def read(self, *, whole: bool = False) -> Reading:
        """Returns how far the run is, and its result if it can be believed.

        Args:
            whole: whether the files of logits, which hardly any report reads, have to be the
                run's own, where a checkpoint is left to make them from.
        """
        path = self.path / "result.json"
        try:
            values = read_json(path)
            if values is None:
                if not self.path.exists():
                    return Reading("not started")
                return Reading("incomplete", fault=self._lost_result())
            result = _typed(path, lambda: RunResult.from_json(unsealed(values)))
            self._check(result)
            _check_seal(path, values)
            if whole:
                self._check_logits(result)
        except DamagedFile as error:
            return Reading("incomplete", fault=str(error))
        return Reading(result.status, result)

    def _lost_result(self) -> str | None:
        """Returns that a run has all its epochs and no result; None where epochs are missing.

        So it is for a moment, or where it was killed in that, or where its result was removed.
        """
        card = self.card()
        if card is None or self.epochs() < card.config["schedule"]["epochs"]:
            return None
        return f"{self.path / 'result.json'} is missing, although all epochs are there"

    def _check(self, result: RunResult) -> None:
        """Holds a result against whose it should be, and against the last line of metrics.jsonl."""
        path = self.path / "result.json"
        if result.run_id != self.run_id:
            raise DamagedFile(f"{path} is that of {result.run_id}")
        last = result.at("last")
        if last is None:
            return
        content = self._metrics()
        found = self._records(content, slice(-1, None))
        if not found or (found[0].epoch, found[0].test) != (last.epoch, last.test):
            raise DamagedFile(f"{path} disagrees with the last line of metrics.jsonl")
        metrics = result.files.get("metrics.jsonl")
        if metrics is None or metrics.sha256 != hashlib.sha256(content).hexdigest():
            raise DamagedFile(f"{self.path / 'metrics.jsonl'} is not what its result is of")

    def _check_logits(self, result: RunResult) -> None:
        last = result.at("last")
        if last is None or not checkpoint_path(self.checkpoints, last.epoch).exists():
            return
        for name in (*LOGITS, FEATURES):
            if name in result.files:
                self.vouched(result, name)

    def vouched(self, result: RunResult, name: str) -> bytes:
        """Returns the content of a file that a result vouches for.

        Raises:
            DamagedFile: it is not there, or not what the result is of.
        """
        expected, path = result.files[name], self.path / name
        content = read_bytes(path) or b""
        if (len(content), hashlib.sha256(content).hexdigest()) != (expected.size, expected.sha256):
            raise DamagedFile(f"{path} is not what its result is of")
        return content

    def result(self) -> RunResult | None:
        """Returns the result, or the record of a failure; None where there is none to believe."""
        return self.read().result

    def status(self, *, whole: bool = False) -> Status:
        """Returns whether the run is complete, failed, incomplete, or was never started."""
        return self.read(whole=whole).status

    def is_complete(self, *, whole: bool = False) -> bool:
        """Whether the run's result counts; `whole` as for `read`."""
        return self.status(whole=whole) == "complete"

    def history(self) -> tuple[EpochRecord, ...]:
        """Returns the lines of metrics.jsonl.

        Raises:
            DamagedFile: a line is not one of ours.
        """
        return tuple(self._records(self._metrics(), slice(None)))

    def epochs(self) -> int:
        """Returns how many epochs the run has completed, as far as metrics.jsonl tells."""
        try:
            return len(self._metrics().splitlines())
        except DamagedFile:
            return 0  # training it finds out

    def _metrics(self) -> bytes:
        """Returns metrics.jsonl; of a run without one, nothing."""
        return read_bytes(self.path / "metrics.jsonl") or b""

    def _records(self, content: bytes, part: slice) -> list[EpochRecord]:
        """Reads a part of the lines of metrics.jsonl, whose content is given."""
        path = self.path / "metrics.jsonl"
        lines = _typed(path, lambda: content.decode().splitlines())[part]
        return _typed(path, lambda: [EpochRecord.from_line(line) for line in lines])

    def sessions(self, name: str) -> list[dict[str, Any]]:
        """Returns the sessions that `environment.json` or `timing.json` records, if readable."""
        try:
            values = read_json(self.path / name)
        except DamagedFile:
            return []  # bookkeeping: written anew by the next session
        found = values.get("sessions") if values else None
        return [s for s in found if isinstance(s, dict)] if isinstance(found, list) else []

    def has_begun_like(self, other: "RunFolder") -> bool:
        """Whether another folder's metrics are the first lines of this one's, to the byte."""
        own, begun = (read_bytes(f.path / "metrics.jsonl") for f in (self, other))
        return own is None or own.startswith(begun or b"")


def read_bytes(path: Path) -> bytes | None:
    """Returns a file's content; None where there is no such file.

    Raises:
        DamagedFile: it cannot be read.
    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DamagedFile(f"{path} cannot be read: {error.strerror or error}") from error


def read_json(path: Path) -> dict[str, Any] | None:
    """Returns a JSON object; None where there is no such file.

    Raises:
        DamagedFile: it cannot be read, is empty, or is no JSON object.
    """
    content = read_bytes(path)
    if content is None:
        return None
    try:
        values = parse_json(content)
    except ValueError as error:
        raise DamagedFile(f"{path} is no JSON: {'empty' if not content else error}") from error
    if not isinstance(values, dict):
        raise DamagedFile(f"{path} is not what kdlsr writes there")
    return cast(dict[str, Any], values)


def _check_seal(path: Path, values: Mapping[str, Any]) -> None:
    if not is_sealed(values):
        raise DamagedFile(f"{path} was altered after it was written")


def _typed(path: Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except (UserError, ValueError, TypeError, KeyError, IndexError) as error:
        raise DamagedFile(f"{path} is not what kdlsr writes there: {error}") from error
