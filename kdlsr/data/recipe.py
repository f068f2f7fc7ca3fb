"""How an image becomes a view: a list of steps, from a file of `conf/views/` or given inline.

Reads lists, checks which steps can follow each other, draws their parameters. What a step does
is its own business; nothing here touches a pixel or imports anything heavy.
"""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kdlsr.config import UserError, build
from kdlsr.config.compose import config_folders
from kdlsr.config.inputs import InputSpec
from kdlsr.config.refusals import no_such_option
from kdlsr.config.schema import ListedStep
from kdlsr.config.yaml_file import read_any_yaml
from kdlsr.data.draws import Rows
from kdlsr.data.places import Floats, Places
from kdlsr.data.view_steps import PixelStep, SpatialStep, ViewStep, view_steps


@dataclass(frozen=True)
class ViewRecipe:
    """Steps by name, in the order in which they are applied.

    Raises:
        ValueError: a step cannot come where it stands; the message says why.
    """

    steps: Mapping[str, ViewStep] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for (first, earlier), (second, later) in itertools.combinations(self.steps.items(), 2):
            if reason := later.obstacle(earlier):
                raise ValueError(f"{second} after {first} {reason}: put {second} before {first}")

    @property
    def changes(self) -> dict[str, PixelStep]:
        """The steps that change the pixels once they are looked up."""
        return {name: step for name, step in self.steps.items() if isinstance(step, PixelStep)}

    @property
    def moves(self) -> dict[str, SpatialStep]:
        """The steps that move pixels, which are one lookup together."""
        return {name: step for name, step in self.steps.items() if isinstance(step, SpatialStep)}

    def framed(self, size: tuple[int, int]) -> tuple[int, int]:
        """Returns (H, W) of the views of images of (H, W)."""
        for step in self.moves.values():
            size = step.framed(size)
        return size

    def gives(self, spec: InputSpec) -> InputSpec:
        """Returns what the views of inputs like `spec` are, which its steps must take."""
        for step in self.steps.values():
            spec = step.gives(spec)
        return spec

    def identity(self) -> list[list[Any]]:
        """Returns all that decides what views it makes: each step's name and values."""
        return [[name, dataclasses.asdict(step)] for name, step in self.steps.items()]

    def check_takes(self, spec: InputSpec, dataset: str) -> None:
        """Refuses a step for another kind of inputs.

        Raises:
            UserError: there is one.
        """
        for name, step in self.steps.items():
            if not isinstance(spec, step.takes):
                raise UserError(
                    f"dataset.views: {name} takes {step.takes.kind}; dataset={dataset} gives {spec}"
                )

    def draw(self, n: int, data_seed: int, epoch: int) -> "Draws":
        """Draws one epoch's views of all `n` samples of a training set.

        For all of them, whatever is trained on: a view depends neither on a split nor on a
        subset.
        """
        parameters = {
            name: step.draw(step.words_of(name, n, data_seed, epoch))
            for name, step in self.steps.items()
        }
        return Draws(self, n, parameters)


@dataclass(frozen=True)
class Draws:
    """What was drawn for `count` views: of each step of `recipe`, by name, parameters (k, n)."""

    recipe: ViewRecipe
    count: int
    parameters: Mapping[str, Floats]

    def __len__(self) -> int:
        return self.count

    def of(self, rows: Rows) -> "Draws":
        """Returns the draws of the samples `rows`, in that order."""
        chosen = {name: p[:, rows] for name, p in self.parameters.items()}
        return Draws(self.recipe, len(rows), chosen)

    def table(self, size: tuple[int, int]) -> npt.NDArray[np.int32]:
        """Composes the steps that move pixels into one map per view, from it to its image.

        Args:
            size: (H, W) of the images.

        Returns:
            (10, n): as `Places.table`; (0, n) where nothing moves.
        """
        moves = self.recipe.moves
        if not moves:
            return np.empty((0, self.count), dtype=np.int32)
        sizes = [size]  # before each step, and after the last
        for step in moves.values():
            sizes.append(step.framed(sizes[-1]))
        places = Places.identity(self.count, sizes.pop())
        # From the view back to the image: the last step first.
        for name, step in reversed(moves.items()):
            places = step.place_in(sizes.pop(), places, self.parameters[name])
        return places.table()

    def changes(self) -> list[tuple[PixelStep, Floats]]:
        """Returns the steps that change the pixels once they are looked up, in order."""
        return [(step, self.parameters[name]) for name, step in self.recipe.changes.items()]


def read_recipe(views: str | Sequence[ListedStep]) -> ViewRecipe:
    """Returns the recipe that a config names, or lists.

    Raises:
        UserError: there is no recipe or step of that name, a step stands twice or where it
            cannot, or has no such option or value.
    """
    if isinstance(views, str):
        return _recipe_named(views, tuple(config_folders()))
    return _recipe_of(views, "dataset.views")


@functools.lru_cache(maxsize=64)
def _recipe_named(name: str, folders: tuple[Path, ...]) -> ViewRecipe:
    files = {f.stem: f for folder in reversed(folders) for f in (folder / "views").glob("*.yaml")}
    if name not in files:
        raise UserError(no_such_option("dataset.views", name, files))
    listed = read_any_yaml(files[name])
    if not isinstance(listed, list):
        raise UserError(f"{files[name]} is no list of view steps")
    return _recipe_of(listed, f"dataset.views={name}")


def _recipe_of(listed: Sequence[Any], where: str) -> ViewRecipe:
    steps: dict[str, ViewStep] = {}
    for item in listed:
        named = {item: {}} if isinstance(item, str) else item
        if not isinstance(named, Mapping) or len(named) != 1:
            raise UserError(f"{where}: {item!r} is no step; expected NAME, or NAME: OPTIONS")
        ((name, options),) = named.items()
        if not isinstance(options, Mapping):
            raise UserError(f"{where}: {name}: {options!r} is not possible; expected a mapping")
        if name in steps:
            raise UserError(f"{where}: {name} stands twice, and both would draw the same numbers")
        steps[name] = build(view_steps.get(name), options, f"{where}: {name}")
    try:
        return ViewRecipe(steps)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
