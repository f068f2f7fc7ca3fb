"""A report as Markdown, LaTeX, CSV, JSON and on a terminal: read back, it says the same."""

import csv
import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console
from sample_report import (
    BETTER,
    DRAFTS,
    EQUIVALENT,
    FAILED,
    FAILURE,
    NOT_RUN,
    NOT_STARTED,
    OMITTED,
    OMITTED_CELL,
    PARTIAL,
    SCALE,
    SPECIAL,
    WEAK,
    WORSE,
    build_report,
    full_report,
    one_seed_report,
    search_report,
)

from kdlsr.reporting import formatting, judged
from kdlsr.reporting.claims import render_claims, seeds
from kdlsr.reporting.frame import columns, render_csv, render_json
from kdlsr.reporting.publish import write_report
from kdlsr.reporting.rendering import render_latex, render_markdown
from kdlsr.reporting.statistics import estimate
from kdlsr.reporting.summary import Report
from kdlsr.reporting.templating import LATEX, escape_latex
from kdlsr.reporting.terminal import print_report, shell_lines

REPORTS: list[Callable[[], Report]] = [full_report, one_seed_report, search_report]


def render_terminal(report: Report, width: int = 80) -> str:
    text = io.StringIO()
    print_report(Console(file=text, width=width, soft_wrap=True, highlight=False), report)
    return text.getvalue()


RENDERINGS = {
    "Markdown": render_markdown,
    "LaTeX": render_latex,
    "CSV": render_csv,
    "JSON": render_json,
    "terminal": render_terminal,
}
every_rendering = pytest.mark.parametrize("language", RENDERINGS)


def unwrapped(text: str) -> str:
    """Text as a reader joins it again where it was folded."""
    return " ".join(text.split())


def markdown_tokens(report: Report) -> list[Token]:
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    return parser.parse(render_markdown(report))


def inline_text(token: Token) -> str:
    return "".join(
        "\n" if child.type == "html_inline" else child.content for child in token.children or []
    )


def markdown_texts(report: Report) -> list[str]:
    return [inline_text(token) for token in markdown_tokens(report) if token.type == "inline"]


def markdown_tables(report: Report) -> list[list[list[str]]]:
    """Tables as a renderer sees them: rows of texts, the head first."""
    tables: list[list[list[str]]] = []
    in_cell = False
    for token in markdown_tokens(report):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type in ("th_open", "td_open"):
            in_cell = True
        elif token.type == "inline" and in_cell:
            tables[-1][-1].append(inline_text(token))
            in_cell = False
    return tables


def latex_rows(text: str) -> Iterator[tuple[list[str], int]]:
    """Each line of each table as its cells, and how many columns its table has."""
    wide = 0
    for line in text.splitlines():
        if found := re.match(r"\\begin\{tabular\}\{(l+)\}", line):
            wide = len(found[1])
        elif line.endswith(r" \\"):
            yield re.split(r"(?<!\\)&", line.removesuffix(r" \\")), wide


def csv_records(report: Report) -> dict[str, dict[str, str]]:
    first, _, table = render_csv(report).partition("\n")
    assert first.startswith("# ")
    return {record["key"]: record for record in csv.DictReader(io.StringIO(table))}


@pytest.mark.parametrize("build", REPORTS)
def test_the_first_line_says_which_profile_made_it(build: Callable[[], Report]) -> None:
    report = build()
    said = report.first_line
    assert markdown_texts(report)[0] == said
    assert render_markdown(report).splitlines()[0]
    assert render_latex(report).splitlines()[0] == f"% {said}"
    assert render_csv(report).splitlines()[0] == f"# {said}"
    assert next(iter(json.loads(render_json(report)).items())) == ("first_line", said)
    assert unwrapped(render_terminal(report)).startswith(said)


@every_rendering
@pytest.mark.parametrize("build", REPORTS)
def test_nothing_is_shown_as_nan_or_none(language: str, build: Callable[[], Report]) -> None:
    text = RENDERINGS[language](build())
    text = text.replace("tracker=none", "").replace("none is", "")
    assert not re.search(r"\b(nan|inf|none)\b", text, re.IGNORECASE)


