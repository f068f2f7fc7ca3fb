"""One writer per run, on one machine or on storage that several share.

The right to write a run's folder is a file `owner.<n>.json` made by exclusive creation, the
highest n being the owner. It is kept alive by a counter that a thread raises; an owner whose
process is gone (same machine), or whose counter stands still (any other), is succeeded by
whoever first creates n+1, which only one can. Numbers are used again once a run has no owner; a
random token tells one ownership from all others. flock is not used: it does not hold on every
shared file system.
"""

import functools
import json
import os
import platform
import random
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from kdlsr.config import LostRun
from kdlsr.files import create_whole, parse_json, remove_files, write_whole

HEARTBEAT_S = 5.0
STALE_S = 60.0  # no heartbeat seen for so long: the owner on another machine is gone
POLL_S = 0.5


@dataclass(frozen=True)
class Holder:
    """Who owns a run: what its owner file says."""

    host: str
    machine: str  # what a pid is counted in: host, boot and PID namespace
    pid: int
    started: str  # the process's start time in the kernel's words: pids are used again
    token: str
    beat: int
    number: int

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class Ownership:
    """The right to write one run's folder, held as a context manager.

    Entering waits for as long as somebody else holds it; `on_wait` is told who that is.
    """

    def __init__(self, folder: Path, on_wait: Callable[[Holder], None]) -> None:
        self._folder = folder
        self._on_wait = on_wait
        self._number = 0
        self._token = secrets.token_hex(16)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Ownership":
        told: Holder | None = None
        watch = _Watch()
        while not self._try():
            holder = current_holder(self._folder)
            if holder and (told is None or told.token != holder.token):
                self._on_wait(holder)
                told = holder
            if holder and watch.is_gone(holder):
                self._try(after=holder.number)
                if self._number:
                    break
            time.sleep(POLL_S * (0.5 + random.random()))
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()
        with suppress(OSError):  # a disk that refuses: that this process is gone tells enough
            self._leave(self._number)

    def check(self) -> None:
        """Verifies that the run is still ours, immediately before anything of it is written.

        Raises:
            LostRun: somebody took it over while this process did not move.
        """
        holder = current_holder(self._folder)
        if not self._is_ours(holder):
            raise LostRun(f"{self._folder.name} was taken over by {holder or 'somebody'}")

    def _is_ours(self, holder: Holder | None) -> bool:
        return holder is not None and holder.token == self._token

    def _try(self, after: int | None = None) -> bool:
        """Creates the next owner file if nobody alive has one; True if it is now ours."""
        seen = _holders(self._folder)
        holder = _highest(seen)
        if after is None and holder is not None and not _has_died(holder):
            return False
        if after is not None and (holder is None or holder.number != after):
            return False
        number = (holder.number if holder else 0) + 1
        if not create_whole(_owner_file(self._folder, number), self._content(0)):
            return False
        others = [h for h in _holders(self._folder) if h.number != number]
        if {h.token for h in others} - {h.token for h in seen}:
            # Two came by different ways at the same moment, or this one slept on the way, and
            # numbers were used again: it steps back and tries again.
            self._leave(number)
            return False
        try:
            remove_files([_owner_file(self._folder, h.number) for h in others], self.check)
        except LostRun:
            return False
        self._number = number
        return True

    def _leave(self, number: int) -> None:
        """Removes the own file, unless its name is another's by now."""

        def still_ours() -> None:
            if all(holder.token != self._token for holder in _holders(self._folder)):
                raise LostRun(self._folder.name)

        with suppress(LostRun):
            remove_files([_owner_file(self._folder, number)], still_ours)

    def _content(self, beat: int) -> str:
        pid = os.getpid()
        record = {
            "host": platform.node(),
            "machine": _machine(),
            "pid": pid,
            "started": _started(pid),
            "token": self._token,
            "beat": beat,
        }
        return json.dumps(record)

    def _beat(self) -> None:
        path = _owner_file(self._folder, self._number)
        beat = 0
        while not self._stop.wait(HEARTBEAT_S):
            beat += 1
            try:
                write_whole(path, self._content(beat), sync=False, guard=self.check)
            except LostRun:
                return  # check() tells whoever writes next
            except OSError:
                continue  # storage that is away for a moment: the next beat may reach it


class _Watch:
    """Tells whether an owner's counter stands still, by this process's own clock."""

    def __init__(self) -> None:
        self._seen: tuple[str, int] | None = None
        self._since = time.monotonic()

    def is_gone(self, holder: Holder) -> bool:
        state = (holder.token, holder.beat)
        if state != self._seen:
            self._seen, self._since = state, time.monotonic()
        return time.monotonic() - self._since > STALE_S


def current_holder(folder: Path) -> Holder | None:
    """Returns who owns the run in `folder`, dead or alive; None if nobody does."""
    return _highest(_holders(folder))


def _highest(holders: Iterable[Holder]) -> Holder | None:
    return max(holders, key=lambda holder: holder.number, default=None)


def living_holder(folder: Path) -> Holder | None:
    """Returns who is writing the run in `folder` now, as far as this machine can tell."""
    holder = current_holder(folder)
    return None if holder is None or _has_died(holder) else holder


def _holders(folder: Path) -> list[Holder]:
    found = []
    for path in folder.glob("owner.*.json"):
        name = re.fullmatch(r"owner\.(\d+)\.json", path.name)
        if not name:
            continue
        try:
            found.append(_holder(parse_json(path.read_text()), int(name.group(1))))
        except FileNotFoundError:
            continue  # released between the listing and the reading
        except (ValueError, TypeError, AttributeError):
            # Being created at this moment, or by one killed in between, on a disk without
            # hard links; or damaged.
            found.append(_holder({}, int(name.group(1))))
    return found


def _holder(content: dict[str, Any], number: int) -> Holder:
    return Holder(
        host=str(content.get("host", "?")),
        machine=str(content.get("machine", "")),
        pid=int(content.get("pid", 0)),
        started=str(content.get("started", "")),
        token=str(content.get("token", f"number {number}")),
        beat=int(content.get("beat", -1)),
        number=number,
    )


def _has_died(holder: Holder) -> bool:
    """Whether the owner ran where this process runs and is gone; never true for elsewhere.

    A machine that was started again since has another boot id: its owners' counters stand still.
    """
    return holder.machine == _machine() and _started(holder.pid) != holder.started


@functools.cache
def _machine() -> str:
    """Returns what tells the processes that /proc shows here from all others'.

    Containers of one host may share its name; their pids mean nothing to each other.
    """
    parts = [platform.node()]
    for read in (_boot_id, _pid_namespace):
        try:
            parts.append(read())
        except OSError:
            parts.append("")  # not Linux, or no /proc: the host's name alone tells
    return "|".join(parts)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _pid_namespace() -> str:
    return str(Path("/proc/self/ns/pid").readlink())


def _started(pid: int) -> str:
    """Returns when process `pid` started, in ticks since boot; "" if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "" if Path("/proc/self/stat").exists() else _is_running(pid)
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]


def _is_running(pid: int) -> str:
    """Without /proc: only whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return "running"
    return "running"


def _owner_file(folder: Path, number: int) -> Path:
    return folder / f"owner.{number}.json"
