"""NVIDIA's MPS for the time of one command: kernels of several processes at once on one GPU.

The daemon has a folder of its own, and no setting of a GPU is touched. Whoever wants it starts a
keeper, which is this module as a process: it starts the daemon, and ends it when its command is
gone, however that went. Nothing that is slow to import may enter.
"""

import ctypes
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from kdlsr.files import opened_log, scratch_folder
from kdlsr.machine.gpus import VISIBLE
from kdlsr.machine.processes import start_python

CONTROL = "nvidia-cuda-mps-control"
START_S = 20.0
QUIT_S = 30  # for processes that are still ending
PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
USUAL_PIPES = Path("/tmp/nvidia-mps")
STARTED = "started"
MODULE = "kdlsr.machine.mps"


class NoMps(Exception):
    """MPS is here and cannot be used; the text says why."""


class Mps:
    """A daemon for some GPUs.

    Raises:
        NoMps: it does not start, or no process can compute under it.
    """

    def __init__(self, gpus: Sequence[str]) -> None:
        self._folder = scratch_folder("mps")
        self._gpus = tuple(gpus)
        pipe = subprocess.PIPE
        visible = {VISIBLE: ",".join(gpus)}
        self._keeper = start_python(
            MODULE,
            [str(self._folder)],
            pipe,
            environment={**self.environment, **visible},
            stdin=pipe,
        )
        told = self._first_line()
        if told != STARTED:
            self.end()
            raise NoMps(told or f"{CONTROL} does not answer")

    @property
    def environment(self) -> Mapping[str, str]:
        """By which a process finds the daemon."""
        return {PIPES: str(self._folder / "pipe"), LOGS: str(self._folder / "log")}

    def as_clients_name(self, gpus: Sequence[str]) -> list[str]:
        """Returns how a process under the daemon names some of its GPUs."""
        return _as_clients_name(gpus, self._gpus)

    def end(self) -> None:
        """Ends the daemon, and waits until it has."""
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.close()
        try:
            self._keeper.wait(2 * QUIT_S)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
        self._keeper.stdout.close()

    def _first_line(self) -> str:
        output = self._keeper.stdout
        assert output is not None
        ready, _, _ = select.select([output], [], [], 2 * START_S)
        return output.readline().decode(errors="replace").strip() if ready else ""


def can_be_started() -> bool:
    """Whether NVIDIA's program is here, and the user has no daemon of their own."""
    own = PIPES in os.environ or (USUAL_PIPES / "control").exists()
    return not own and shutil.which(CONTROL) is not None


def _as_clients_name(gpus: Sequence[str], of: Sequence[str]) -> list[str]:
    """The daemon numbers its GPUs from 0, in its order; a UUID means the same everywhere."""
    return [str(of.index(name)) if name.isdecimal() else name for name in gpus]


def _keep(folder: Path) -> None:
    """Is the keeper: starts the daemon, says so, and ends it when its command is gone."""
    try:
        sys.stdout.write(f"{_start(folder) or STARTED}\n")
        sys.stdin.buffer.read()
    finally:
        subprocess.run(
            [CONTROL],
            input=f"quit -t {QUIT_S}\n".encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=1.5 * QUIT_S,
            check=False,
        )
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path) -> str | None:
    """Starts the daemon; returns why that cannot be, None where it can."""
    for name in (PIPES, LOGS):
        Path(os.environ[name]).mkdir()
    said = folder / "said"
    try:
        with opened_log(said) as output:  # no pipe, which the daemon would hold open
            subprocess.run(
                [CONTROL, "-d"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=START_S,
                check=True,
            )
        probe = [sys.executable, "-P", "-m", MODULE]
        gpus = os.environ[VISIBLE].split(",")
        seen = {**os.environ, VISIBLE: ",".join(_as_clients_name(gpus, gpus))}
        subprocess.run(probe, env=seen, timeout=START_S, check=True, capture_output=True)
    except subprocess.CalledProcessError as error:
        if error.cmd[0] != CONTROL:
            return "no process can use a GPU under it"
        first = next(iter(said.read_text(errors="replace").splitlines()), "")
        return first or f"{CONTROL} ended with {error.returncode}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{CONTROL}: {type(error).__name__}"
    return None


def _can_compute() -> bool:
    """Whether a process gets a context of the first GPU, as the driver has it.

    Without a driver nothing can be asked; who wants to compute will be told.
    """
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return True
    device, context = ctypes.c_int(), ctypes.c_void_p()
    return not (
        cuda.cuInit(0)
        or cuda.cuDeviceGet(ctypes.byref(device), 0)
        or cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _keep(Path(sys.argv[1]))
    else:
        sys.exit(not _can_compute())
