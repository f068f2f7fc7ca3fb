"""What is printed to be copied, copied: into a shell, from any width, log, Markdown or page."""

import html
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from conftest import TINY
from rich.console import Console
from sample_report import full_report

from kdlsr.config.command_line import read_command_line, shell_command
from kdlsr.config.compose import add_config_folder, compose_config
from kdlsr.config.overrides import Overrides
from kdlsr.config.schema import read_config
from kdlsr.reporting.frame import render_csv
from kdlsr.reporting.page import render_page
from kdlsr.reporting.rendering import render_markdown
from kdlsr.reporting.summary import Report
from kdlsr.reporting.terminal import print_report
from kdlsr.runs.plan import plan_run

HOSTILE = 'it\'s "$HOME" `id` \\ & | > x; ~ # é ```\n*_'
WORDS = Overrides.parse([*TINY, "loss=kd", "teacher=self", "tracker=wandb", "loss.alpha=1e-3"])
WORDS = WORDS.set("tracker.notes", HOSTILE).set("output_dir", "/My Data (1)/epoch=3-acc=0.95")
WORDS = WORDS.set("teacher.overrides", ["loss=lsr", "loss.alpha=0.2"])
ECHO = "python() { printf '%s\\0' python \"$@\"; printf '\\1'; }\n"


@pytest.fixture(autouse=True)
def _no_folder() -> Iterator[None]:
    yield
    add_config_folder(None)


def pasted(text: str) -> list[list[str]]:
    """The words of each command that a shell takes from some pasted lines."""
    done = subprocess.run(["bash", "-c", ECHO + text], capture_output=True, check=True, text=True)
    assert done.stderr == ""
    return [command.split("\0")[:-1] for command in done.stdout.split("\1")[:-1]]


def run_id(words: list[str]) -> str:
    overrides = Overrides.parse(read_command_line(words).overrides)
    return plan_run(read_config(compose_config(overrides.texts())), overrides).run_id


def failing_report() -> Report:
    """Each run that failed has the hostile words."""
    report, words = full_report(), tuple(WORDS.texts())
    cells = [
        replace(cell, runs=tuple(replace(run, overrides=words) for run in cell.runs))
        for cell in report.cells
    ]
    return replace(report, cells=tuple(cells))


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_a_failed_runs_command_can_be_copied_from_a_terminal(width: int) -> None:
    printed = StringIO()
    print_report(Console(file=printed, width=width), failing_report())
    text = printed.getvalue()
    commands = pasted(text[text.index("  python -m") :].partition("\n-")[0])
    assert ["python", "-m", "kdlsr.train", *WORDS.texts()] in commands
    for _, _, _, *words in commands:
        if words == WORDS.texts():
            assert run_id(words) == run_id(WORDS.texts())


def test_a_failed_runs_command_can_be_copied_from_markdown_and_the_page() -> None:
    report = failing_report()
    expected = ["python", "-m", "kdlsr.train", *WORDS.texts()]
    fences = re.findall(
        r"^(`{3,})bash\n(.*?)\n\1$", render_markdown(report), re.DOTALL | re.MULTILINE
    )
    assert expected in [command for _, text in fences for command in pasted(text)]
    blocks = re.findall(r'<pre class="command">(.*?)</pre>', render_page(report, {}), re.DOTALL)
    assert expected in [c for block in blocks for c in pasted(html.unescape(block))]


def test_a_printed_command_has_the_folder_of_ones_own_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it `loss=gentle` is no option, or another one."""
    here = tmp_path / "a place"
    (here / "my options" / "loss").mkdir(parents=True)
    (here / "my options" / "loss" / "gentle.yaml").write_text("name: lsr\nalpha: 0.05\n")
    monkeypatch.chdir(here)
    add_config_folder(Path("my options"))
    told = shell_command("train", ["loss=gentle"])
    assert told == "python -m kdlsr.train --config-dir 'my options' loss=gentle"
    ((_, _, _, *words),) = pasted(told)
    before = run_id(["--config-dir", "my options", "loss=gentle", *TINY])
    add_config_folder(None)
    assert run_id([*words, *TINY]) == before
    monkeypatch.chdir(tmp_path / "a place" / "my options")
    assert f"--config-dir '{here}/my options'" in shell_command("train", [])


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_a_text_that_a_spreadsheet_would_compute_is_a_text(start: str) -> None:
    report = full_report()
    evil = f"{start}HYPERLINK(1)"
    first, *others = report.cells
    cells = (replace(first, row=evil, column=f"\t{evil}", note=f"\n{evil}"), *others)
    shown = render_csv(replace(report, cells=cells))
    assert shown.count(f"'{evil}") == 3
    assert not re.search(rf'(^|,)"?{re.escape(evil)}', shown, re.MULTILINE)
    numbers = render_csv(report)
    assert "'-0." not in numbers
    assert "'0" not in numbers
