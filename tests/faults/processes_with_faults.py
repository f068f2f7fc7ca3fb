"""Commands of kdlsr in processes of their own, with a fault waiting for each.

One process imports torch and kdlsr once, under the preloaded `shim.c`, and forks every command:
a trial costs its training, not its imports. Faults are injected for real, by a library between
libc and Python: an error that the kernel would give, a SIGKILL or SIGSTOP at the n-th change
below a folder. Without a C compiler there is no shim, and what needs it is skipped.
"""

import ctypes
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
STALE_S, POLL_S = 0.5, 0.02  # so that a stopped owner is succeeded within a trial
# What commands import while they run.
PRELOADED = ["torch", "torch._dynamo", "torch.utils.serialization", "torchmetrics", "matplotlib"]
PRELOADED += ["timm.optim", "rich.table", "rich.progress", "kdlsr.train"]
PRELOADED += ["kdlsr.reproduce", "kdlsr.report", "kdlsr.why", "kdlsr.runs.execute"]
PRELOADED += ["kdlsr.runs.sweep", "kdlsr.data.digits", "kdlsr.tables.launching"]
PRELOADED += ["kdlsr.reporting.any_runs.report", "kdlsr.reporting.write", "kdlsr.reporting.page"]
PRELOADED += ["kdlsr.reporting.table_report", "kdlsr.reporting.figures", "hydra.core.plugins"]


class Action(IntEnum):
    """What happens at the n-th change."""

    NOTHING = 0
    KILL = 1  # before it
    KILL_AFTER = 2
    TEAR = 3  # half of it is written, then SIGKILL
    STOP = 4  # SIGSTOP before it
    REFUSE = 5  # this one and all after it
    REFUSE_ONCE = 6


class Change(IntFlag):
    """Kinds of changes, as `shim.c` numbers them."""

    OPEN = 1
    WRITE = 2
    FSYNC = 4
    RENAME = 8
    LINK = 16
    UNLINK = 32
    MKDIR = 64
    RMDIR = 128
    READ = 256


ADDS = Change.OPEN | Change.WRITE | Change.FSYNC | Change.RENAME | Change.LINK | Change.MKDIR
CHANGES = ADDS | Change.UNLINK | Change.RMDIR
VISIBLE = Change.RENAME | Change.LINK | Change.UNLINK | Change.RMDIR
ALL = CHANGES | Change.READ


@dataclass(frozen=True)
class Fault:
    """What is to happen in a process: `action` at the `nth` of its `changes`, counted from 1.

    Attributes:
        error: with which a change is refused.
        only: counts changes of paths alone that have this in them.
    """

    action: Action = Action.NOTHING
    changes: Change = CHANGES
    nth: int = 0
    error: int = 0
    only: str = ""


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (negative: the signal), and what it said."""

    code: int
    stdout: str
    stderr: str
    changes: int  # how many of the fault's kind it made, if it came to its end

    @property
    def has_traceback(self) -> bool:
        return "Traceback (most recent" in self.stdout + self.stderr


class Running:
    """A command that was started."""

    def __init__(self, starter: "Starter", pid: int, output: Path) -> None:
        self.pid = pid
        self._starter = starter
        self._output = output
        self._handle = os.pidfd_open(pid)
        self._ended: Ended | None = None

    def wait(self, timeout: float = 120) -> Ended:
        """Waits for its end; one that takes too long is killed, which is an error."""
        if self._ended is None:
            if not select.select([self._handle], [], [], timeout)[0]:
                os.kill(self.pid, signal.SIGKILL)
                raise TimeoutError(f"after {timeout} s: {self._said('stdout')}")
            os.close(self._handle)
            code = self._starter.ask(wait=self.pid)
            changes = self._said("changes")
            said = self._said("stdout"), self._said("stderr")
            self._ended = Ended(code, *said, int(changes or 0))
            shutil.rmtree(self._output)
        return self._ended

    def has_ended(self, within: float = 0) -> bool:
        return self._ended is not None or bool(select.select([self._handle], [], [], within)[0])

    def send(self, number: signal.Signals) -> None:
        if not self.has_ended():
            os.kill(self.pid, number)

    def is_stopped(self, timeout: float = 120) -> bool:
        """Waits until it was stopped (True) or has ended (False)."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            if self.has_ended(0.002):
                return False
            if Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
                return True
        raise TimeoutError

    def _said(self, name: str) -> str:
        path = self._output / name
        return path.read_text(errors="replace") if path.exists() else ""