@every_rendering
def test_equal_reports_give_equal_bytes(language: str) -> None:
    render = RENDERINGS[language]
    assert render(full_report()) == render(full_report())
    assert render(full_report()) != render(one_seed_report())


@every_rendering
def test_a_cell_without_runs_shows_why(language: str) -> None:
    report = full_report()
    if language == "Markdown":
        shown = "\n".join(markdown_texts(report))
    elif language == "JSON":
        shown = "\n".join(str(cell["why"]) for cell in json.loads(render_json(report))["cells"])
    elif language == "CSV":
        shown = "\n".join(record["why"] for record in csv_records(report).values())
    else:
        shown = unwrapped(RENDERINGS[language](report))
    escape = escape_latex if language == "LaTeX" else str
    assert escape(f"failed: {FAILURE}") in shown
    assert escape(f"omitted: {OMITTED}") in shown
    assert "not run: its teacher failed or is not there yet" in shown
    assert "not started" in shown


def test_what_became_of_each_claim_says_on_what_it_rests() -> None:
    report = full_report()

    def said(key: str) -> tuple[str, str]:
        cell = report.by_key[key]
        assert cell.claim is not None
        return judged.claim_verdict(cell), cell.claim.why

    assert said(BETTER) == (
        "gain shown and explained by its control",
        "better than its baseline; equivalent to CE x 0.05",
    )
    assert said(WORSE) == ("no gain", "worse than its baseline")
    assert said(EQUIVALENT) == ("no gain", "equivalent to its baseline")
    assert said(PARTIAL)[0].startswith("undecided")
    assert said(FAILED) == ("undecided", "no run is complete: failed")
    assert said(OMITTED_CELL) == ("undecided", "no run is complete: omitted")
    assert judged.claimed(report.by_key[BETTER]) == "+2.67 (P)"
    assert judged.claimed(report.by_key[EQUIVALENT]) == "-"


def test_the_headline_counts_what_became_of_the_claims() -> None:
    """Of the invented methods one is better than its baseline, and equivalent to its control."""
    said = judged.headline(full_report())
    assert said == ("9 claims: gain shown and explained by its control 1, no gain 2, undecided 6.")
    weaker = [
        replace(d, values=(97.0, 97.2, 96.8)) if d.name.startswith("CE") else d for d in DRAFTS
    ]
    assert "survives its control 1" in judged.headline(build_report(tuple(weaker)))
    assert judged.headline(one_seed_report()) == "5 claims: undecided 5."
    unclaimed = [replace(cell, claim=None) for cell in full_report().cells]
    assert judged.headline(replace(full_report(), cells=tuple(unclaimed))) == (
        "5 methods against the baseline: better 1, equivalent 1, undecided 2, worse 1."
    )
    assert judged.headline(replace(full_report(), cells=full_report().cells[:2])) == ""


def test_claims_json_has_each_claim_with_its_runs() -> None:
    report = full_report()
    found = json.loads(render_claims(report))
    assert json.dumps(found, indent=2, ensure_ascii=False) + "\n" == render_claims(report)
    assert (found["protocol"], found["margin"], found["level"]) == ("last", 1.0, 0.05)
    claims = {claim["cell"]: claim for claim in found["claims"]}
    assert list(claims) == [cell.key for cell in report.cells if cell.kind == "method"]
    claim = claims[BETTER]
    assert claim["claim"] == "Normal KD raises the top-1 of strong teaches weak."
    assert claim["verdict"] == "gain shown and explained by its control"
    assert claim["paper"] == {"gain": 2.67, "grade": "P"}
    assert claim["ours"]["difference"] == pytest.approx(1.6)
    assert claim["ours"]["verdict"] == "better"
    assert [control["verdict"] for control in claim["controls"]] == ["equivalent"]
    assert (claim["n"], claim["protocol"]) == (3, "last")
    for part, key in (("method", BETTER), ("baseline", WEAK)):
        assert claim["runs"][part] == [run.run_id for run in report.by_key[key].runs]
    assert list(claim["runs"]["controls"]) == ["CE x 0.05"]
    assert claims[PARTIAL]["n"] == 2
    assert claims[FAILED]["ours"] is None


