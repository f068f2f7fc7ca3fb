"""The command as a user types it: right, wrong, in a sweep, and from an installed wheel."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import REPOSITORY, TINY, Command, environment
from wandb_log import read_closed_runs

from kdlsr.config.compose import shipped_folder

ONE_EPOCH = [*TINY, "schedule.epochs=1"]


def _modules_after(*arguments: str) -> set[str]:
    """Runs the command in a fresh interpreter and returns the modules it imported."""
    code = f"""
import sys
sys.argv = ["kdlsr-train", *{list(arguments)!r}]
from kdlsr.train import main
try:
    main()
except SystemExit as ended:
    print("\\nexit", ended.code)
print(" ".join(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["--cfg", "job", "loss=kd"]])
def test_help_and_cfg_answer_without_torch(arguments: list[str]) -> None:
    assert "torch" not in _modules_after(*arguments)


@pytest.mark.parametrize(
    "arguments", [["loss=kdd"], ["loss.alpha=2"], ["loss=lsr", "loss.alpha=2"]]
)
def test_a_config_error_comes_without_heavy_imports(arguments: list[str]) -> None:
    assert not {"timm", "wandb", "matplotlib", "torchvision", "sklearn"} & _modules_after(
        *arguments
    )


def test_help_names_the_options_of_every_group(train: Command) -> None:
    done = train("--help")
    assert done.returncode == 0
    for word in ("tfkd_reg", "shufflenetv2", "tiny_imagenet", "imagenet90", "wandb", "Exit codes"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["loss=tfkd_rge"], "loss=tfkd_rge: no such option; nearest: tfkd_reg"),
        (["model=resnet19"], "model=resnet19: no such option; nearest: resnet1"),
        (["teacher=resnet81"], "teacher=resnet81: no such option; nearest: resnet18, resnet8"),
        (["modle=resnet18"], "unknown key modle; nearest: model"),
        (["loss=kd", "loss.tua=3"], "unknown key loss.tua; nearest: loss.tau"),
        (["loss=kd", "teacher=self", "+loss.tua=3"], "unknown key loss.tua; nearest: tau"),
        (["schedule.epochs=0"], "schedule.epochs=0 is not possible; expected an integer of at"),
        (["schedule.epochs=ten"], "schedule.epochs='ten' is not possible"),
        (["loss=kd"], "loss=kd needs a teacher"),
        (["dataset=image_folder"], "dataset.root="),
        (["dataset=image_folder", "dataset.root=/nowhere"], "/nowhere"),
        (["dataset=digits", "seed=0,1"], "seed=0,1 is several values: add -m to sweep over them"),
        (["+sweep=tau_alpha"], "-m"),
        (["loss=lsr", "loss.alpha=${nothing}"], "nothing"),
        (["loss.tau=[1"], "loss.tau=[1"),
        ([*ONE_EPOCH, "output_dir=/dev/null/here"], "/dev/null"),
        (["--config-dir", "nowhere"], "--config-dir nowhere: no such folder"),
        (["teacher.path=/x/epoch=3.ckpt"], "a string can be quoted: 'teacher.path=\"/x/epoch=3"),
        (["dataset.root=/My Data (1)"], "a string can be quoted: 'dataset.root=\"/My Data (1)\"'"),
        (
            ["-m", "dataset=digits", "seed=0,1", "loss=ce,kd"],
            "in the job dataset=digits seed=0 loss=kd",
        ),
        (["-m", "dataset=digits", "seed=0,-1"], "seed=-1"),
    ],
)
def test_a_mistake_costs_one_line_and_exit_code_2(
    train: Command, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = train(*arguments)
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert message in lines[0]
    assert not (tmp_path / "outputs" / "runs").exists()


def test_a_run_writes_all_its_files(train: Command, tmp_path: Path) -> None:
    done = train(*ONE_EPOCH, "dataset.val_fraction=0.2", "loss=kd", "teacher=self")
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "outputs" / "runs").glob("*-kd-*")
    result = json.loads((run / "result.json").read_text())
    assert result["schema"] == 1
    assert (result["run_id"], result["status"]) == (run.name, "complete")
    assert set(result["protocols"]) == {"last", "best_test", "best_val"}
    measures = {"top1", "top5", "nll", "ece", "brier", "entropy", "confidence"}
    assert set(result["protocols"]["last"]["test"]) == measures
    figures = {"top1", "agreement", "kl", "correlation", "train"}
    assert set(result["teacher"]) == {"run_id", "epoch", *figures}
    logits = np.load(run / "test_logits.npz")
    accuracy = 100 * (logits["logits"].argmax(1) == logits["labels"]).mean()
    assert result["protocols"]["last"]["test"]["top1"] == pytest.approx(accuracy)
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["schedule"]["lr"] == 0.1  # resolved
    environment_file = json.loads((run / "environment.json").read_text())
    assert {"torch", "device_type", "threads", "precision"} <= set(environment_file)
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 1
    teacher = result["teacher"]["run_id"]
    assert (tmp_path / "outputs" / "runs" / teacher / "result.json").exists()
    assert f"teacher {teacher} after epoch 1:" in done.stdout


