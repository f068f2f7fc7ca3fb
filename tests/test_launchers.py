"""This machine's processes, Ray and Slurm as a user has them: the serial launcher's results."""

import contextlib
import importlib.util
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest
from conftest import TINY, environment, train_command
from jobs_that_misbehave import explode, tell_cores

from kdlsr.config import UserError
from kdlsr.config.overrides import Overrides
from kdlsr.runs.executors import Job, configure_executor
from kdlsr.runs.executors.job import worker_of
from kdlsr.runs.executors.on_submitit import OfSubmitit, SlurmArray
from kdlsr.runs.owner import current_holder, living_holder

TABLE = ["table=quickstart", "profile=smoke", "methods=[kd]", "forms=[as_written]"]
SMALL = [*TABLE, "controls=false", "dataset.subset=256"]
# Runs that take some seconds, in which something can happen to them.
LONG = [*TINY, "precision=fp32", "schedule.epochs=20", "schedule.milestones=[15]"]
WAIT_S = 120


@pytest.fixture(params=["local", "ray"])
def cluster(request: pytest.FixtureRequest) -> list[str]:
    """A launcher's overrides; skipped without its package, unless the environment forbids it."""
    name: str = request.param
    if name == "ray" and importlib.util.find_spec("ray") is None:
        assert not os.environ.get("KDLSR_REQUIRE_LAUNCHERS"), "ray is not installed"
        pytest.skip("ray is not installed (extra: ray)")
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
        # An epoch is in the metrics just before it is in a checkpoint.
        assert sessions[-1]["from_epoch"] >= epochs - 1


@pytest.mark.parametrize(
    ("override", "extra"),
    [
        ("hydra/launcher=ray", "ray"),
        ("+cluster=ray", "ray"),
        ("hydra/launcher=submitit_slurm", "slurm"),
        ("+cluster=slurm", "slurm"),
    ],
)
def test_a_launcher_that_is_not_installed_says_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, override: str, extra: str
) -> None:
    monkeypatch.setattr("kdlsr.runs.executors.choice.importlib.util.find_spec", lambda name: None)
    told = rf"^hydra/launcher={extra}.*: not installed; pip install 'kdlsr\[{extra}\]'$"
    with pytest.raises(UserError, match=told.replace("=slurm", "=submitit_")):
        configure_executor(Overrides.parse(["dataset=digits", override]))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["hydra/launcher=joblib"], "joblib: no such option; known: basic, local, ray, submitit"),
        (["hydra.launcher={kind:joblib}"], "none of kdlsr's; known: basic, local, submitit_slurm"),
        (["+hydra.launcher.n_jobs=2"], "unknown key hydra.launcher.n_jobs; basic has no settings"),
        (["+cluster=local", "hydra.launcher.timeout_min=0"], "timeout_min=0 is not possible"),
        (["+cluster=local", "+hydra.launcher.qos=x"], "unknown key hydra.launcher.qos"),
        (["+cluster=local", "hydra.launcher.jobs_per_gpu=0"], "jobs_per_gpu=0 is not possible"),
        (["+cluster=local", "device=cuda:1"], "each run sees its own GPU as cuda:0"),
        (["hydra/launcher=submitit_local", "hydra.launcher.nodes=2"], "hydra.launcher.nodes"),
        (["+cluster=slurm", "hydra.launcher.partion=x"], "hydra.launcher.partion"),
        (["+cluster=ray", "+hydra.launcher.ray.remote.num_cpu=1"], "nearest: num_cpus"),
    ],
)
def test_what_no_executor_of_ours_has_is_refused_in_one_line(
    overrides: list[str], message: str
) -> None:
    with pytest.raises(UserError) as refused:
        configure_executor(Overrides.parse(overrides))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_slurm_is_told_what_the_config_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """submitit's own names for it; nothing is submitted."""
    submitit = pytest.importorskip("submitit")
    told = ["partition=gpu", "gres=gpu:1", "setup=[module load cuda]", "max_num_timeout=7"]
    chosen = ["+cluster=slurm", f"output_dir={tmp_path}", *(f"hydra.launcher.{o}" for o in told)]
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="no srun here"):
        configure_executor(Overrides.parse(chosen))
    monkeypatch.setattr("shutil.which", lambda name: name)
    array = configure_executor(Overrides.parse(chosen))
    assert isinstance(array, SlurmArray)
    with patch.object(submitit, "AutoExecutor") as executor:
        executor.return_value.map_array.return_value = []
        array.run(print, [])
    folder = f"{tmp_path}/hydra/submitit/%j"
    executor.assert_called_once_with(folder, cluster="slurm", slurm_max_num_timeout=7)
    parameters = executor.return_value.update_parameters.call_args.kwargs
    assert (
        parameters.items()
        >= {
            "name": "kdlsr",
            "cpus_per_task": 4,
            "slurm_partition": "gpu",
            "slurm_gres": "gpu:1",
            "slurm_setup": ["module load cuda"],
            "slurm_array_parallelism": 64,
        }.items()
    )
    accepted = {"name", "nodes", "tasks_per_node", "cpus_per_task", "gpus_per_node", "mem_gb"}
    accepted |= {"timeout_min", "stderr_to_stdout"}
    assert all(name in accepted or name.startswith("slurm_") for name in parameters)


def test_a_job_that_is_queued_again_is_the_same_job() -> None:
    pytest.importorskip("submitit")
    job = Job(Overrides.parse(["seed=1"]), keep_epochs=(2,), until=3, only_teaches=True)
    call = OfSubmitit(worker_of(print, 2))
    delayed = pickle.loads(pickle.dumps(call)).checkpoint(pickle.loads(pickle.dumps(job)))
    assert (delayed.function, delayed.args) == (call, (job,))


@pytest.mark.parametrize("overrides", [[], ["+cluster=local"], ["hydra/launcher=submitit_local"]])
def test_the_reason_of_a_failure_is_never_lost(tmp_path: Path, overrides: list[str]) -> None:
    given = Overrides.parse([*overrides, f"output_dir={tmp_path}"])
    jobs = [Job(Overrides.parse([f"seed={seed}"])) for seed in (0, 1)]
    with contextlib.closing(configure_executor(given)) as executor:
        crashes = executor.run(explode, jobs)
    assert [crash.job for crash in sorted(crashes, key=str)] == jobs
    assert all("No space left on device" in str(crash) for crash in crashes)
    assert "(the job seed=0)" in str(min(crashes, key=str))


def test_a_job_knows_its_cores_and_where_the_command_was_typed(tmp_path: Path) -> None:
    given = ["+cluster=local", f"output_dir={tmp_path}/outputs", "hydra.launcher.cpus_per_task=2"]
    executor = configure_executor(Overrides.parse(given))
    with contextlib.chdir(tmp_path), contextlib.closing(executor):
        assert executor.run(tell_cores, [Job(Overrides.parse(["seed=3"]))]) == []
    assert (tmp_path / "cores-3").read_text() == "2"
