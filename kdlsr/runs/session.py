"""Under what a command brings runs to completion: who watches, and its share of the machine."""

from dataclasses import dataclass, field

from kdlsr.progress import NobodyWatching, Watcher


@dataclass(frozen=True)
class Session:
    """One command's, or one job's.

    Attributes:
        watcher: is told what goes on.
        cores: a job's share of the machine; None: all of it.
        asked_for: the run_id of the one run that the command is for; None: it is for several.
    """

    watcher: Watcher = field(default_factory=NobodyWatching)
    cores: int | None = None
    asked_for: str | None = None
