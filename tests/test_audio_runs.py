"""Runs on sounds: killed and resumed to the same bytes, taught by stored outputs, told of files."""

import signal
import time
from pathlib import Path

import numpy as np
import processes
import pytest
from conftest import Command, RecordingWatcher, environment
from made_sounds import SMALL_OVERRIDES, make_beeps, make_gtzan

from kdlsr.config import UserError
from kdlsr.config.compose import compose_config
from kdlsr.config.schema import read_config
from kdlsr.runs.execute import complete_run, store_of
from kdlsr.runs.plan import Run, plan_run
from kdlsr.runs.session import Session
from kdlsr.teachers.outputs import list_outputs

PROMISED = ("metrics.jsonl", "result.json", "test_logits.npz", "checkpoints/epoch-0004.pt")
AUDIO = ["dataset=audio_folder", *SMALL_OVERRIDES, "model=resnet8", "model.width=4"]
AUDIO += ["dataset.views=audio", "schedule=quick", "schedule.batch_size=16", "precision=fp32"]
AUDIO += ["schedule.epochs=4", "schedule.milestones=[2,3]", "threads=1"]
TAUGHT = [*AUDIO, "loss=kd", "teacher=self"]


@pytest.fixture
def beeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KDLSR_DATA", str(tmp_path / "data"))
    return make_beeps(tmp_path / "beeps", train=24, test=4)


def _run(root: Path, *overrides: str) -> Run:
    return plan_run(read_config(compose_config([*overrides, f"dataset.root={root}"])))


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path, beeps: Path) -> None:
    """A student, that is: its teacher's run is complete, and some of its outputs are stored."""
    command = [*TAUGHT, f"dataset.root={beeps}"]
    process = processes.Command("kdlsr.train", command, tmp_path, environment())
    until = time.monotonic() + 60
    while not list(tmp_path.glob("outputs/runs/*-kd-*/checkpoints/epoch-0001.pt")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    last = processes.Command("kdlsr.train", command, tmp_path, environment())
    assert "goes on after epoch" in last.communicate()[0]
    assert last.returncode == 0
    undisturbed = tmp_path / "undisturbed"
    complete_run(_run(beeps, *TAUGHT, f"output_dir={undisturbed}"), Session())
    runs = sorted(path.name for path in (undisturbed / "runs").iterdir())
    assert len(runs) == 2
    for run in runs:
        for file in PROMISED:
            resumed = (tmp_path / "outputs" / "runs" / run / file).read_bytes()
            assert resumed == (undisturbed / "runs" / run / file).read_bytes(), file


def test_stored_teacher_outputs_give_the_bytes_of_live_ones(tmp_path: Path, beeps: Path) -> None:
    stored, live = (tmp_path / name for name in ("stored", "live"))
    for folder, kept in ((stored, "disk"), (live, "off")):
        store = [] if kept == "disk" else ["teacher.store=off"]
        complete_run(_run(beeps, *TAUGHT, *store, f"output_dir={folder}"), Session())
    (outputs,) = list_outputs(stored / "teacher_outputs")
    assert outputs.epochs == 4
    assert not (live / "teacher_outputs").exists()
    (student,) = (path.name for path in (stored / "runs").glob("*-kd-*"))
    for file in PROMISED:
        found = (stored / "runs" / student / file).read_bytes()
        assert found == (live / "runs" / student / file).read_bytes(), file


def test_a_network_is_trained_on_parts_and_tested_on_the_whole(tmp_path: Path, beeps: Path) -> None:
    crop = ["dataset.views=[{time_crop:{frames:9}}]", f"output_dir={tmp_path / 'cropped'}"]
    run = _run(beeps, *AUDIO, *crop, "schedule.epochs=1")
    complete_run(run, Session())
    with np.load(store_of(run.config).run(run.run_id).path / "test_logits.npz") as kept:
        assert kept["logits"].shape == (12, 3)
    with pytest.raises(UserError, match="plain_cnn is made for spectrograms of 16x17") as refused:
        _run(beeps, *AUDIO[:6], "model=plain_cnn", *crop)
    assert "spectrograms of 16x9" in str(refused.value)
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"not looked into at the plan")
    taught = ["loss=kd", "teacher=checkpoint", f"teacher.path={weights}", "teacher.model=plain_cnn"]
    with pytest.raises(UserError, match="plain_cnn is made for spectrograms of 16x17"):
        _run(beeps, *AUDIO, *taught, *crop)


def test_what_is_read_and_what_readers_must_know_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDLSR_DATA", str(tmp_path / "data"))
    make_gtzan(tmp_path / "genres")
    gtzan = [item.replace("audio_folder", "gtzan") for item in AUDIO]
    watcher = RecordingWatcher()
    run = _run(tmp_path, *gtzan, "schedule.epochs=1", f"output_dir={tmp_path}")
    complete_run(run, Session(watcher))
    told = [line for line in watcher.lines if line.startswith("dataset=gtzan: ")]
    assert told[1].endswith("40 spectrograms to train on, 10 to test on; passed over: nothing")
    assert "artists are in both parts" in told[0]


def test_a_users_mistake_is_one_line_and_status_2(train: Command, tmp_path: Path) -> None:
    done = train("dataset=fsdd", f"dataset.root={tmp_path}", "model=resnet8")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"{tmp_path} holds no recordings/" in done.stderr