class Starter:
    """Starts commands; a context manager."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="kdlsr-faults-"))
        self.has_shim = self._compile()
        self._lock = threading.Lock()

    def _compile(self) -> bool:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None or not sys.platform.startswith("linux"):
            return False
        made = [compiler, "-shared", "-fPIC", "-O1", "-o", str(self.folder / "shim.so")]
        return not subprocess.run([*made, str(HERE / "shim.c"), "-ldl"], check=False).returncode

    def __enter__(self) -> "Starter":
        ours, theirs = socket.socketpair()
        environment = os.environ | {
            "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{HERE}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if self.has_shim:
            environment["LD_PRELOAD"] = str(self.folder / "shim.so")
        command = [sys.executable, str(HERE / "processes_with_faults.py"), str(theirs.fileno())]
        self._process = subprocess.Popen(
            command, env=environment, pass_fds=[theirs.fileno()], cwd=self.folder
        )
        theirs.close()
        self._socket = ours.makefile("rw")
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, **request: Any) -> Any:
        with self._lock:
            self._socket.write(json.dumps(request) + "\n")
            self._socket.flush()
            return json.loads(self._socket.readline())

    def start(
        self,
        folder: Path,
        module: str,
        *arguments: str,
        fault: Fault | None = None,
        journal: Path | None = None,
        beat_s: float = 5.0,
    ) -> Running:
        """Starts `python -m <module> <arguments>` in a folder, whose `outputs/` is watched."""
        output = Path(tempfile.mkdtemp(prefix="command-", dir=self.folder))
        pid = self.ask(
            module=module,
            arguments=list(arguments),
            folder=str(folder.resolve()),
            output=str(output),
            beat_s=beat_s,
            fault=asdict(fault or Fault()),
            journal=str(journal or ""),
        )
        return Running(self, pid, output)

    def run(self, folder: Path, module: str, *arguments: str, **more: Any) -> Ended:
        return self.start(folder, module, *arguments, **more).wait()


# ---------------------------------------------------------------- in the process that forks


def _serve(descriptor: int) -> None:
    import importlib

    import torch

    torch.set_num_threads(1)
    for name in PRELOADED:
        with suppress(ModuleNotFoundError):  # one that is not there costs time only
            importlib.import_module(name)
    ours = socket.socket(fileno=descriptor)
    requests = ours.makefile("rw")
    for line in requests:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                ours.detach()
                _become(**request)
        requests.write(json.dumps(answer) + "\n")
        requests.flush()


def _become(
    module: str,
    arguments: list[str],
    folder: str,
    output: str,
    beat_s: float,
    fault: dict[str, Any],
    journal: str,
) -> None:
    import importlib

    from kdlsr.runs import owner

    owner.HEARTBEAT_S, owner.STALE_S, owner.POLL_S = beat_s, STALE_S, POLL_S
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"{output}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.chdir(folder)
    os.environ["COLUMNS"] = "200"
    os.environ.pop("LD_PRELOAD", None)
    sys.argv = [module, *arguments]
    shim = ctypes.CDLL(None) if hasattr(ctypes.CDLL(None), "fault_set") else None
    if shim is not None:
        log = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if journal else -1
        shim.fault_set(
            f"{folder}/outputs".encode(),
            fault["only"].encode(),
            fault["action"],
            fault["changes"],
            ctypes.c_long(fault["nth"]),
            fault["error"],
            log,
        )
    code = 1
    try:
        importlib.import_module(module).main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        if shim is not None:
            shim.fault_count.restype = ctypes.c_long
            Path(output, "changes").write_text(str(shim.fault_count()))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
