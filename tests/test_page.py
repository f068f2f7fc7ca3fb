"""The HTML page of a report: whole, self-contained, escaped, and no wider than a phone."""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from sample_report import (
    FAILURE,
    OMITTED,
    SPECIAL,
    full_report,
    hand_made_report,
    invented_card,
    invented_metrics,
    one_seed_report,
    search_report,
    teacher_epoch_report,
)

from kdlsr.reporting.charts import ticks
from kdlsr.reporting.figures.curves import series
from kdlsr.reporting.formatting import command_line
from kdlsr.reporting.judged import claim_verdict
from kdlsr.reporting.page import render_page
from kdlsr.reporting.statistics import Compatibility
from kdlsr.reporting.summary import CellSummary, Report
from kdlsr.reporting.templating import typeset

# A page only embeds its figures; what they show is tested where they are drawn.
FIGURES = {"differences.png": b"\x89PNG differences", "curves.png": b"\x89PNG curves"}
VOID = {"meta", "img", "br", "link", "hr", "input"}
LOADS = {"src", "href", "srcset", "poster", "data", "action", "xlink:href", "style"}
KINDS = [full_report, one_seed_report, hand_made_report, teacher_epoch_report, search_report]


@dataclass
class Node:
    name: str
    attributes: dict[str, str | None]
    text: str = ""
    inside: tuple["Node", ...] = field(default=(), repr=False)


class Page(HTMLParser):
    """Reads a page, and fails where its tags are not balanced."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[Node] = []
        self.nodes: list[Node] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names))
        node = Node(tag, dict(attrs), inside=tuple(self.open))
        self.nodes.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().name == tag

    def handle_data(self, data: str) -> None:
        for node in self.open:
            node.text += data

    def all(self, name: str, style: str | None = None) -> list[Node]:
        found = [node for node in self.nodes if node.name == name]
        return [n for n in found if style is None or style in (n.attributes.get("class") or "")]


def page_of(report: Report) -> Page:
    return Page(render_page(report, FIGURES))


@pytest.mark.parametrize("make", KINDS)
def test_a_page_is_balanced_loads_nothing_and_is_the_same_twice(make: Callable[[], Report]) -> None:
    source = render_page(make(), FIGURES)
    assert render_page(make(), FIGURES) == source
    page = Page(source)
    ids = [node.attributes["id"] for node in page.nodes if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    for node in page.nodes:
        assert not any(name.startswith("on") for name in node.attributes)
        for name in LOADS & set(node.attributes):
            value = node.attributes[name] or ""
            assert value.startswith("data:image/png;base64,") or value[1:] in ids
    style = page.all("style")[0].text
    assert "url(" not in style
    assert "@import" not in style
    assert [node.attributes for node in page.all("script")] == [{}]
    assert not re.search(r"https?://", source)


def test_the_first_line_of_the_report_is_the_first_of_the_page() -> None:
    (main,) = page_of(full_report()).all("main")
    assert main.text.strip().startswith(full_report().first_line)


def test_names_from_outside_are_text_wherever_they_stand() -> None:
    hostile = "</pre></details><script>alert(1)</script><img src=x onerror='x'>\"&amp;"
    report = full_report()
    cells = []
    for cell in report.cells:
        names = dict.fromkeys(("group", "row", "column", "name", "note"), hostile)
        runs = [
            replace(
                r,
                card=replace(r.card, run_id=hostile),
                result=r.result and replace(r.result, error=hostile),
                config=hostile,
                overrides=(hostile,),
            )
            for r in cell.runs
        ]
        cells.append(replace(cell, **names, runs=tuple(runs)))
    tainted = replace(
        report, title=hostile, first_line=hostile, source=hostile, shows=hostile, data=hostile,
        environment=(hostile,), command=hostile, caveats=(hostile,), notes=(hostile,),
        cells=tuple(cells),
    )  # fmt: skip
    page = page_of(tainted)
    assert len(page.all("script")) == 1
    assert len(page.all("img")) == len(FIGURES)
    assert page.all("h1")[0].text == hostile
    assert page.all("main")[0].text.count(hostile) > 10 * len(cells)


def test_what_the_report_says_is_on_the_page() -> None:
    report = full_report()
    text = page_of(report).all("main")[0].text
    said = (report.title, report.source, report.shows, report.command, *report.caveats)
    said += (report.how_decided, *(c.claim.sentence for c in report.claims if c.claim))
    for words in (*said, *report.notes, *report.environment, FAILURE, OMITTED, f"note {SPECIAL}"):
        assert words in text


def test_the_page_begins_with_the_claims_and_what_became_of_them() -> None:
    report = full_report()
    page = page_of(report)
    assert page.all("section")[0].attributes["id"] == "claims"
    (section,) = [n for n in page.all("section") if n.attributes["id"] == "claims"]
    for cell in report.claims:
        assert cell.claim is not None
        assert cell.claim.sentence in section.text
        assert cell.claim.why in section.text
        assert claim_verdict(cell) in section.text
    assert "+2.67 P" in section.text
    without = replace(report, cells=tuple(replace(c, claim=None) for c in report.cells))
    assert 'id="claims"' not in render_page(without, FIGURES)
    assert report.how_decided in page_of(without).all("main")[0].text


def test_every_run_has_its_command_and_config_behind_one_click() -> None:
    report = full_report()
    page = page_of(report)
    runs = [run for cell in report.cells for run in cell.runs]
    shown = page.all("details", "run")
    assert len(shown) == len(runs)
    for run in runs:
        (details,) = [node for node in shown if run.run_id in node.text]
        assert command_line(run.overrides) in details.text
        assert run.config in details.text
        assert run.state in details.text
        assert (run.error or "") in details.text
        assert sum(node.name == "details" for node in details.inside) == 1
        assert "open" not in details.attributes


def test_every_cell_is_a_line_of_the_table_that_leads_to_its_details() -> None:
    report = full_report()
    page = page_of(report)
    (results,) = [node for node in page.all("section") if node.attributes["id"] == "results"]
    links = [node for node in page.all("a") if results in node.inside]
    targets = {f"#{node.attributes['id']}": node for node in page.all("details", "cell")}
    assert [link.attributes["href"] for link in links] == list(targets)
    assert len(links) == len(report.cells)


def line_of(report: Report, key: str) -> str:
    """Returns the text of a cell's line in the table of results."""
    index = [cell.key for cell in report.cells].index(key)
    links = [n for n in page_of(report).all("a") if n.inside[-1].name == "td"]
    links = [n for n in links if any(i.attributes.get("id") == "results" for i in n.inside)]
    (link,) = [n for n in links if n.attributes["href"] == f"#cell-{index}"]
    return link.inside[-2].text


