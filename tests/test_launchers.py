"""Ray and submitit as a user has them: the serial launcher's results, whatever dies."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import TINY, environment, train_command
from hydra.core.global_hydra import GlobalHydra

from kdlsr.config import UserError
from kdlsr.runs.launch import _is_installed, configure_launcher
from kdlsr.runs.launchers import _gpus_of
from kdlsr.runs.owner import current_holder, living_holder

PLUGINS = {"ray": "hydra_ray_launcher", "local": "hydra_submitit_launcher"}
TABLE = ["table=quickstart", "profile=smoke", "methods=[kd]", "forms=[as_written]"]
SMALL = [*TABLE, "controls=false", "dataset.subset=256"]
# Runs that take some seconds, in which something can happen to them.
LONG = [*TINY, "precision=fp32", "schedule.epochs=20", "schedule.milestones=[15]"]
WAIT_S = 120


@pytest.fixture(params=["local", "ray"])
def cluster(request: pytest.FixtureRequest) -> list[str]:
    """A launcher's overrides; skipped without its plugin, unless the environment forbids it."""
    name: str = request.param
    if not _is_installed(PLUGINS[name]):
        assert not os.environ.get("KDLSR_REQUIRE_LAUNCHERS"), f"{PLUGINS[name]} is not installed"
        pytest.skip(f"{PLUGINS[name]} is not installed (extras: ray, slurm)")
    # Two runs at once, on a Ray of their own, on any machine.
    own = ["hydra.launcher.ray.init.address=local", "hydra.launcher.ray.init.num_cpus=2"]
    return [f"+cluster={name}", *(own if name == "ray" else [])]


def _reproduce(folder: Path, *overrides: str) -> dict[str, bytes]:
    """Runs the small table in `folder` and returns what must not depend on the launcher."""
    folder.mkdir()
    command = [sys.executable, "-m", "kdlsr.reproduce", *SMALL, *overrides]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    files = [*folder.rglob("result.json"), *folder.rglob("report.json")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return _reproduce(tmp_path_factory.mktemp("serial") / "table")


def test_a_table_is_byte_for_byte_the_serial_launchers(
    serial: dict[str, bytes], tmp_path: Path, cluster: list[str]
) -> None:
    assert sum(name.endswith("report.json") for name in serial) == 1
    assert sum(name.endswith("result.json") for name in serial) >= 3
    assert _reproduce(tmp_path / "table", *cluster) == serial


def _until(found: Callable[[], list[Path]]) -> list[Path]:
    deadline = time.monotonic() + WAIT_S
    while not (what := found()):
        assert time.monotonic() < deadline, "waited for too long"
        time.sleep(0.05)
    return what


def _running(folder: Path) -> list[Path]:
    """The runs that have completed an epoch and go on."""
    begun = (path.parent for path in folder.glob("outputs/runs/*/metrics.jsonl"))
    return [run for run in begun if living_holder(run) and not (run / "result.json").exists()]


def _start(folder: Path, command: list[str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=pipe, stderr=pipe, text=True
    )


def test_a_killed_and_a_failed_run_leave_the_others_right(
    tmp_path: Path, cluster: list[str]
) -> None:
    command = train_command("-m", *LONG, "schedule.lr=1e30,0.1,0.05", *cluster)
    with _start(tmp_path, command) as process:
        killed = _until(lambda: _running(tmp_path))[0]
        holder = current_holder(killed)
        assert holder is not None
        os.kill(holder.pid, signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1, stderr
    assert "a job's process died" in stdout
    assert "the loss is not finite at step" in stdout
    assert "2 of 3 runs are not complete" in stdout
    statuses = [json.loads(p.read_text())["status"] for p in tmp_path.rglob("result.json")]
    assert sorted(statuses) == ["complete", "failed"]
    assert not (killed / "result.json").exists()


def test_sigterm_ends_all_that_runs_and_the_same_command_goes_on(
    tmp_path: Path, cluster: list[str]
) -> None:
    command = train_command("-m", *LONG, "loss=ce,lsr", *cluster)
    with _start(tmp_path, command) as process:
        runs = _until(lambda: _running(tmp_path))
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=WAIT_S)
    assert process.returncode == 143
    assert stderr == (
        "kdlsr: interrupted; the same command goes on after the last completed epoch\n"
    )
    assert not any(living_holder(run) for run in tmp_path.glob("outputs/runs/*"))
    made = {run: len((run / "metrics.jsonl").read_text().splitlines()) for run in runs}
    again = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stdout + again.stderr
    for run, epochs in made.items():
        sessions = json.loads((run / "timing.json").read_text())["sessions"]
        assert sessions[-1]["from_epoch"] >= epochs


@pytest.mark.parametrize(
    ("override", "extra"),
    [
        ("hydra/launcher=ray", "ray"),
        ("+cluster=ray", "ray"),
        ("hydra/launcher=submitit_local", "slurm"),
        ("+cluster=slurm", "slurm"),
    ],
)
def test_a_launcher_that_is_not_installed_says_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, override: str, extra: str
) -> None:
    monkeypatch.setattr("kdlsr.runs.launch.importlib.util.find_spec", lambda name: None)
    told = rf"^hydra/launcher={extra}.*: not installed; pip install 'kdlsr\[{extra}\]'$"
    try:
        with pytest.raises(UserError, match=told.replace("=slurm", "=submitit_")):
            configure_launcher(["dataset=digits", override], "train")
    finally:
        GlobalHydra.instance().clear()


@pytest.mark.parametrize(
    ("visible", "asked", "seen"),
    [
        ("2,3", None, [(2,), (3,), (2,)]),
        ("2,3", 2, [(2, 3), (2, 3), (2, 3)]),
        ("0,1,2,3", 2, [(0, 1), (2, 3), (0, 1)]),
        ("5", 4, [(5,), (5,), (5,)]),
    ],
)
def test_local_jobs_take_the_visible_gpus_in_turn(
    monkeypatch: pytest.MonkeyPatch, visible: str, asked: int | None, seen: list[tuple[int, ...]]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    launcher = SimpleNamespace(params={"gpus_per_node": asked})
    assert [_gpus_of(launcher, place)["visible_gpus"] for place in range(3)] == seen