def test_what_a_verdict_says_of_seeds() -> None:
    assert judged.undecided(None) == "undecided"
    assert judged.undecided(12) == "undecided (n = 12)"
    assert judged.undecided(float("inf")) == "undecided (n > 100)"
    assert [seeds(n) for n in (None, 12.0, float("inf"))] == [None, 12, "> 100"]


@every_rendering
def test_with_one_seed_no_rendering_claims_anything(language: str) -> None:
    report = one_seed_report()  # without the paper's values, which have deviations of their own
    report = replace(report, cells=tuple(replace(cell, target=None) for cell in report.cells))
    shown = RENDERINGS[language](report).partition("table_csv_columns")[0]
    shown = re.sub(r"mean [^ ]+ standard deviation", "", shown, flags=re.IGNORECASE)  # headings
    shown = shown.replace("p equivalent (Holm)", "")
    assert not re.search(r"\bbetter\b|\bworse\b|equivalent|gain shown|no gain|±|\\pm", shown)
    assert "97.4" in shown


def test_numbers_are_put_in_words_without_negative_zeros() -> None:
    assert [formatting.signed(v) for v in (0.84, -0.2, 0.0, -0.004, 0.004)] == [
        "+0.84", "-0.20", "0.00", "0.00", "0.00",
    ]  # fmt: skip
    assert [formatting.p_value(p) for p in (None, 0.0123, 0.00099, 1.0)] == [
        "-", "0.012", "< 0.001", "1",
    ]  # fmt: skip
    assert formatting.spread(estimate([97.4])) == "97.40 (1)"
    assert formatting.spread(estimate([97.4, 97.2, 97.6])) == "97.40 ± 0.20 (3)"
    held = full_report().by_key[BETTER].baseline
    assert held is not None
    assert judged.versus(held) == f"+1.60 {formatting.interval(held.interval)} better"
    assert judged.versus(replace(held, decision=None)).endswith("] not tested")
    (alone, *_) = (c.baseline for c in one_seed_report().cells if c.kind == "method")
    assert alone is not None
    assert judged.versus(alone) == "+1.60 undecided"


def test_papers_values_come_with_grade_deviation_and_compatibility() -> None:
    report = full_report()
    printed, unprinted = (report.by_key[key].target for key in (BETTER, WORSE))
    assert formatting.paper(printed) == "71.05 ± 0.16 (P)"
    assert formatting.paper(unprinted) == "70.65 (P)"
    assert formatting.compatible(printed) == "+28.15 not compatible (within 0.42)"
    assert formatting.compatible(report.cells[0].target) == "-0.10 compatible (within 0.45)"
    assert formatting.compatible(one_seed_report().cells[0].target) == "not judged"
    assert "P, primary" in formatting.grades(report)
    assert formatting.grades(search_report()) == ""


@pytest.mark.parametrize("build", REPORTS)
def test_markdown_tables_render_with_all_their_columns(build: Callable[[], Report]) -> None:
    report = build()
    tables = markdown_tables(report)
    assert len(tables) >= 2
    for head, *rows in tables:
        assert rows
        assert {len(row) for row in rows} == {len(head)}
    source = render_markdown(report)
    assert len(tables) == len(re.findall(r"^\| --- ", source, re.MULTILINE))


def test_markdown_shows_every_mark_as_itself() -> None:
    report = full_report()
    texts = markdown_texts(report)
    assert f"Invented {SPECIAL}" in texts
    assert f"A caveat with marks: {SPECIAL}" in texts
    assert any(f"row {SPECIAL}" in text for text in texts)
    inline = [c for t in markdown_tokens(report) if t.type == "inline" for c in t.children or []]
    assert {child.type for child in inline} <= {"text", "html_inline", "text_special"}
    assert {c.content for c in inline if c.type == "html_inline"} == {"<br>"}


