"""The one writer of a run's files: each seen whole or not at all, and only while the run is ours.

Every write asks, immediately before it becomes visible, whether this process still owns the run.
"""

import dataclasses
import io
import logging
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kdlsr.config.errors import in_a_line
from kdlsr.files import file_digest, remove_abandoned, remove_files, write_json, write_whole
from kdlsr.runs.card import RunCard
from kdlsr.runs.features import KeptFeatures
from kdlsr.runs.folder import FEATURES, LOGITS, RunFolder
from kdlsr.runs.identity import canonical, sealed
from kdlsr.runs.owner import Ownership
from kdlsr.runs.result import RunResult, Vouched
from kdlsr.training.checkpoint import (
    checkpoint_path,
    prune,
    remove_checkpoints,
    write_checkpoint,
)
from kdlsr.training.record import EpochRecord

logger = logging.getLogger("kdlsr")

VOUCHED = ("metrics.jsonl", *LOGITS, FEATURES)  # by result.json
# In which two sessions of a run must agree for the same bits to be promised.
DECISIVE = ("device_type", "threads", "torch", "tokenizers", "transformers")


@dataclass(frozen=True)
class RunWriter:
    """Writes into a run's folder; every method may raise `LostRun`.

    Attributes:
        folder: whose files are written.
        owner: of the folder.
    """

    folder: RunFolder
    owner: Ownership

    def card(self, card: RunCard) -> None:
        """Writes run.json, and config.yaml for people to read."""
        self._text("config.yaml", card.config_text())
        self._json("run.json", sealed(card.to_json()))

    def metrics(self, history: Sequence[EpochRecord]) -> None:
        """Writes metrics.jsonl, a line per epoch."""
        self._text("metrics.jsonl", "".join(record.to_line() for record in history))

    def checkpoint(self, state: Mapping[str, Any], epoch: int, *, keep: bool) -> None:
        """Writes the checkpoint after `epoch`; the copy that is kept for good comes first.

        Killed in between, the run makes this epoch, and so that copy, once more.
        """
        folders = [*([self.folder.kept] if keep else []), self.folder.checkpoints]
        for folder in folders:
            write_checkpoint(checkpoint_path(folder, epoch), state, guard=self.owner.check)

    def prune_checkpoints(self, best: set[int]) -> None:
        """Removes all checkpoints but the newest generations, the best, and those kept for good."""
        prune(self.folder.checkpoints, best, self.owner.check)

    def remove_checkpoint(self, path: Path) -> None:
        """Removes a checkpoint that is of no use."""
        remove_checkpoints([path], self.owner.check)

    def test_logits(self, logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> None:
        """Writes test_logits.npz: the last epoch's, float32 (N, K), and labels int64 (N,)."""
        self._logits("test_logits.npz", logits, labels)

    def val_logits(self, logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> None:
        """Writes val_logits.npz, of the samples held out of training, likewise."""
        self._logits("val_logits.npz", logits, labels)

    def test_features(self, found: KeptFeatures) -> None:
        """Writes test_features.npz: the last epoch's."""
        content = io.BytesIO()
        np.savez(content, features=found.features, weight=found.weight, bias=found.bias,
                 labels=found.labels)  # fmt: skip
        self._bytes(FEATURES, content.getvalue())

    def _logits(
        self, name: str, logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]
    ) -> None:
        content = io.BytesIO()
        np.savez(content, logits=logits, labels=labels)
        self._bytes(name, content.getvalue())

    def _bytes(self, name: str, content: bytes) -> None:
        write_whole(self.folder.path / name, content, guard=self.owner.check)

    def result(self, result: RunResult) -> None:
        """Writes result.json, which makes the run complete."""
        paths = (self.folder.path / name for name in VOUCHED)
        files = {
            path.name: Vouched(sha256=file_digest(path), size=path.stat().st_size)
            for path in paths
            if result.status == "complete" and path.exists()
        }
        self._json("result.json", sealed(dataclasses.replace(result, files=files).to_json()))

    def failure(self, cell_id: str, error: BaseException) -> None:
        """Marks the run failed, with the reason; a traceback goes into error.txt.

        A disk that takes neither is no other reason: what is raised stays what went wrong first.
        """
        reason = in_a_line(error)
        run_id = self.folder.run_id
        try:
            self._text("error.txt", "".join(traceback.format_exception(error)))
            self.result(RunResult(run_id=run_id, cell_id=cell_id, status="failed", error=reason))
        except OSError as refusal:
            logger.warning("%s: the failure is not recorded: %s", run_id, refusal.strerror)

    def clear_failure(self) -> None:
        """Forgets an earlier end that does not count: the run is tried again."""
        files = [self.folder.path / name for name in ("result.json", "error.txt")]
        remove_files(files, self.owner.check)

    def remove_abandoned(self) -> None:
        """Removes what earlier writers of this run left under temporary names.

        One of them may only be asleep: with its files it loses the power to give them names.
        So this comes before anything of the run is read.
        """
        self.owner.check()
        for folder in (self.folder.path, self.folder.checkpoints, self.folder.kept):
            remove_abandoned(folder, 0, guard=self.owner.check)

    def environment(self, environment: Mapping[str, Any]) -> bool:
        """Adds this session's environment; returns whether all so far promise the same bits."""
        sessions = self.folder.sessions("environment.json")
        if dict(environment) not in sessions:
            sessions.append(dict(environment))
            self._bookkeeping("environment.json", {**sessions[0], "sessions": sessions})
        return len({canonical([s.get(key) for key in DECISIVE]) for s in sessions}) == 1

    def times(self, times: Mapping[str, Any]) -> None:
        """Adds a session's times to timing.json, which no comparison of runs reads."""
        sessions = [*self.folder.sessions("timing.json"), dict(times)]
        self._bookkeeping("timing.json", {"sessions": sessions})

    def _bookkeeping(self, name: str, value: Any) -> None:
        """Writes what no number of the run depends on, and whose loss is no failure of it."""
        try:
            self._json(name, value)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            logger.warning("%s is not written: %s", self.folder.path / name, reason)

    def _text(self, name: str, text: str) -> None:
        write_whole(self.folder.path / name, text, guard=self.owner.check)

    def _json(self, name: str, value: Any) -> None:
        write_json(self.folder.path / name, value, guard=self.owner.check)