def test_without_a_validation_split_there_is_no_best_val(train: Command, tmp_path: Path) -> None:
    assert train(*ONE_EPOCH).returncode == 0
    (run,) = (tmp_path / "outputs" / "runs").iterdir()
    result = json.loads((run / "result.json").read_text())
    assert result["protocols"]["best_val"] is None
    assert result["teacher"] is None


def test_a_sweep_skips_what_is_complete_and_prints_its_cells(
    train: Command, tmp_path: Path
) -> None:
    command = ["-m", *ONE_EPOCH, "loss=ce,lsr", "seed=0,1"]
    first = train(*command)
    assert first.returncode == 0, first.stderr
    assert len(list((tmp_path / "outputs" / "runs").iterdir())) == 4
    assert "±" in first.stdout
    written = {p: p.stat().st_mtime_ns for p in (tmp_path / "outputs" / "runs").rglob("*")}
    second = train(*command)
    assert second.returncode == 0
    assert {p: p.stat().st_mtime_ns for p in written} == written
    assert second.stdout.count("±") == first.stdout.count("±")


def test_a_failed_job_takes_no_other_down_and_is_named(train: Command, tmp_path: Path) -> None:
    """A rate of 1e30 makes the loss infinite: a real failure, not a simulated one."""
    done = train("-m", *ONE_EPOCH, "schedule.lr=1e30,0.1")
    assert done.returncode == 1
    assert "the loss is not finite at step" in done.stdout
    assert "python -m kdlsr.train" in done.stdout
    assert "1 of 2 runs are not complete" in done.stdout
    statuses = [
        json.loads(path.read_text())["status"]
        for path in (tmp_path / "outputs" / "runs").glob("*/result.json")
    ]
    assert sorted(statuses) == ["complete", "failed"]
    assert done.stderr.count("Traceback") == 0


def test_a_failed_run_ends_with_1_and_one_line(train: Command) -> None:
    done = train(*ONE_EPOCH, "schedule.lr=1e30")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "the loss is not finite at step" in done.stderr


def test_a_search_composes_to_the_grid_with_its_teacher_on_the_full_schedule(
    train: Command,
) -> None:
    done = train("-m", "--cfg", "job", "+sweep=tau_alpha", "loss=kd", "teacher=self")
    assert done.returncode == 2
    assert done.stderr.startswith("kdlsr: -m starts a sweep; --cfg")
    done = train("--cfg", "job", "+sweep=tau_alpha", "loss=kd", "teacher=self")
    config = yaml.safe_load(done.stdout)
    assert config["schedule"]["epochs"] == 70
    assert config["dataset"]["val_fraction"] == 0.1
    assert config["teacher"]["overrides"] == ["schedule=cifar200"]


def test_each_job_of_a_sweep_is_a_wandb_run_with_its_true_status(
    train: Command, tmp_path: Path
) -> None:
    done = train("-m", *ONE_EPOCH, "tracker=wandb", "tracker.mode=offline", "schedule.lr=1e30,0.1")
    assert done.returncode == 1
    failed, complete = sorted(read_closed_runs(tmp_path, 2), key=lambda r: -(r.exit_code or 0))
    assert (failed.exit_code, complete.exit_code) == (1, 0)
    assert "the loss is not finite" in failed.summary["error"]
    folder = tmp_path / "outputs" / "runs" / complete.run_id
    result = json.loads((folder / "result.json").read_text())
    assert complete.group == result["cell_id"]
    assert complete.job_type == "ce"
    assert complete.config["schedule.lr"] == 0.1
    last = result["protocols"]["last"]["test"]["top1"]
    assert complete.summary["last/test/top1"] == last == complete.history[-1]["test/top1"]
    assert len(complete.history) == 1


