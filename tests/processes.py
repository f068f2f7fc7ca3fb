"""Commands of kdlsr as processes that need not import torch again: forked from one that has.

A process of its own, with its own current folder, environment, output, signals and exit status,
as `python -m kdlsr.train` makes one, two seconds sooner. What a start itself imports, and what
a distribution beside this one brings, is tested by starting Python.
"""

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

# What a run imports while it runs; a name that is not there costs time only.
PRELOADED = ["torch", "torch._dynamo", "timm.optim", "rich.table", "kdlsr.train"]
PRELOADED += ["kdlsr.reproduce", "kdlsr.runs.execute", "kdlsr.runs.sweep", "kdlsr.data.digits"]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(PRELOADED)


def _command(
    module: str, arguments: list[str], folder: Path, environment: Mapping[str, str], output: Path
) -> NoReturn:
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(output / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    importlib.import_module(module).main()
    raise SystemExit(0)


class Command:
    """A command that was started; what is used of `subprocess.Popen`."""

    def __init__(
        self, module: str, arguments: list[str], folder: Path, environment: Mapping[str, str]
    ) -> None:
        self.output = Path(tempfile.mkdtemp(prefix="output-", dir=Path.cwd().parent))
        self.args = [module, *arguments]
        given = (module, arguments, folder, dict(environment), self.output)
        self._process = _context.Process(target=_command, args=given)
        self._process.start()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            self._process.kill()
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        stdout, stderr = (self.output / name for name in ("stdout", "stderr"))
        return stdout.read_text(), stderr.read_text()


def run(
    module: str,
    arguments: list[str],
    folder: Path,
    environment: Mapping[str, str],
    timeout: float = 240,
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end; raises as `subprocess.run` does if it takes too long."""
    command = Command(module, arguments, folder, environment)
    stdout, stderr = command.communicate(timeout)
    assert command.returncode is not None
    return subprocess.CompletedProcess(command.args, command.returncode, stdout, stderr)
