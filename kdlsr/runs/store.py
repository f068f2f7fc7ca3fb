"""The files of a run, `outputs/runs/<run_id>/`: written atomically, read strictly."""

import io
import json
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import yaml

from kdlsr.files import remove_abandoned, write_json, write_whole
from kdlsr.training.checkpoint import checkpoint_path
from kdlsr.training.record import EpochRecord

SCHEMA = 1
Status = Literal["complete", "failed", "incomplete", "not started"]
Result = dict[str, Any]


@dataclass(frozen=True)
class RunFolder:
    """`outputs/runs/<run_id>/`."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """The newest two checkpoints and the best ones."""
        return self.path / "checkpoints"

    @property
    def kept(self) -> Path:
        """Checkpoints that are kept for good, because a teacher is one of these epochs."""
        return self.checkpoints / "kept"

    def result(self) -> Result | None:
        """Returns result.json, or None where the run has none (yet)."""
        try:
            result = json.loads((self.path / "result.json").read_text())
        except FileNotFoundError:
            return None
        return cast(Result, result)

    def status(self) -> Status:
        """Whether the run is complete, failed, incomplete, or was never started."""
        result = self.result()
        if result is not None:
            return cast(Status, result["status"])
        return "incomplete" if self.path.exists() else "not started"

    def is_complete(self) -> bool:
        """Whether the run's result counts."""
        return self.status() == "complete"

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Writes config.yaml, the resolved config."""
        text = yaml.safe_dump(dict(config), sort_keys=False, default_flow_style=None)
        write_whole(self.path / "config.yaml", text)

    def write_metrics(self, history: Iterable[EpochRecord]) -> None:
        """Writes metrics.jsonl, a line per epoch."""
        write_whole(self.path / "metrics.jsonl", "".join(r.to_line() for r in history))

    def write_test_logits(self, logits: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> None:
        """Writes test_logits.npz: the last epoch's, float32 (N, K), and labels int64 (N,)."""
        content = io.BytesIO()  # in memory: a zip archive is not written in order
        np.savez(content, logits=logits, labels=labels)
        write_whole(self.path / "test_logits.npz", content.getvalue())

    def write_result(self, result: Result) -> None:
        """Writes result.json, which makes the run complete."""
        write_json(self.path / "result.json", result)

    def write_failure(self, run_id: str, cell_id: str, error: BaseException) -> None:
        """Marks the run failed, with the reason; a traceback goes into error.txt."""
        write_whole(self.path / "error.txt", "".join(traceback.format_exception(error)))
        reason = str(error).strip() or type(error).__name__
        self.write_result(
            {
                "schema": SCHEMA,
                "run_id": run_id,
                "cell_id": cell_id,
                "status": "failed",
                "error": reason.splitlines()[0],
            }
        )

    def clear_failure(self) -> None:
        """Forgets an earlier failure: the run is tried again."""
        (self.path / "result.json").unlink(missing_ok=True)
        (self.path / "error.txt").unlink(missing_ok=True)

    def remove_abandoned(self) -> None:
        """Removes temporary files of earlier writers that were killed."""
        for folder in (self.path, self.checkpoints, self.kept):
            remove_abandoned(folder)

    def record_environment(self, environment: Mapping[str, Any]) -> bool:
        """Adds this session's environment; returns whether all so far promise the same bits."""
        path = self.path / "environment.json"
        sessions: list[Any] = json.loads(path.read_text())["sessions"] if path.exists() else []
        if dict(environment) not in sessions:
            sessions.append(dict(environment))
            write_json(path, {**sessions[0], "sessions": sessions})
        decisive = {tuple(s[key] for key in ("device_type", "threads", "torch")) for s in sessions}
        return len(decisive) == 1


@dataclass(frozen=True)
class Store:
    """All runs below one output folder."""

    root: Path

    def run(self, run_id: str) -> RunFolder:
        """Returns a run's folder, which need not exist."""
        return RunFolder(self.root / "runs" / run_id)

    def replay(self, run_id: str) -> RunFolder:
        """Returns where epochs that a complete run did not keep are made again."""
        return RunFolder(self.root / "replays" / run_id)

    def find_checkpoint(self, run_id: str, epoch: int) -> Path | None:
        """Returns a run's checkpoint after `epoch`, kept, recent, best or replayed."""
        run, replay = self.run(run_id), self.replay(run_id)
        for folder in (run.kept, run.checkpoints, replay.kept):
            path = checkpoint_path(folder, epoch)
            if path.exists():
                return path
        return None