@pytest.mark.parametrize(
    "text",
    ["# 1", "> so", "- a", "+ a", "1. a", "2) a", "-", "---", "1.", "_m_ __n__", "&lt; &#35; R&D"],
)
def test_markdown_paragraphs_stay_paragraphs(text: str) -> None:
    report = replace(full_report(), first_line=text, source=text, caveats=(text,), notes=())
    texts = markdown_texts(report)
    assert texts[0] == text
    assert texts.count(text) >= 3
    kinds = {token.type for token in markdown_tokens(report)}
    assert not kinds & {"blockquote_open", "ordered_list_open"}


def test_markdown_gives_the_moderated_test_beside_welchs_and_the_paired_one() -> None:
    head, *rows = markdown_tables(full_report())[3]
    found = {(row[0], row[3]): dict(zip(head, row, strict=True)) for row in rows}
    kd = found["Re-KD: strong teaches weak", "baseline"]
    held = full_report().by_key[BETTER].baseline
    assert held is not None
    assert held.decision is not None
    assert kd["difference"] == "+1.60"
    assert kd["95 %"] == formatting.interval(held.interval)
    assert kd["Welch 95 %"] == formatting.interval(held.difference.welch)
    assert kd["p (Holm)"] == formatting.p_value(held.decision.p_difference)
    assert kd["p equivalent (Holm)"] == formatting.p_value(held.decision.p_equivalence)
    assert kd["paired 95 %"] == "-"  # the invented gains are equal at every seed
    lsr = found["Tf-KD: weak", "LSR 0.0943 x 1.06"]
    assert lsr["paired 95 %"].startswith("[-0.")
    assert lsr["verdict"] == "equivalent"
    assert found["weak", "baseline"]["verdict"] == "not tested"  # a control's


def test_markdown_begins_with_the_claims() -> None:
    head, *rows = markdown_tables(full_report())[0]
    assert head == ["claim", "cell", "paper's gain (grade)", "ours", "verdict", "because"]
    assert len(rows) == len(full_report().claims)
    assert rows[0][2] == "+2.67 (P)"
    assert rows[0][4] == "gain shown and explained by its control"


def test_several_controls_stand_under_each_other_with_their_names() -> None:
    _, *rows = markdown_tables(full_report())[1]
    row = next(row for row in rows if row[1] == "Tf-KD_reg")
    scale, lsr = row[-1].split("\n")
    assert scale.startswith("CE x 0.05: -1.60")
    assert scale.endswith("worse")
    assert lsr.startswith("LSR 0.0943 x 1.06: +0.07")


@pytest.mark.parametrize("build", REPORTS)
def test_latex_rows_fill_their_columns(build: Callable[[], Report]) -> None:
    report = build()
    rows = list(latex_rows(render_latex(report)))
    for cells, wide in rows:
        spans = [re.search(r"\\multicolumn\{(\d+)\}", cell) for cell in cells]
        assert sum(int(span[1]) if span else 1 for span in spans) == wide
    names = [[cell.strip() for cell in cells[:3]] for cells, _ in rows]
    for cell in report.cells:
        assert list(map(escape_latex, (cell.row, cell.column, cell.name))) in names


@pytest.mark.parametrize("build", REPORTS)
def test_latex_is_balanced_and_opens_what_it_closes(build: Callable[[], Report]) -> None:
    text = re.sub(r"(?m)^%.*$", "", render_latex(build()))
    open_environments: list[str] = []
    for what, name in re.findall(r"\\(begin|end)\{([^}]*)\}", text):
        if what == "begin":
            open_environments.append(name)
        else:
            assert open_environments.pop() == name
    assert not open_environments
    bare = re.sub(r"\\[{}&%$#_]", "", text)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert not re.search(r"[%#~^|<>\"`]", bare)
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(rf"\{rule}") == text.count(r"\begin{tabular}")


