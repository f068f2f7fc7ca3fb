"""`python -m kdlsr.reproduce` as a user has it: killed, failing, asked wrongly."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import made_tables
import processes
import pytest
from conftest import environment
from made_runs import written
from made_sounds import SMALL_OVERRIDES, make_beeps

from kdlsr.runs.folder import RunFolder
from kdlsr.runs.result import RunResult

SETTING = made_tables.setting(images=256, small=4, large=8)
TABLE = (
    made_tables.TABLE
    + """
  - {row: weak, column: LSR, method: lsr, network: small, alpha: 0.1}
"""
)
FAILING = """
  - {row: doomed, column: LSR, method: lsr, network: large, alpha: 0.3,
     overrides: [schedule.lr=1.0e+30]}
"""
REPORT_FILES = ("index.html", "report.json", "table.csv", "table.md", "table.tex")


def _command(*overrides: str) -> list[str]:
    return [sys.executable, "-m", "kdlsr.reproduce", *overrides]


def _folder(path: Path, table: str = TABLE) -> Path:
    path.mkdir()
    made_tables.write_table(path, SETTING, table)
    return path


def _reproduce(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return processes.run("kdlsr.reproduce", list(overrides), folder, environment())


def _results(folder: Path) -> dict[Path, int]:
    found = (folder / "outputs" / "runs").glob("*/result.json")
    return {path: path.stat().st_mtime_ns for path in found}


def _report(folder: Path, name: str = "mine") -> dict[str, bytes]:
    root = folder / "outputs" / "reports" / name
    return {file: (root / file).read_bytes() for file in REPORT_FILES}


def _kill_after_runs(folder: Path, count: int, *overrides: str) -> None:
    process = processes.Command("kdlsr.reproduce", list(overrides), folder, environment())
    deadline = time.monotonic() + 120
    while len(_results(folder)) < count and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "it ended before it could be killed"


def test_a_killed_table_goes_on_to_the_same_report_and_repeats_no_run(tmp_path: Path) -> None:
    chosen = ("table=mine.yaml", "seeds=2", "precision=fp32")
    undisturbed, killed = _folder(tmp_path / "a"), _folder(tmp_path / "b")
    # Started as a user starts it: its hashes of strings are others than the killed ones'.
    subprocess.run(_command(*chosen), cwd=undisturbed, env=environment(), check=True)
    _kill_after_runs(killed, 3, *chosen)
    before = _results(killed)
    assert 3 <= len(before) < len(_results(undisturbed))
    assert _reproduce(killed, *chosen).returncode == 0
    after = _results(killed)
    assert {path: after[path] for path in before} == before
    assert _report(killed) == _report(undisturbed)
    again = _reproduce(killed, *chosen)
    assert again.returncode == 0
    assert _results(killed) == after
    report = json.loads(_report(killed)["report.json"])
    assert {cell["state"] for cell in report["cells"]} == {"complete"}


def test_a_failing_run_marks_its_cell_and_leaves_the_rest_whole(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "a", TABLE + FAILING)
    ended = _reproduce(folder, "table=mine.yaml", "seeds=1", "forms=[as_written]", "controls=false")
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr + ended.stdout
    assert "the loss is not finite" in ended.stdout
    cells = {c["key"]: c for c in json.loads(_report(folder)["report.json"])["cells"]}
    assert cells["doomed LSR as_written"]["state"] == "failed"
    others = {key: cell["state"] for key, cell in cells.items() if not key.startswith("doomed")}
    assert set(others.values()) == {"complete"}
    assert len(others) == 4


def test_students_of_a_failing_teacher_are_not_run(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "a")
    setting = SETTING.replace(
        "role: strong,", "role: strong, baseline_overrides: [schedule.lr=1.0e+30],"
    )
    (folder / "setting.yaml").write_text(setting)
    ended = _reproduce(folder, "table=mine.yaml", "seeds=1", "forms=[standard,as_written]")
    assert ended.returncode == 1, ended.stderr
    assert "not run: digits-resnet8-kd-from-resnet8" in ended.stdout
    cells = {c["key"]: c for c in json.loads(_report(folder)["report.json"])["cells"]}
    assert cells["weak KD standard"]["state"] == "not run"
    assert cells["weak LSR as_written"]["state"] == "complete"
    assert cells["baseline small"]["state"] == "complete"


def test_a_control_that_failed_is_named_where_its_method_is_judged(tmp_path: Path) -> None:
    """A method without a control's answer must not look like one that has no control."""
    folder = _folder(tmp_path / "a")
    one = ("table=mine.yaml", "seeds=1", "methods=[kd]", "forms=[standard]")
    assert _reproduce(folder, *one).returncode == 0
    configs = (folder / "outputs" / "runs").glob("digits-resnet8-ce-s0-*/config.yaml")
    (control,) = (path.parent for path in configs if "scale: 0.1" in path.read_text())
    failed = RunResult(
        run_id=control.name, cell_id="any", status="failed", error="broken on purpose"
    )
    with written(RunFolder(control, control.name)) as writer:
        writer.result(failed)
    ended = _reproduce(folder, *one, "mode=report")
    assert ended.returncode == 0
    assert "CE x 0.1: failed" in ended.stdout
    cells = {c["key"]: c for c in json.loads(_report(folder)["report.json"])["cells"]}
    assert cells["weak KD standard"]["uncompared"] == ["CE x 0.1: failed"]
    assert "not compared with CE x 0.1: failed" in cells["weak KD standard"]["claim"]["why"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "table is missing"),
        (["table=quikstart"], "no such table; nearest: quickstart"),
        (["table=mine.yaml", "profile=smok"], "profile=smok: no such option; nearest: smoke"),
        (["table=mine.yaml", "seeds=0"], "seeds=0 is not possible; expected"),
        (
            ["table=mine.yaml", "forms=[released]"],
            "forms='released' is not possible; nearest: as_rel",
        ),
        (["table=mine.yaml", "methods=[rekd]"], "methods='rekd' is not possible; nearest: re_kd"),
        (["table=mine.yaml", "mode=draw"], "expected one of run, plan, list, report"),
        (["table=mine.yaml", "loss.tau=3"], "loss.tau is set by the table"),
        (["table=mine.yaml", "dataset.subst=3"], "unknown key dataset.subst; nearest"),
        (["table=mine.yaml", "-m"], "drop -m"),
        (["table=mine.yaml", "seds=3"], "unknown key seds; nearest: seeds"),
        (["table=mine.yaml", "profil=smoke"], "unknown key profil; nearest: profile"),
        (["table=mine.yaml", "cluster=local"], "cluster is not chosen yet: begin with a plus"),
        (["table=mine.yaml", "profile=null"], "profile=null: no such option; known: paper"),
        (["table=mine.yaml", "tracker=false"], "tracker=false: no such option; known: none"),
        (["table=mine.yaml", "hydra/launcher=1"], "hydra/launcher=1: no such option; known: basic"),
        (["table=mine.yaml", "+cluster=local", "hydra.launcher=5"], "expected a section"),
        (["table=mine.yaml", "methods=[]"], "methods is empty"),
        (["table=mine.yaml", "methods=[cs_kd]"], "mine has no row of cs_kd; nearest: kd"),
        (["table=mine.yaml", "seeds=[0,0]"], "seeds=[0, 0] is not possible; expected different"),
        (["table=mine.yaml", "hydra/launcher=nothing"], "hydra/launcher=nothing"),
        (["table=nowhere.yaml"], "nowhere.yaml: no such file"),
        (["table=mine.yaml", "schedule.lr=0.1,0.01"], "schedule.lr=0.1,0.01 is several values"),
        (["table=mine.yaml", "hydra/launcher=joblib"], "known: basic, local, ray, submitit_local"),
    ],
)
def test_a_mistake_costs_one_line_and_starts_nothing(
    tmp_path: Path, overrides: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from kdlsr import reproduce

    folder = _folder(tmp_path / "a")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["reproduce", *overrides])
    with pytest.raises(SystemExit) as ended:
        reproduce.main()
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert message in said.err
    assert len(said.err.splitlines()) == 1
    assert not (folder / "outputs").exists()


