"""What a user chooses of tables besides their names: the fields of `conf/reproduce.yaml`."""

from dataclasses import dataclass, fields
from typing import Annotated, Literal

from kdlsr.config import AtLeast, Between, UserError
from kdlsr.config.compose import compose_config
from kdlsr.config.overrides import Overrides
from kdlsr.config.refusals import unknown_key
from kdlsr.config.schema import Seed

MOST_SEEDS = 10_000
# Set by the table, cell by cell, and so not for the command line to set for all.
SET_BY_TABLE = (
    "model",
    "loss",
    "teacher",
    "seed",
    "init_seed",
    "data_seed",
    "start",
    "until",
    "rows",
    "keep_epochs",
)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What `conf/reproduce.yaml` composes to, the profile apart.

    Attributes:
        table: a file of experiments/ without suffix, a folder of them, or a list of either.
        mode: run; plan and list start nothing; report renders what is there.
        seeds: how many, or which; `auto`: looks, until all is decided; null: the profile's.
        looks: of `auto`: how many seeds a cell at each.
        teacher_seeds: how many teachers each student has, one after the other; `each`: one of its
            own for each seed.
        forms: of each method; null: all that its loss has.
        methods: rows of these methods only; null: all.
        controls: whether each form's controls are run too.
        protocol: by which differences are judged; null: `best_val` where there is a
            validation split, else `last`.
        measure: of `plan`: whether the steps of networks like which none was run here are
            measured, for a minute at the most; what was measured is remembered.
        margin: a difference that is smaller does not matter, points of top-1.
    """

    table: str | tuple[str, ...] = ()
    mode: Literal["run", "plan", "list", "report"] = "run"
    seeds: Annotated[int, Between(1, MOST_SEEDS)] | tuple[Seed, ...] | Literal["auto"] | None = None
    looks: tuple[Annotated[int, Between(2, MOST_SEEDS)], ...] = (3, 5, 8, 12)
    teacher_seeds: Annotated[int, Between(1, MOST_SEEDS)] | Literal["each"] = 1
    forms: tuple[str, ...] | None = None
    methods: tuple[str, ...] | None = None
    controls: bool = True
    protocol: Literal["last", "best_test", "best_val"] | None = None
    measure: bool = True
    margin: Annotated[float, AtLeast(0)] = 0.5

    def __post_init__(self) -> None:
        for name, chosen in (("forms", self.forms), ("methods", self.methods)):
            if chosen is not None and not chosen:
                raise ValueError(f"{name} is empty; expected null, or a list of them")
        if isinstance(self.seeds, tuple) and len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds={list(self.seeds)} is not possible; expected different ones")
        if isinstance(self.seeds, tuple) and not self.seeds:
            raise ValueError("seeds is empty; expected how many, auto, or a list of them")
        if not self.looks or list(self.looks) != sorted(set(self.looks)):
            raise ValueError(f"looks={list(self.looks)} is not possible; expected rising numbers")

    @property
    def wanted_seeds(self) -> int | tuple[Seed, ...] | None:
        """How many seeds there may be, or which; None: the profile's."""
        return self.looks[-1] if self.seeds == "auto" else self.seeds


OWN = (*(field.name for field in fields(Choices)), "profile")  # keys of the command itself


def check_keys(overrides: Overrides) -> None:
    """Refuses a key that is neither the command's own nor one of every run, with what is near.

    Args:
        overrides: of the command, for every run.

    Raises:
        UserError: which.
    """
    known = compose_config(())
    free = [key for key in known if key not in SET_BY_TABLE]
    for override in overrides:
        if "." not in override.key and not override.sign and override.key not in known:
            raise UserError(unknown_key(override.key, dict.fromkeys((*OWN, *free))))
