"""From a run's config.yaml back to the overrides of `kdlsr.train` that compose to it.

Reads `conf/`, and nothing of a run but its config; nothing is trained or printed here.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from kdlsr.config import build
from kdlsr.config.compose import compose_config, config_folders, option
from kdlsr.config.overrides import Overrides, write_value
from kdlsr.config.schema import ScheduleConfig
from kdlsr.models import models
from kdlsr.reporting.any_runs.stored import Flat, flatten
from kdlsr.training.optimisation import resolve_optimisation

_OPTIMISER = ("schedule.optimizer", "schedule.lr", "schedule.weight_decay")
# Where and how a run was made, which moves no number and may not fit the next machine.
_OF_THE_MACHINE = ("device", "threads", "keep_epochs", "until", "output_dir")


def overrides_of(config: Flat, schedule: str | None = None) -> tuple[str, ...]:
    """Returns the overrides that compose to a run's config, as few as will do.

    Seeds are included; device, threads, tracker and output folder are not.

    Args:
        config: config.yaml by dotted key.
        schedule: take this option in place of the run's own schedule.

    Raises:
        UserError: an option of it is not in `conf/`, nor in the folder of --config-dir.
    """
    groups = [f"{group}={config[f'{group}.name']}" for group in ("dataset", "model", "loss")]
    chosen = schedule or nearest_schedule(config)
    if _composed(groups)["teacher.name"] != config["teacher.name"]:
        groups.append(f"teacher={config['teacher.name']}")
    groups.append(f"schedule={chosen}")
    base = _composed(groups)
    own = {**base, **_numbers(config)}
    if schedule is not None:
        own |= {key: value for key, value in base.items() if key.startswith("schedule.")}
    elif _same_optimiser(config, chosen):
        own |= {key: base[key] for key in _OPTIMISER}
    for key in ("init_seed", "data_seed"):  # interpolated from seed
        if own[key] == own["seed"]:
            own[key] = base[key]
    changed = [key for key in own if key not in base or own[key] != base[key]]
    added = [f"{'' if key in base else '+'}{key}={write_value(own[key])}" for key in changed]
    seed = [] if "seed" in changed else [f"seed={own['seed']}"]
    return (*groups, *added, *seed)


def _composed(groups: Sequence[str]) -> Flat:
    return _composed_once(tuple(groups), tuple(config_folders()))


@functools.lru_cache(maxsize=512)  # a report on thousands of runs has few combinations of groups
def _composed_once(groups: tuple[str, ...], _folders: tuple[Path, ...]) -> Flat:
    return flatten(compose_config(groups))


def _numbers(config: Flat) -> dict[str, Any]:
    """Returns the part of a config that moves numbers."""
    return {
        key: value
        for key, value in config.items()
        if key not in _OF_THE_MACHINE and not key.startswith("tracker.")
    }


def nearest_schedule(config: Flat) -> str:
    """Returns the option of the group `schedule` from which a config differs in fewest keys."""
    schedules = _schedules(tuple(config_folders()))
    return min(schedules, key=lambda name: _distance(config, schedules[name]))


@functools.lru_cache(maxsize=1)
def _schedules(folders: tuple[Path, ...]) -> Mapping[str, Flat]:
    """Returns every option of the group `schedule` by dotted key, in the order of names."""
    names = {file.stem for folder in folders for file in (folder / "schedule").glob("*.yaml")}
    return {name: flatten(option("schedule", name), "schedule.") for name in sorted(names)}


def _distance(config: Flat, schedule: Flat) -> int:
    """Counts the keys in which a config's schedule differs, the optimiser's apart."""
    return sum(config.get(key) != value for key, value in schedule.items() if key not in _OPTIMISER)


def _same_optimiser(config: Flat, schedule: str) -> bool:
    """Whether the run's optimiser, rate and decay are what `schedule` resolves to by itself."""
    values = dict(option("schedule", schedule))
    sgd = {key: config[f"schedule.sgd.{key}"] for key in ("lr", "weight_decay")}
    own = build(ScheduleConfig, values | {"sgd": sgd}, "schedule")
    recipe = models.get(str(config["model.name"])).recipe
    resolved = resolve_optimisation(own, recipe)
    found = (resolved.optimizer, resolved.lr, resolved.weight_decay)
    return found == tuple(config[key] for key in _OPTIMISER)


def full_schedule(config: Flat) -> str | None:
    """Returns the schedule of which a search's is a shorter form; None where none is known.

    It is what the searched schedule's file is made from (search70: cifar200), else the
    schedule to which the search pinned its teacher.
    """
    chosen = nearest_schedule(config)
    for folder in config_folders():
        file = folder / "schedule" / f"{chosen}.yaml"
        if file.exists() and not _distance(config, _schedules(tuple(config_folders()))[chosen]):
            parents = (yaml.safe_load(file.read_text()) or {}).get("defaults", [])
            named = [parent for parent in parents if parent != "_self_"]
            if named:
                return str(named[0])
    pinned = Overrides.parse(config.get("teacher.overrides", [])).get("schedule")
    return None if pinned is None else str(pinned)
