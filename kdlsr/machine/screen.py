"""The terminal that all commands print to: one that is gone, full or narrow ends nothing.

Nobody watching is no reason to stop: a closed pipe (`| head -1`), a full disk behind a log, a
terminal that was closed or that lacks a character cost what would have been shown, and no more.
"""

import os
import sys
from typing import Any

from rich.console import Console


class ForgivingStdout:
    """Standard output, which goes quiet where it fails instead of raising."""

    def write(self, text: str) -> int:
        """Writes text, characters that the encoding lacks replaced."""
        try:
            encoding = sys.stdout.encoding or "utf-8"
            sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
        except OSError:
            silence_stdout()
        return len(text)

    def flush(self) -> None:
        """Hands over what was written."""
        try:
            sys.stdout.flush()
        except OSError:
            silence_stdout()

    def __getattr__(self, name: str) -> Any:
        """Everything else (isatty, encoding, fileno) is standard output's own."""
        return getattr(sys.stdout, name)


def silence_stdout() -> None:
    """Sends what is still to be printed to nowhere.

    Python flushes standard output at its end, and would complain of the same once more.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def open_screen(**options: Any) -> Console:
    """Returns rich's console on standard output, which nothing that happens to it can end.

    Args:
        options: of rich's `Console`.
    """
    if sys.stdout is None:  # it was closed before Python started (`>&-`)
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    return Console(file=ForgivingStdout(), highlight=False, **options)  # type: ignore[arg-type]
