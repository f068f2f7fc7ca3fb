"""Where reports stand: below `outputs/reports/`, and no table's in the place of another's."""

import json
import sys
from pathlib import Path

import pytest
from sample_report import full_report
from test_reproduce import SETTING, TABLE

from kdlsr import reproduce
from kdlsr.config import UserError
from kdlsr.reporting.places import check_place, made_from
from kdlsr.reporting.publish import write_report
from kdlsr.tables.reading import find_tables, read_table


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "sub").mkdir()
    for folder in (tmp_path, tmp_path / "sub"):
        (folder / "good.yaml").write_text(TABLE)
    (tmp_path / "setting.yaml").write_text(SETTING)
    monkeypatch.chdir(tmp_path)
    return tmp_path


PLAN = ("mode=plan", "measure=false")


def ended(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["kdlsr.reproduce", *words])
    with pytest.raises(SystemExit) as stopped:
        reproduce.main()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_two_tables_of_one_name_are_refused_before_anything_runs(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second report overwrote the first."""
    assert ended(monkeypatch, "table=[good.yaml,sub/good.yaml]", *PLAN) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "are both called good" in line
    assert not (here / "outputs").exists()
    assert ended(monkeypatch, "table=[good.yaml,./sub/../good.yaml]", *PLAN) == 0
    with (here / "sub" / "good.yaml").open("a") as file:
        file.write("name: sub/good\n")
    assert ended(monkeypatch, "table=[good.yaml,sub/good.yaml]", *PLAN) == 0


def test_a_later_command_overwrites_no_other_tables_report_either(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, "table=good.yaml", "mode=report") == 0
    report = here / "outputs" / "reports" / "good" / "report.json"
    written = report.read_bytes()
    assert json.loads(written)["made_from"] == "../good.yaml"
    capsys.readouterr()
    for mode in ("run", "report"):
        assert ended(monkeypatch, "table=sub/good.yaml", f"mode={mode}") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "is the report on ../good.yaml, not on ../sub/good.yaml: give this" in line
    assert report.read_bytes() == written
    assert ended(monkeypatch, "table=good.yaml", "mode=report") == 0
    (here / "good.yaml").rename(here / "moved.yaml")
    assert ended(monkeypatch, "table=sub/good.yaml", "mode=report") == 0


def test_a_report_on_any_runs_takes_no_tables_place(tmp_path: Path) -> None:
    report = full_report()
    (tmp_path / "mine.yaml").touch()
    root = tmp_path / "outputs"
    mine = made_from(str(tmp_path / "mine.yaml"), root)
    assert made_from("experiments/quickstart", root) == "experiments/quickstart"
    page = write_report(report, root)
    check_place(report.name, mine, root)  # one that says not whose it is
    found = json.loads((page.parent / "report.json").read_text())
    (page.parent / "report.json").write_text(json.dumps(found | {"made_from": mine}))
    check_place(report.name, mine, root)
    for other in ("", "experiments/quickstart", "../other.yaml"):
        with pytest.raises(UserError, match=r"is the report on \.\./mine\.yaml"):
            check_place(report.name, other, root)
    (page.parent / "report.json").write_text("[]")
    check_place(report.name, "", root)


@pytest.mark.parametrize("name", ["...yaml", "....yaml", ".yaml", ".hidden.yaml", "a\n.yaml"])
def test_a_table_whose_name_leads_elsewhere_is_refused(here: Path, name: str) -> None:
    (here / name).write_text(TABLE)
    with pytest.raises(UserError, match="expected a folder's name below reports/"):
        find_tables(name)


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/../../x", "a//b", ".", "", "a\\b", "a/./b"])
def test_a_name_given_in_a_table_leads_nowhere_else(here: Path, name: str) -> None:
    (here / "good.yaml").write_text(f"{TABLE}name: '{name}'\n")
    with pytest.raises(UserError, match="expected a folder's name below reports/"):
        find_tables("good.yaml")


def test_a_tables_file_may_lie_and_be_called_as_people_do(here: Path) -> None:
    for path in ("../up.yaml", "My table 2.yaml", "Tafel-ä.v2.yaml"):
        (here / "sub" / path).write_text(TABLE)
    (here / "sub" / "setting.yaml").write_text(SETTING)
    assert read_table("sub/../up.yaml").name == "up"
    assert read_table("sub/My table 2.yaml").name == "My table 2"
    assert read_table("sub/Tafel-ä.v2.yaml").name == "Tafel-ä.v2"


def test_cells_that_lead_back_are_refused(here: Path) -> None:
    """They were a RecursionError."""
    for name, other in (("a", "a"), ("b", "sub/c"), ("sub/c", "b")):
        (here / f"{name}.yaml").write_text(f"{TABLE}cells_from: {other}.yaml\n")
    with pytest.raises(UserError, match=r"^a\.yaml: cells_from leads back here"):
        read_table("a.yaml")
    with pytest.raises(
        UserError, match=r"^b\.yaml: cells_from leads back here: .*b.* -> .*c\.yaml"
    ):
        read_table("b.yaml")
    (here / "a.yaml").write_text(f"{TABLE}file: x\n")
    with pytest.raises(UserError, match=r"unknown key a\.yaml\.file"):
        read_table("a.yaml")