def test_a_broken_table_file_is_refused_before_anything_starts(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "a", TABLE.replace("tau: 4", "tua: 4"))
    ended = _reproduce(folder, "table=mine.yaml")
    assert ended.returncode == 2
    assert "mine.yaml.cells[0].tua; nearest: tau" in ended.stderr
    assert not (folder / "outputs").exists()


def test_a_plan_says_what_would_run_and_starts_nothing(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "a")
    ended = _reproduce(folder, "mode=plan", "table=mine.yaml", "seeds=3")
    assert ended.returncode == 0, ended.stderr
    assert "weak KD as_released" in ended.stdout
    assert "0 complete" in ended.stdout
    assert "by steps measured here" in ended.stdout
    assert [path.name for path in (folder / "outputs").iterdir()] == ["paces.json"]


@pytest.mark.parametrize("mode", ["plan", "run", "report"])
def test_options_of_a_tables_own_data_set_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, mode: str
) -> None:
    """They are keys that the data set of a plain command does not have."""
    from kdlsr import reproduce
    from kdlsr.tables import launching

    folder = _folder(tmp_path / "a")
    text = SETTING.replace("dataset=digits, dataset.subset=256", "dataset=audio_folder")
    (folder / "setting.yaml").write_text(text.replace("classes: 10", "classes: 3"))
    own = [f"dataset.root={make_beeps(tmp_path / 'beeps')}", *SMALL_OVERRIDES]
    monkeypatch.chdir(folder)
    monkeypatch.setenv("KDLSR_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(launching, "carry_out", lambda *_: launching.Outcome())
    chosen = ["table=mine.yaml", "seeds=1", f"mode={mode}", "measure=false", *own]
    monkeypatch.setattr(sys, "argv", ["reproduce", *chosen])
    with pytest.raises(SystemExit) as ended:
        reproduce.main()
    assert ended.value.code == 0, capsys.readouterr().err


PENALTY = '''
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from torch.nn import functional as F

from kdlsr.config import Between
from kdlsr.losses import Control, Loss

@dataclass(frozen=True, kw_only=True)
class ConfidencePenalty(Loss):
    """H(q, p) - beta H(p): Pereyra et al. 2017; `halved` is made up for this test."""

    beta: Annotated[float, Between(0, 1)] = 0.1
    form: Literal["as_written", "halved"] = "as_written"
    forms: ClassVar[tuple[str, ...]] = ("as_written", "halved")
    stated: ClassVar[frozenset[str]] = frozenset({"beta"})

    @property
    def hard_scale(self):
        return self.scale * (1.0 if self.form == "as_written" else 0.5)

    def controls(self):
        return (*super().controls(), Control("its own", "lsr", {"alpha": self.beta}))

    def terms(self, step):
        log_p = F.log_softmax(step.logits.float(), dim=1)
        hard = F.nll_loss(log_p, step.labels)
        entropy = -(log_p.exp() * log_p).sum(dim=1).mean()
        share = 1.0 if self.form == "as_written" else 0.5
        return {"total": share * hard - self.beta * entropy, "hard": hard, "entropy": entropy}
'''
PENALISED = """
  - {row: mine, column: Penalty, method: penalty, network: small, beta: 0.25}
"""


def _with_a_loss_from_outside(folder: Path) -> dict[str, str]:
    """Installs a distribution with a loss beside its YAML; returns the environment that has it."""
    site = folder / "site"
    (site / "mine-1.0.dist-info").mkdir(parents=True)
    (site / "mine-1.0.dist-info" / "METADATA").write_text("Name: mine\nVersion: 1.0\n")
    entry_point = "[kdlsr.losses]\npenalty = mine:ConfidencePenalty\n"
    (site / "mine-1.0.dist-info" / "entry_points.txt").write_text(entry_point)
    (site / "mine.py").write_text(PENALTY)
    (folder / "mine" / "loss").mkdir(parents=True)
    config = "name: penalty\nbeta: 0.1\nform: as_written\nscale: 1.0\n"
    (folder / "mine" / "loss" / "penalty.yaml").write_text(config)
    variables = environment()
    return variables | {"PYTHONPATH": f"{variables['PYTHONPATH']}:{site}"}


def test_a_loss_of_two_files_stands_in_a_table_with_its_forms_and_controls(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "a", TABLE + PENALISED)
    variables = _with_a_loss_from_outside(folder)

    def reproduce(*overrides: str) -> subprocess.CompletedProcess[str]:
        command = _command("--config-dir", "mine", "table=mine.yaml", "seeds=1", *overrides)
        return subprocess.run(
            command, cwd=folder, env=variables, capture_output=True, text=True, check=False
        )

    ended = reproduce("methods=[penalty]")
    assert ended.returncode == 0, ended.stderr
    cells = {c["key"]: c for c in json.loads(_report(folder)["report.json"])["cells"]}
    assert {cell["state"] for cell in cells.values()} == {"complete"}
    assert set(cells) == {
        "baseline small",
        "mine Penalty as_written",
        "mine Penalty halved",
        "control small its own",
        "control small CE x 0.5",
    }
    runs = (folder / "outputs" / "runs").glob("digits-resnet8-penalty-*/metrics.jsonl")
    lines = [path.read_text().splitlines()[-1] for path in runs]
    assert {tuple(json.loads(line)["train"]) for line in lines} == {("total", "hard", "entropy")}
    only = reproduce("methods=[penalty]", "forms=[halved]", "mode=plan", "measure=false")
    assert "mine Penalty halved" in only.stdout
    assert "mine Penalty as_written" not in only.stdout
    table = (folder / "mine.yaml").read_text()
    (folder / "mine.yaml").write_text(table.replace("beta: 0.25", "beta: 1.25"))
    refused = reproduce()
    assert refused.returncode == 2
    assert "cells[2].beta=1.25 is not possible; expected a number in [0, 1]" in refused.stderr
