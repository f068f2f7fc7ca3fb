"""Settings and profiles: on what a table's cells are run, and at which size.

A *setting* is a data set with a schedule and the networks trained on it, each pinned to the
recipe of its own baseline row. A *profile* says at which size tables are run; a setting of other
things than images says itself what a profile means for it. Nothing here composes or plans a run.
"""

from dataclasses import dataclass, field
from typing import Annotated

from kdlsr.config import Above, AtLeast, FolderName
from kdlsr.config.overrides import NO_OVERRIDES, Overrides
from kdlsr.tables.methods import Role


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network of a setting and its own baseline row, to which teachers are pinned.

    Attributes:
        overrides: what selects it: `model=<name>` first, then that model's options.
        role: what stands in for it in profiles that map networks by role.
        batch_size: of its baseline row.
        baseline_overrides: what else its baseline row has and its distilled rows do not.
        macs: multiply-accumulates of one image's forward pass; for estimates of time alone.
        note: where the released configs leave something open, what is used and why.
    """

    overrides: Overrides
    role: Role
    batch_size: Annotated[int, AtLeast(2)]
    baseline_overrides: Overrides = NO_OVERRIDES
    macs: Annotated[float, Above(0)] | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        if self.overrides.get("model") is None:
            raise ValueError("overrides must begin with model=<name>")


@dataclass(frozen=True, kw_only=True)
class StandIn:
    """A network that stands in for one of a setting's, by its name, at another size.

    Attributes:
        label: what it is called in the report.
        overrides: what selects it: `model=<name>` first, then that model's options.
        batch_size: of its runs; null: that of the network it stands in for.
    """

    label: str
    overrides: Overrides
    batch_size: Annotated[int, AtLeast(2)] | None = None


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a profile means for a setting that says so itself.

    Attributes:
        overrides: data set and schedule, in place of the profile's; null: the setting's own.
        networks: what stands in for networks of the setting; the others are themselves.
        students: the networks whose rows are run; null: all.
    """

    overrides: Overrides | None = None
    networks: dict[str, StandIn] = field(default_factory=dict)
    students: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A data set and schedule with the networks trained on them.

    Attributes:
        source: where its facts come from.
        overrides: data set and schedule, as on the command line of `kdlsr.train`.
        classes: K.
        train_images: per epoch; for estimates of time alone.
        epochs: of the full schedule.
        networks: by name.
        needs_files: whether its data or networks are files that a plan already has to look at.
        profiles: what profiles mean here, by their names, where a profile's own data and
            networks by role would be of another kind.
        notes: what the source leaves open and what is used instead.
    """

    name: str
    source: str
    overrides: Overrides
    classes: Annotated[int, AtLeast(2)]
    train_images: Annotated[int, AtLeast(1)]
    epochs: Annotated[int, AtLeast(1)]
    networks: dict[str, Network] = field(default_factory=dict)
    needs_files: bool = False
    profiles: dict[str, Size] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for profile, size in self.profiles.items():
            for name in (*size.networks, *(size.students or ())):
                if name not in self.networks:
                    raise ValueError(f"profiles.{profile}: {name} is no network of the setting")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """At which size tables are run.

    Attributes:
        name: as it is chosen.
        means: what a table made at it is evidence of: the first line of every report.
        overrides: data set and schedule; null: each table's own setting.
        weak, strong: the networks that stand in by role; null: the published ones.
        batch_size: of all runs; null: each row's own.
        seeds: how many, or which.
    """

    name: Annotated[str, FolderName()]
    means: str
    overrides: Overrides | None = None
    weak: Overrides | None = None
    strong: Overrides | None = None
    batch_size: Annotated[int, AtLeast(2)] | None = None
    seeds: Annotated[int, AtLeast(1)] | tuple[int, ...] = 3

    def __post_init__(self) -> None:
        if (self.weak is None) != (self.strong is None):
            raise ValueError("weak and strong go together")


@dataclass(frozen=True)
class SizedSetting:
    """A setting at the size that a profile asks for."""

    setting: Setting
    profile: Profile

    @property
    def _size(self) -> Size | None:
        return self.setting.profiles.get(self.profile.name)

    @property
    def overrides(self) -> Overrides:
        """Data set and schedule."""
        found = self._size or self.profile
        return self.setting.overrides if found.overrides is None else found.overrides

    @property
    def is_published(self) -> bool:
        """Whether networks are the setting's own, with all that their rows state."""
        return self._size is None and self.profile.weak is None

    def runs_rows_of(self, name: str) -> bool:
        """Whether the rows of a network are run at this size."""
        students = None if self._size is None else self._size.students
        return students is None or name in students

    def network(self, name: str, role: Role | None) -> Overrides:
        """Returns what selects a network, or the one that stands in for it.

        Args:
            name: of the setting.
            role: by which it is replaced; None: its own.
        """
        own, profile = self.setting.networks[name], self.profile
        if self._size is not None:
            return self._size.networks.get(name, own).overrides
        if profile.weak is None or profile.strong is None:
            return own.overrides
        return profile.weak if (role or own.role) == "weak" else profile.strong

    def label(self, name: str, role: Role | None) -> str:
        """Returns what a network is called."""
        if self._size is not None:
            stands_in = self._size.networks.get(name)
            return stands_in.label if stands_in else name
        return name if self.is_published else role or self.setting.networks[name].role

    def batch_size(self, name: str, of_row: int | None = None) -> int:
        """Returns the batch size of a network's runs, `of_row` where a row states its own."""
        own = self.setting.networks[name].batch_size
        if self._size is not None:
            stands_in = self._size.networks.get(name)
            return (stands_in and stands_in.batch_size) or own
        return self.profile.batch_size or of_row or own

    def baseline_overrides(self, name: str) -> Overrides:
        """Returns what else the published baseline row of a network has."""
        is_own = self.is_published
        return self.setting.networks[name].baseline_overrides if is_own else NO_OVERRIDES