def test_latex_escapes_can_be_read_back() -> None:
    decode = {escaped: mark for mark, escaped in LATEX.items()}
    pattern = "|".join(re.escape(e) for e in sorted(decode, key=len, reverse=True))
    text = SPECIAL + " ± τ → %&#_{}~^\\<>|"
    escaped = escape_latex(text)
    assert re.sub(pattern, lambda found: decode[found[0]], escaped) == text
    assert escaped.isascii()


def test_csv_has_a_documented_row_per_cell_with_raw_numbers() -> None:
    report = full_report()
    records = csv_records(report)
    assert list(records) == [cell.key for cell in report.cells]
    assert all(list(record) == list(columns(report)) for record in records.values())
    assert all(column.meaning for column in columns(report).values())
    cell = report.by_key[BETTER]
    record = records[BETTER]
    assert cell.baseline is not None
    assert cell.target is not None
    assert cell.baseline.difference.welch is not None
    assert cell.baseline.interval is not None
    assert cell.baseline.decision is not None
    assert float(record["last_mean"]) == cell.estimates["last"].mean  # type: ignore[union-attr]
    assert float(record["baseline_low"]) == cell.baseline.interval.low
    assert float(record["baseline_welch_low"]) == cell.baseline.difference.welch.low
    assert float(record["baseline_p_holm"]) == cell.baseline.decision.p_difference
    assert record["baseline_verdict"] == "better"
    assert record["control_1_verdict"] == "equivalent"
    assert record["claim_verdict"] == "gain shown and explained by its control"
    assert float(record["claim_gain"]) == 2.67
    assert records[SCALE]["baseline_verdict"] == "described"
    assert record["control_2_key"] == ""
    assert float(record["paper_deviation"]) == 0.16
    assert record["paper_compatible"] == "false"
    assert records[WORSE]["paper_deviation"] == ""
    assert records[FAILED]["last_mean"] == ""
    assert records[PARTIAL]["last_n"] == "2"


def test_json_holds_every_figure_and_comes_back_as_it_was() -> None:
    report = full_report()
    found = json.loads(render_json(report))
    assert json.dumps(found, indent=2, ensure_ascii=False) + "\n" == render_json(report)
    assert found["schema"] == 2
    cells = {cell["key"]: cell for cell in found["cells"]}
    assert list(cells) == [cell.key for cell in report.cells]
    partial = cells[PARTIAL]
    assert [run["state"] for run in partial["runs"]] == ["complete", "complete", "incomplete"]
    assert [run["top1"] for run in partial["runs"]] == [
        {"last": 98.6, "best_test": 98.6 + 0.2},
        {"last": 98.2, "best_test": 98.2 + 0.2},
        None,
    ]
    assert cells[BETTER]["top1"]["last"]["values"] == [99.0, 98.8, 99.2]
    assert cells[BETTER]["baseline"]["verdict"] == "better"
    assert cells[BETTER]["paper"]["compatibility"]["compatible"] is False
    assert cells[EQUIVALENT]["controls"][1]["paired"]["df"] == 2.0
    assert cells[FAILED]["runs"][0]["error"] == FAILURE
    assert cells[OMITTED_CELL]["runs"] == []
    assert {cells[NOT_RUN]["why"], cells[NOT_STARTED]["why"]} == {
        "not run: its teacher failed or is not there yet",
        "not started",
    }


def test_json_holds_the_search_and_its_choice() -> None:
    found = json.loads(render_json(search_report()))
    assert found["search"]["best"] == "tau=4 alpha=0.9"
    assert len(found["search"]["points"]) == 9
    assert found["search"]["points"][-1]["value"] is None


def test_json_refuses_a_number_that_is_not_finite() -> None:
    report = full_report()
    broken = replace(report.cells[0], estimates={"last": estimate([float("nan")])})
    broken = replace(broken, runs=broken.runs[:1])
    with pytest.raises(ValueError, match="not JSON compliant"):
        render_json(replace(report, cells=(broken,)))