def test_a_cells_line_has_its_values_verdicts_and_the_papers() -> None:
    line = line_of(full_report(), "weak KD")
    assert "99.00 ± 0.20" in line  # last
    assert "99.20 ± 0.20" in line  # best_test
    assert "+1.60▲ better" in line
    assert "\N{MINUS SIGN}0.07≈ equivalent" in line
    assert "71.05 ± 0.16 P" in line
    assert "not compatible" in line


def test_a_worse_cell_is_worse_in_words_and_one_seed_decides_nothing() -> None:
    assert "▼ worse" in line_of(full_report(), "weak De-KD")
    line = line_of(one_seed_report(), "weak KD")
    assert "undecided" in line
    assert not re.search("better|worse|equivalent", line)


def test_cells_that_are_not_complete_are_listed_first_with_their_reason() -> None:
    report = full_report()
    (section,) = [n for n in page_of(report).all("section") if n.attributes["id"] == "unfinished"]
    lacking = [cell for cell in report.cells if cell.state != "complete"]
    assert section.text.count(": ") >= len(lacking)
    for reason in (FAILURE, OMITTED, "2 of 3 runs", "its teacher failed", "not started"):
        assert reason in section.text
    complete = replace(report, cells=tuple(c for c in report.cells if c.state == "complete"))
    assert "unfinished" not in render_page(complete, FIGURES)


def test_compatibility_is_said_only_where_it_was_judged() -> None:
    report = full_report()
    cell = next(cell for cell in report.cells if cell.target)
    assert cell.target is not None
    for judged, words in (
        (None, "not judged"),
        (Compatibility(0.1, 0.4, True), "ours +0.10, within 0.40"),
        (Compatibility(-2.0, 0.4, False), "not compatible"),
    ):
        target = replace(cell.target, compatibility=judged)
        one = replace(report, cells=(replace(cell, target=target),))
        assert words in line_of(one, cell.key)


def test_figures_are_embedded_whole_and_each_has_a_description() -> None:
    figures = {**FIGURES, "teacher_epoch.png": bytes(range(256))}
    page = Page(render_page(teacher_epoch_report(), figures))
    found = [
        base64.b64decode((n.attributes["src"] or "").partition(",")[2]) for n in page.all("img")
    ]
    assert sorted(found) == sorted(figures.values())
    assert all(len(n.attributes["alt"] or "") > 20 for n in page.all("img"))


