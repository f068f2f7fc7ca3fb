"""Reads W&B's offline logs back, without wandb's own reader: what was really logged.

A log is LevelDB's log format after a 7-byte header: blocks of 32 KiB that hold chunks, each
with a CRC (4 bytes), a length (2), a type (1) and data; its records are protocol buffers.
"""

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HEADER, BLOCK, CHUNK_HEADER = 7, 32768, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class LoggedRun:
    """What one offline log says.

    `exit_code` is None where the run was not closed; `started` is in ns since 1970.
    """

    run_id: str = ""
    name: str = ""
    group: str = ""
    job_type: str = ""
    sweep_id: str = ""
    entity: str = ""
    project: str = ""
    tags: list[str] = field(default_factory=list)
    notes: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    started: int = 0


def read_closed_runs(folder: Path, count: int, seconds: float = 20) -> list[LoggedRun]:
    """Reads the `count` offline logs below `folder`, the first written first.

    W&B's own process writes the last records after a run's `finish()` has returned, so this
    waits until the end of each is on disk.
    """
    until = time.monotonic() + seconds
    while True:
        runs = [read_log(file) for file in sorted(folder.rglob("*.wandb"))]
        if len(runs) == count and all(run.exit_code is not None for run in runs):
            return sorted(runs, key=lambda run: (run.started, run.run_id))
        if time.monotonic() > until:
            raise TimeoutError(f"not {count} closed logs below {folder}: {runs}")
        time.sleep(0.02)


def read_log(file: Path) -> LoggedRun:
    """Reads one log, as far as it was written."""
    from wandb.proto.wandb_internal_pb2 import Record

    logged = LoggedRun()
    for data in _records(file.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            _take_run(logged, record.run)
        elif kind == "config":
            logged.config |= _items(record.config.update)
        elif kind == "history":
            logged.history.append(_items(record.history.item))
        elif kind == "summary":
            logged.summary |= _items(record.summary.update)
        elif kind == "exit":
            logged.exit_code = record.exit.exit_code
    return logged


def _take_run(logged: LoggedRun, run: Any) -> None:
    logged.run_id, logged.name, logged.group = run.run_id, run.display_name, run.run_group
    logged.job_type, logged.project = run.job_type, run.project
    logged.sweep_id, logged.entity = run.sweep_id, run.entity
    logged.tags, logged.notes = list(run.tags), run.notes
    logged.config |= _items(run.config.update)
    logged.started = run.start_time.ToNanoseconds()


def _items(items: Any) -> dict[str, Any]:
    """Returns key -> value without wandb's own keys, except the step."""
    pairs = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items}
    return {key: value for key, value in pairs.items() if key == "_step" or key[:1] != "_"}


def _records(log: bytes) -> Iterator[bytes]:
    position, parts = HEADER, b""
    while position + CHUNK_HEADER <= len(log):
        left_in_block = BLOCK - position % BLOCK
        if left_in_block < CHUNK_HEADER:
            position += left_in_block
            continue
        length, kind = struct.unpack("<HB", log[position + 4 : position + CHUNK_HEADER])
        start = position + CHUNK_HEADER
        position = start + length
        if kind not in (FULL, FIRST, MIDDLE, LAST) or position > len(log):
            return
        parts = log[start:position] if kind in (FULL, FIRST) else parts + log[start:position]
        if kind in (FULL, LAST):
            yield parts