@pytest.mark.parametrize("build", [render_markdown, render_terminal, render_latex])
def test_a_search_names_its_best_point_and_what_chose_it(build: Callable[[Report], str]) -> None:
    shown = unwrapped(build(search_report()))
    assert "Chosen: tau = 4, alpha = 0.9, by top-1 on the validation split" in shown


@pytest.mark.parametrize("build", REPORTS)
@pytest.mark.parametrize("width", [80, 200])
def test_the_terminal_shows_all_in_80_columns(build: Callable[[], Report], width: int) -> None:
    report = build()
    text = render_terminal(report, width)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    whole = unwrapped(text)
    for cell in report.cells:
        assert formatting.position(cell) in whole
        for found in judged.comparisons(cell) if cell.kind == "method" else ():
            assert judged.figures(found) in whole
        for protocol in report.protocols if formatting.has_results(cell) else ():
            assert formatting.top1(cell, protocol) in whole
    for caveat in report.caveats:
        assert caveat in whole


def test_the_terminal_ends_with_the_caveats() -> None:
    report = replace(full_report(), caveats=("first caveat", "last caveat"))
    assert unwrapped(render_terminal(report)).endswith(
        f"- first caveat - last caveat - {formatting.grades(report)}"
    )


def test_the_terminal_prints_each_failed_runs_command_once() -> None:
    report = full_report()
    twice = replace(report, cells=(*report.cells, replace(report.by_key[FAILED], key="again")))
    text = render_terminal(twice)
    assert text.count("python -m kdlsr.train") == 3
    assert "'loss.tau=strong failed' seed=2" in text


def test_a_command_broken_into_lines_is_the_same_command_to_a_shell() -> None:
    arguments = ["a" * 30, "b c", "d'e", "f$g", "h" * 60, "i\\j", "*", "k"]
    lines = shell_lines(shlex.join(arguments), 40)
    assert len(lines) > 3
    script = "printf '%s\\n' " + "\n".join(lines)
    shown = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines() == arguments
    assert all(len(line) <= 40 for line in lines if "h" * 60 not in line)


def fake_drawings(monkeypatch: pytest.MonkeyPatch, figures: dict[str, bytes]) -> None:
    """In place of matplotlib and the page, which have tests of their own."""
    drawn = SimpleNamespace(draw_figures=lambda report: figures)
    page = SimpleNamespace(render_page=lambda report, found: f"{report.title} {sorted(found)}")
    monkeypatch.setitem(sys.modules, "kdlsr.reporting.figures", drawn)
    monkeypatch.setitem(sys.modules, "kdlsr.reporting.page", page)


def test_a_reports_files_are_written_and_written_again_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_drawings(monkeypatch, {"intervals.png": b"\x89PNG", "curves.png": b"\x89"})
    page = write_report(full_report(), tmp_path)
    folder = tmp_path / "reports" / "invented" / "table"
    assert page == folder / "index.html"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(before) == {
        "index.html", "table.md", "table.tex", "table.csv", "report.json", "claims.json",
        "intervals.png", "curves.png",
    }  # fmt: skip
    assert before["intervals.png"] == b"\x89PNG"
    assert before["report.json"].decode() == render_json(full_report())
    write_report(full_report(), tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_figures_of_an_earlier_report_do_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_drawings(monkeypatch, {"intervals.png": b"1", "heat_map.png": b"2"})
    folder = write_report(full_report(), tmp_path).parent
    fake_drawings(monkeypatch, {"intervals.png": b"3"})
    write_report(full_report(), tmp_path)
    assert [path.name for path in folder.glob("*.png")] == ["intervals.png"]
    assert (folder / "intervals.png").read_bytes() == b"3"


def test_a_report_that_cannot_be_rendered_leaves_the_earlier_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_drawings(monkeypatch, {"intervals.png": b"1"})
    folder = write_report(full_report(), tmp_path).parent
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    broken = replace(full_report().cells[0], estimates={"last": estimate([float("inf")])})
    broken = replace(broken, runs=broken.runs[:1])
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_report(replace(full_report(), title="new", cells=(broken,)), tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
