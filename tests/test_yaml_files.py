"""What people write in YAML: one reader and one set of rules; a folder of options runs no code."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import environment
from omegaconf import OmegaConf

from kdlsr.config import UserError
from kdlsr.config.compose import add_config_folder, compose_config, option, shipped_folder
from kdlsr.config.yaml_file import parse_yaml, read_any_yaml, read_yaml

BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tau: 4\nalpha: 1\ntau: 2\n", "line 3: tau is there twice (first in line 1)"),
        ("cells:\n  - {row: a, row: b}\n", "line 2: row is there twice (first in line 2)"),
        ("a:\n\tb: 1\n", "line 2: found character that cannot start any token; indent with spaces"),
        (b"name: caf\xe9\n", "line 1: not UTF-8; save the file as UTF-8"),
        (b"a: 1\nb: \xff\xfe\n", "line 2: not UTF-8"),
        ("a: 1\n---\nb: 2\n", "line 2: more than one document"),
        (BOMB, "aliases repeat more than 100,000 values"),
        ("a: &a [*a]\n", "line 1: it contains itself"),
        ("[" * 150, "nested more than 100 deep"),
        ("[" * 100_000, "nest"),
        ("a: !!python/object/apply:os.system [true]\n", "line 1: tag:yaml.org,2002:python/object"),
        ("a: !!timestamp x\n", "no plain value"),
        ("a: !!int x\n", "invalid literal"),
        ("? [a]\n: 1\n", "line 1: a key must be a word"),
        ("a: [1,\n", "line 2"),
        ("a: \x07\n", "unacceptable character"),
        ("- a\n", "expected a mapping"),
        ("a: " + "x" * (5 * 1024**2), "more than 4 MiB"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_in_one_line(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as refused:
        read_yaml(file)
    assert message in str(refused.value)
    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_pipe_and_a_folder_are_no_files(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.yaml", tmp_path):
        with pytest.raises(UserError, match="no such file"):
            read_yaml(path)


SCALARS = [
    *(
        "1",
        "1.5",
        "1e-3",
        "1E5",
        ".5",
        "1_000",
        "-.inf",
        "+1.5e3",
        "0x1F",
        "yes",
        "null",
        "~",
        "true",
    ),
    *("2024-01-01", "1:30", "-a", "a", "1.2.3", "1e", "e5", "+", "12e03", "'1'", "01"),
]


@pytest.mark.parametrize("scalar", SCALARS)
def test_values_are_read_as_omegaconf_reads_them(scalar: str) -> None:
    read = parse_yaml(f"key: {scalar}", "here")
    expected = OmegaConf.to_container(OmegaConf.create(f"key: {scalar}"))
    assert repr(read) == repr(expected)


def test_anchors_and_merges_of_an_honest_size_are_read() -> None:
    text = "base: &base {tau: 4, alpha: 0.9}\nrow: {<<: *base, tau: 20}\n"
    assert parse_yaml(text, "here") == {**yaml.safe_load(text)}


def test_our_own_files_keep_the_rules() -> None:
    files = [f for name in ("conf", "experiments") for f in shipped_folder(name).rglob("*.yaml")]
    assert len(files) > 50
    for file in files:
        read_any_yaml(file)


# --- a folder of options ---------------------------------------------------------------------

CALLBACK = "hydra: {callbacks: {x: {_target_: shutil.copyfile, src: a, dst: b}}}\n"
RUNS_CODE = {
    "loss/a.yaml": "# @package _global_\n" + CALLBACK,
    "loss/b.yaml": "#  @package   hydra.callbacks.x\n_target_: shutil.copyfile\n",
    "loss/c.yaml": "name: ce\ninner: {deep: [{_target_: os.system}]}\n",
    "loss/d.yaml": "# @package hydra\ncallbacks: {x: {a: 1}}\n",
    "loss/e.yaml": "# @package _global_\nhydra: {job_logging: {handlers: {a: {class: evil.A}}}}\n",
    "loss/f.yaml": "# @package _global_\nbase: &b {hydra: {callbacks: {}}}\n<<: *b\n",
    "sweep/g.yaml": "# @package _global_\ndefaults: [{/hydra/callbacks: evil}]\n",
    "sweep/h.yaml": "# @package _global_\ndefaults: [{/loss@hydra.callbacks.x: ce}]\n",
    "sweep/i.yaml": "# @package _global_\ndefaults: [{/other: evil}]\n",
    "sweep/j.yaml": "# @package _global_\ndefaults: [/../evil]\n",
    "sweep/k.yaml": "# @package _global_\ndefaults: [{override /hydra/hydra_logging: evil}]\n",
    "sweep/l.yaml": "# @package _global_\nhydra: {sweeper: {_target_: evil.Sweeper}}\n",
    "sweep/m.yaml": "# @package _global_\nhydra: {searchpath: [file:///evil]}\n",
    "sweep/n.yaml": "# @package _global_.hydra\nrun: {dir: /tmp}\n",
    "sweep/o.yaml": "# @package _global_\n# @package hydra\ncallbacks: {}\n",
    "hydra/callbacks/p.yaml": "x: {a: 1}\n",
    "hydra/launcher/q.yaml": "_target_: evil.Launcher\n",
    "hydra/job_logging/r.yaml": "version: 1\n",
    "train.yaml": "defaults: [{loss: ce}]\n",
    "report.yaml": "runs: 1\n",
    "loss/s.yaml": "name: ce\nname: kd\n",
    "loss/deep/t.yaml": CALLBACK.replace("hydra", "# @package _global_\nhydra", 1),
}


@pytest.mark.parametrize("name", RUNS_CODE)
def test_a_folder_that_reaches_into_hydra_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(RUNS_CODE[name])
    try:
        with pytest.raises(UserError) as refused:
            add_config_folder(tmp_path)
    finally:
        add_config_folder(None)
    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)


ALLOWED = {
    "loss/gentle.yaml": "name: lsr\nalpha: 0.05\nform: as_written\nscale: 1.0\n",
    "schedule/mine.yaml": "defaults: [cifar200, _self_]\nepochs: 3\nlr: 0.7\n",
    "schedule/cifar200.yaml": "epochs: 9\n",
    "model/wide.yaml": "name: resnet8\nwidth: 32\n",
    "sweep/mine.yaml": "# @package _global_\ndefaults: [{override /schedule: mine}]\n"
    "hydra: {sweeper: {params: {seed: '0,1'}}}\n",
    "hydra/launcher/big.yaml": "defaults: [submitit_slurm, _self_]\npartition: big\n",
    "cluster/big.yaml": "# @package _global_\ndefaults: [{override /hydra/launcher: big}]\n",
    "views/mine.yaml": "[flip]\n",
    "tables/mine.yaml": "cells: []\n",
    "notes.yaml": "anything: [at, all]\n---\nb: 1\n",
    "other/evil.yaml": "# @package _global_\n" + CALLBACK,
}


@pytest.fixture
def added(tmp_path: Path):  # type: ignore[no-untyped-def]
    for name, text in ALLOWED.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    add_config_folder(tmp_path)
    yield tmp_path
    add_config_folder(None)


@pytest.mark.usefixtures("added")
def test_a_folder_adds_options_to_our_groups_and_its_own_come_first() -> None:
    assert option("loss", "gentle")["alpha"] == 0.05
    assert option("schedule", "mine")["lr"] == 0.7
    assert option("schedule", "cifar200") == {"epochs": 9}
    assert option("teacher", "wide")["name"] == "wide"
    launcher = compose_config(["+cluster=big"], with_hydra=True)["hydra"]["launcher"]
    assert (launcher["kind"], launcher["partition"]) == ("submitit_slurm", "big")
    sweeper = compose_config(["+sweep=mine"], with_hydra=True)["hydra"]["sweeper"]
    assert sweeper["params"] == {"seed": "0,1"}


@pytest.mark.usefixtures("added")
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+other=evil", "other: no group of kdlsr's"),
        ("+other@hydra.callbacks.x=evil", "no group of kdlsr's"),
        ("hydra.searchpath=[file:///evil]", "a folder of configs is given by --config-dir"),
    ],
)
def test_what_was_not_looked_at_cannot_be_chosen(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        compose_config([override])


@pytest.mark.parametrize("flags", [[], ["--cfg", "all"], ["--help"], ["-m"], ["--info"]])
def test_no_command_runs_what_a_folder_says(tmp_path: Path, flags: list[str]) -> None:
    (tmp_path / "mine" / "loss").mkdir(parents=True)
    evil = f"hydra: {{callbacks: {{x: {{_target_: pathlib.Path.touch, self: {tmp_path}/was}}}}}}\n"
    (tmp_path / "mine" / "loss" / "evil.yaml").write_text("# @package _global_\n" + evil)
    command = [sys.executable, "-m", "kdlsr.train", "--config-dir", "mine", *flags, "loss=evil"]
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert not (tmp_path / "was").exists()


BAD = {
    "twice": "title: a\ntitle: b\n",
    "tab": "title:\n\ta: b\n",
    "latin": b"title: caf\xe9\n",
    "bomb": BOMB,
    "deep": "[" * 150,
}


@pytest.mark.parametrize("name", BAD)
def test_every_place_of_yaml_has_the_same_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A table, its setting, what its cells are from, and each group of a folder of options."""
    from kdlsr.tables.reading import read_setting, read_table

    monkeypatch.chdir(tmp_path)
    content = BAD[name]
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(content if isinstance(content, bytes) else content.encode())
    head = "title: a\nsource: a\nshows: a\ngrade: P\n"
    (tmp_path / "from.yaml").write_text(f"{head}setting: digits\ncells_from: bad.yaml\n")
    (tmp_path / "set.yaml").write_text(f"{head}setting: bad.yaml\n")
    for read, file in ((read_table, "bad"), (read_table, "from"), (read_table, "set")):
        with pytest.raises(UserError, match=r"bad\.yaml"):
            read(f"{file}.yaml")
    with pytest.raises(UserError, match=r"bad\.yaml"):
        read_setting("bad.yaml")
    for group in ("loss", "profile", "views", "sweep", "cluster", "hydra/launcher", "teacher"):
        folder = tmp_path / group.replace("/", "-")
        (folder / group).mkdir(parents=True)
        bad_one = folder / group / "bad.yaml"
        bad_one.write_bytes(bad.read_bytes())
        with pytest.raises(UserError, match=r"bad\.yaml"):
            add_config_folder(folder)
