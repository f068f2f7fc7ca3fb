"""The terminal that all commands print to: what is shown is text, and never obeyed.

One that is gone, full or narrow, or that lacks a character, ends nothing: see `streams`.
"""

import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook
from rich.segment import Segment

from kdlsr.machine.streams import ForgivingStream, nowhere, printable


def open_screen(**options: Any) -> Console:
    """Returns rich's console on standard output, which nothing that happens to it can end.

    Args:
        options: of rich's `Console`.
    """
    if sys.stdout is None:
        sys.stdout = nowhere()
    stream = cast(TextIO, ForgivingStream(lambda: sys.stdout, "replace"))
    console = Console(file=stream, highlight=False, **options)
    console.push_render_hook(_AsText())
    return console


class _AsText(RenderHook):
    """Has escape sequences in what a table, a card or a config says shown, not obeyed."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Shown(renderable) for renderable in renderables]


class _Shown:
    """What is printed, without the characters that a terminal obeys, rich's own apart."""

    def __init__(self, content: ConsoleRenderable) -> None:
        self._content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for text, style, control in console.render(self._content, options):
            yield Segment(text if control else printable(text), style, control)