def test_wandb_without_an_account_costs_one_line_and_no_run(tmp_path: Path) -> None:
    variables = environment() | {"HOME": str(tmp_path)}
    del variables["WANDB_MODE"]
    done = subprocess.run(
        [sys.executable, "-m", "kdlsr.train", *ONE_EPOCH, "tracker=wandb", "tracker.mode=online"],
        cwd=tmp_path,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("kdlsr: W&B could not start")
    assert "tracker.mode=offline" in line


def test_every_config_file_begins_with_its_command() -> None:
    for file in shipped_folder("conf").rglob("*.yaml"):
        lines = file.read_text().splitlines()
        first = lines[1] if lines[0].startswith("# @package") else lines[0]
        assert first.startswith("# python -m kdlsr."), file
        # Hydra's own launchers are the one thing that it makes from a config.
        assert "_target_" not in file.read_text() or file.parent.name == "launcher", file


def test_ones_own_options_are_added_by_a_config_folder(train: Command, tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "loss"
    folder.mkdir(parents=True)
    (folder / "gentle.yaml").write_text("name: lsr\nalpha: 0.05\nform: as_written\nscale: 1.0\n")
    done = train("--config-dir", "mine", *ONE_EPOCH, "loss=gentle")
    assert done.returncode == 0, done.stderr


def test_another_distributions_options_are_found_by_its_entry_points(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "mine-1.0.dist-info").mkdir(parents=True)
    (site / "mine-1.0.dist-info" / "METADATA").write_text("Name: mine\nVersion: 1.0\n")
    (site / "mine-1.0.dist-info" / "entry_points.txt").write_text(
        "[kdlsr.losses]\nhalf = mine:Half\n[kdlsr.models]\nlinear = mine\n"
    )
    (site / "mine.py").write_text(
        """
from dataclasses import dataclass
from torch import nn
from kdlsr.config.inputs import ImageSpec
from kdlsr.losses.ce import CrossEntropy
from kdlsr.models.registry import register

@dataclass(frozen=True, kw_only=True)
class Half(CrossEntropy):
    scale: float = 0.5

@register("linear")
def linear(*, spec: ImageSpec, num_classes: int) -> nn.Module:
    inputs = spec.channels * spec.height * spec.width
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, num_classes))
"""
    )
    for group, name in (("loss", "half"), ("model", "linear")):
        (tmp_path / "mine" / group).mkdir(parents=True)
        (tmp_path / "mine" / group / f"{name}.yaml").write_text(f"name: {name}\n")
    common = ["--config-dir", "mine", "dataset=digits", "schedule=quick", "schedule.epochs=1"]
    variables = environment()
    for command in (
        [*common, "loss=half", "model=linear"],
        ["-m", *common, "loss=kd", "model=resnet8", "model.width=4", "teacher=linear", "seed=0,1"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "kdlsr.train", *command],
            cwd=tmp_path,
            env=variables | {"PYTHONPATH": f"{variables['PYTHONPATH']}:{site}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    names = sorted(path.name[:-11] for path in (tmp_path / "outputs" / "runs").iterdir())
    assert names == [
        "digits-linear-ce-s1000",
        "digits-linear-half-s0",
        "digits-resnet8-kd-from-linear-s0",
        "digits-resnet8-kd-from-linear-s1",
    ]


ROWS = """# @package _global_
rows:
  "plain": []
  "smoothed": [loss=lsr]
  "taught": [loss=kd, teacher=self]
"""


def test_a_sweep_with_named_rows_runs_each_over_its_seeds(train: Command, tmp_path: Path) -> None:
    (tmp_path / "mine" / "sweep").mkdir(parents=True)
    (tmp_path / "mine" / "sweep" / "three.yaml").write_text(ROWS)
    small = [*ONE_EPOCH, "dataset.subset=128", "seed=0,1"]
    done = train("--config-dir", "mine", "-m", "+sweep=three", *small)
    assert done.returncode == 0, done.stderr
    for row in ("plain", "smoothed", "taught"):
        assert row in done.stdout


@pytest.fixture(scope="module")
def installed_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the project's wheel was unpacked, as pip does."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
            *("--no-build-isolation", "--wheel-dir", str(folder), str(REPOSITORY)),
        ],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    subprocess.run(
        [sys.executable, "-m", "zipfile", "-e", str(wheel), str(folder / "site")], check=True
    )
    return folder / "site"


def test_a_wheel_carries_its_configs_and_works_from_anywhere(
    installed_wheel: Path, tmp_path: Path
) -> None:
    assert (installed_wheel / "kdlsr" / "py.typed").exists()
    assert (installed_wheel / "kdlsr" / "experiments").is_dir()
    done = subprocess.run(
        [sys.executable, "-m", "kdlsr.train", *ONE_EPOCH],
        cwd=tmp_path,
        env=environment() | {"PYTHONPATH": str(installed_wheel)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "outputs" / "runs").is_dir()