def test_a_figure_that_trains_nothing_has_no_empty_table() -> None:
    report = replace(hand_made_report(), cells=())
    page = Page(render_page(report, {**FIGURES, "hand_made.png": b"1"}))
    assert page.all("table") == []
    assert len(page.all("img")) == 1


def page_of_cell(cell: CellSummary) -> Page:
    return page_of(replace(full_report(), cells=(cell,)))


def test_a_cells_curves_have_a_line_for_each_run_through_all_its_epochs() -> None:
    cell = full_report().cells[0]
    page = page_of_cell(cell)
    charts = [node for node in page.all("svg") if node.attributes.get("role") == "img"]
    assert len(charts) == 2
    lines = page.all("polyline")
    assert len(lines) == 2 * len(cell.runs)
    for line, run in zip(lines, (*cell.runs, *cell.runs), strict=True):
        points = [
            tuple(map(float, p.split(","))) for p in (line.attributes["points"] or "").split()
        ]
        assert len(points) == len(series(run, "test", "top1"))
        assert [x for x, _ in points] == sorted(x for x, _ in points)
    heights = [float((n.attributes["points"] or "").split(",")[-1]) for n in lines[:3]]
    finals = [series(run, "test", "top1")[-1][1] for run in cell.runs]
    order = sorted(range(3), key=lambda i: finals[i])
    assert sorted(range(3), key=lambda i: -heights[i]) == order  # better is higher up


def test_validation_is_a_line_of_its_own_and_a_single_epoch_a_point() -> None:
    cell = full_report().cells[0]
    (record, *_) = cell.runs[0].history
    one = replace(cell.runs[0], history=(replace(record, val=invented_metrics(90.0)),))
    page = page_of_cell(replace(cell, runs=(one,)))
    assert [n.attributes["class"] for n in page.all("circle")] == ["s0", "s0 val", "s0"]
    assert any("validation" in caption.text for caption in page.all("figcaption"))
    without = page_of_cell(replace(cell, runs=(replace(one, history=()),)))
    assert without.all("svg") == []


@pytest.mark.parametrize(("low", "high"), [(0, 1), (97.13, 98.9), (-0.02, 0.017), (1, 200), (3, 3)])
def test_ticks_are_few_evenly_spaced_and_within_the_range(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 1 <= len(found) <= 6
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in found)
    steps = {round(b - a, 9) for a, b in pairwise(found)}
    assert len(steps) <= 1


def test_two_hundred_epochs_of_a_hundred_runs_stay_a_file_one_can_send() -> None:
    report = full_report()
    cell = report.cells[0]
    first = cell.runs[0].history[0]
    history = tuple(replace(first, epoch=i + 1, test=invented_metrics(i / 3)) for i in range(200))
    runs = tuple(
        replace(
            cell.runs[0],
            card=invented_card(f"run-{i}", i, "none"),
            history=history,
            config="key: value\n" * 200,
        )
        for i in range(100)
    )
    page = render_page(replace(report, cells=(replace(cell, runs=runs),)), FIGURES)
    assert len(page) < 2_000_000
    assert page.count("key: value") == 100 * 200


def test_what_is_negative_has_a_true_minus_sign() -> None:
    assert typeset("[-0.10, +1.00] weak-KD") == "[\N{MINUS SIGN}0.10, +1.00] weak-KD"


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MEASURE = """<iframe id=f style="border:0;width:390px;height:900px"></iframe><script>
f.onload = () => {
  const inside = f.contentDocument;
  inside.querySelectorAll("details").forEach(d => d.open = true);
  const root = inside.documentElement;
  const rows = inside.querySelectorAll("tr").length;
  document.title = [root.clientWidth, root.scrollWidth, rows].join();
};
f.srcdoc = PAGE;
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_on_a_phone_the_page_is_no_wider_than_the_screen(tmp_path: Path) -> None:
    page = json.dumps(render_page(full_report(), FIGURES)).replace("</", "<\\/")
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(MEASURE.replace("PAGE", page), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
               "--no-first-run", "--hide-scrollbars", "--virtual-time-budget=5000", "--dump-dom",
               f"--user-data-dir={tmp_path / 'profile'}"]  # fmt: skip
    assert CHROMIUM is not None
    command = [CHROMIUM, *options, wrapper.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r"<title>(\d+),(\d+),(\d+)</title>", dom)
    assert found is not None
    width, needed, rows = map(int, found.groups())
    assert width == 390
    assert rows > len(full_report().cells)
    assert needed <= width
