"""A run's card, `run.json`: what it is, written when it starts, so that nobody has to guess it.

Ids, the resolved config, the command that makes it, its teacher, what its id was made from. How
far the run is, and what came of it, is not on the card.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import yaml

from kdlsr.config import UserError, build
from kdlsr.runs.identity import digest_of

SCHEMA = 1
MadeFor = Literal["itself", "teaching"]


@dataclass(frozen=True, kw_only=True)
class TeacherOnCard:
    """Which teacher a run has.

    Attributes:
        run_id, cell_id: of a teacher that is a run of this suite; None for any other.
        name: its run_id, its file, or its name in timm.
        epoch: which of its epochs teaches, as it was asked for.
        is_own_past: whether it is the run itself, earlier.
    """

    run_id: str | None = None
    cell_id: str | None = None
    name: str
    epoch: int | str
    is_own_past: bool = False


@dataclass(frozen=True, kw_only=True)
class DataOnCard:
    """How much of a data set there was to read, before any split or subset.

    Attributes:
        train, test: samples; None: not known when the run began.
        skipped: files passed over among them, by suffix or kind; None: they are no tree of files
            that might hold others.
    """

    train: int | None = None
    test: int | None = None
    skipped: Mapping[str, int] | None = None


@dataclass(frozen=True, kw_only=True)
class RunCard:
    """What a run is.

    Attributes:
        run_id: known by this, whatever its folder is called.
        cell_id: shared by the runs that differ in their seeds only.
        made_for: `teaching` while only students have needed it; `itself` once a command, or a
            cell of a table, asked for it. A run made for teaching is no seed of anybody's cell.
        command: the overrides of `kdlsr.train` that make it.
        teacher: None without one.
        numerics: of the code that made it.
        identity: all that moves its numbers; `run_id` ends in its digest.
        config: resolved: every `auto` and null that moves the numbers filled in.
        data: None on cards from before it was noted.
    """

    schema: int = SCHEMA
    run_id: str
    cell_id: str
    made_for: MadeFor = "itself"
    command: tuple[str, ...]
    teacher: TeacherOnCard | None = None
    numerics: int
    identity: Mapping[str, Any]
    config: Mapping[str, Any]
    data: DataOnCard | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Reads what `to_json` wrote.

        Raises:
            UserError: a key is missing or unknown, a value of another type, or the card's id is
                not that of what it says.
        """
        card = build(cls, values, "run.json")
        if not card.run_id.endswith(f"-{digest_of(card.identity)}"):
            raise UserError("run.json: its run_id is not that of the identity it states")
        return card

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return asdict(self)

    def config_text(self) -> str:
        """Returns its config as YAML, for people to read."""
        text: str = yaml.safe_dump(dict(self.config), sort_keys=False, default_flow_style=None)
        return text

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.config["seed"])

    @property
    def seeds(self) -> tuple[int, int]:
        """What pairs it with a run of another cell: its initialisation and data seeds."""
        return int(self.config["init_seed"]), int(self.config["data_seed"])
