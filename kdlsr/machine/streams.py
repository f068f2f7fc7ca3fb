"""Standard output and standard error as nobody has to rely on them.

Nobody watching is no reason to stop: a closed pipe (`| head -1`), a full disk behind a log, a
terminal that was closed or that lacks a character cost what would have been shown, and no more.
Nothing that is slow to import may enter: this stands before everything else.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

# What a terminal obeys instead of showing it: control characters, escape sequences, and the
# marks that turn the direction of writing. Lines end in \n; a tab and \r move, and hide nothing
# that is written to a log.
_OBEYED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Returns `text` with each character that a terminal would obey replaced by a `?`."""
    return _OBEYED.sub("?", text)


class ForgivingStream:
    """A stream of this process, which goes quiet where it fails instead of raising.

    Attributes:
        errors: how characters are written that the stream's encoding lacks.
    """

    def __init__(self, stream: Callable[[], TextIO], errors: str, plain: bool = False) -> None:
        """Takes what returns the stream of now.

        Args:
            stream: asked at every call, for tests and notebooks exchange it.
            errors: as above.
            plain: whether what a terminal would obey is replaced; rich's own codes are not.
        """
        self._stream = stream
        self._errors = errors
        self._plain = plain

    def write(self, text: str) -> int:
        """Writes text, as far as that is possible."""
        stream = self._stream()
        encoding = getattr(stream, "encoding", None) or "utf-8"
        shown = printable(text) if self._plain else text
        try:
            stream.write(shown.encode(encoding, self._errors).decode(encoding))
        except (OSError, ValueError):  # ValueError: it was closed
            silence(stream)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Writes each."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hands over what was written."""
        stream = self._stream()
        try:
            stream.flush()
        except (OSError, ValueError):
            silence(stream)

    def __getattr__(self, name: str) -> Any:
        """Everything else (isatty, encoding, fileno) is the stream's own."""
        return getattr(self._stream(), name)


def silence(stream: TextIO) -> None:
    """Sends what is still to be printed to nowhere.

    Python flushes its streams at its end, and would complain of the same once more.
    """
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


@contextmanager
def forgiving_streams() -> Iterator[None]:
    """Has all that is printed inside, by whomever, cost nothing but itself where it cannot be."""
    before = sys.stdout, sys.stderr
    out, err = (nowhere() if stream is None else stream for stream in before)
    streams: Any = ForgivingStream(lambda: out, "replace"), _plain(lambda: err)
    sys.stdout, sys.stderr = streams
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def nowhere() -> TextIO:
    """Returns what stands in for a stream that was closed before Python started (`>&-`)."""
    return os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")


def _plain(stream: Callable[[], TextIO]) -> ForgivingStream:
    return ForgivingStream(stream, "backslashreplace", plain=True)
