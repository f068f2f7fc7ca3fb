"""Templates of three languages, in which a value is text: what means something there is escaped.

A template writes what is fixed; each value that it shows passes its language's `escape`, unless it
is markup already. No report is known here.
"""

import functools
import re
from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from kdlsr.reporting import formatting, judged

_MARKDOWN = re.compile(r"[\\`*~$|<]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|&(?=#|\w+;)|(?<=\])\(")
_BEGINS_BLOCK = re.compile(r"^(?:[#>]|[-+](?=[\s-]|$)|\d+(?=[.)](?:\s|$)))")
LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "`": r"\textasciigrave{}",
    **{mark: "\\" + mark for mark in "{}&%$#_"},
    '"': "''",  # textquotedbl needs the T1 encoding
    "±": r"$\pm$", "·": r"$\cdot$", "∥": r"$\|$", "≤": r"$\leq$", "≥": r"$\geq$",
    "→": r"$\rightarrow$", "←": r"$\leftarrow$", "ε": r"$\varepsilon$", "τ": r"$\tau$",
    "\N{GREEK SMALL LETTER ALPHA}": r"$\alpha$", "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{MINUS SIGN}": "$-$", "\N{EN DASH}": "--", "\N{EM DASH}": "---",
}  # fmt: skip


def escape_latex(text: str) -> str:
    """Returns text in which no character means anything to LaTeX, in one line."""
    return "".join(LATEX.get(mark, mark) for mark in formatting.one_line(text))


def escape_markdown(text: str) -> str:
    """Returns text in which no character means anything to Markdown, in one line."""
    entities = {"<": "&lt;", "&": "&amp;"}
    return _MARKDOWN.sub(
        lambda found: entities.get(found[0], "\\" + found[0]), formatting.one_line(text)
    )


def markdown_paragraph(text: str) -> Markup:
    """Escapes text that begins a block, where more characters mean something."""
    escaped = escape_markdown(text)
    found = _BEGINS_BLOCK.match(escaped)
    if found is None:
        return Markup(escaped)
    at = found.end() if found[0].isdigit() else 0
    return Markup(f"{escaped[:at]}\\{escaped[at:]}")


def markdown_code(text: str) -> Markup:
    """Returns a block of shell commands, whatever fences are in them."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return Markup(f"{fence}bash\n{text}\n{fence}")


@functools.cache
def html() -> Environment:
    """Returns the templates of HTML, which jinja2 escapes by itself."""
    found = _environment()
    found.filters["typeset"] = typeset
    return found


@functools.cache
def markdown() -> Environment:
    """Returns the templates of GitHub's Markdown."""
    found = _environment(finalize=_escaping(escape_markdown))
    found.filters |= {"paragraph": markdown_paragraph, "code": markdown_code}
    return found


@functools.cache
def latex() -> Environment:
    """Returns the templates of LaTeX, whose braces are its own: `<< value >>`, `<% if ... %>`."""
    found = _environment(
        finalize=_escaping(escape_latex),
        variable_start_string="<<",
        variable_end_string=">>",
        block_start_string="<%",
        block_end_string="%>",
        comment_start_string="<#",
        comment_end_string="#>",
    )
    found.filters["comment"] = lambda text: Markup(formatting.one_line(text))
    return found


def _environment(**options: Any) -> Environment:
    found = Environment(
        loader=PackageLoader("kdlsr.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        **options,
    )
    found.globals |= {"formatting": formatting, "judged": judged}
    return found


def _escaping(escape: Callable[[str], str]) -> Callable[[object], Markup]:
    """Returns what escapes a value; what it returns is markup, which jinja2 leaves as it is."""
    return lambda value: value if isinstance(value, Markup) else Markup(escape(str(value)))


def typeset(numbers: str) -> str:
    """Returns numbers in words with a true minus sign in front of what is negative."""
    return re.sub(r"-(?=\d)", "\N{MINUS SIGN}", numbers)
