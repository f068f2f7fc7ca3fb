"""The augmentations by name: which steps make a view, in which order.

Words only: nothing here draws a random number, touches a pixel or imports anything heavy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from kdlsr.config import UserError, nearest


@dataclass(frozen=True)
class PadCrop:
    """Pad by `padding` zero pixels on each side, then cut out the image's size anywhere."""

    padding: int

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise ValueError(f"a padding of {self.padding} pixels is not possible")


@dataclass(frozen=True)
class Flip:
    """Mirror left to right with `probability`."""

    probability: float = 0.5


@dataclass(frozen=True)
class Rotate:
    """Rotate about the centre by an angle uniform in [-degrees, degrees); nearest pixel."""

    degrees: float


Step: TypeAlias = PadCrop | Flip | Rotate


@dataclass(frozen=True)
class ViewRecipe:
    """The steps that turn an image into a view, in the order in which they are applied.

    Raises:
        ValueError: a kind of step stands twice, or a crop after the rotation. Neither is in
            any recipe of the papers, and a view would no longer be one nearest-pixel lookup.
    """

    name: str
    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        kinds = [type(step) for step in self.steps]
        if len(set(kinds)) < len(kinds):
            raise ValueError(f"views {self.name}: a step stands twice")
        if Rotate in kinds and PadCrop in kinds[kinds.index(Rotate) :]:
            raise ValueError(f"views {self.name}: a crop after a rotation is not supported")

    @property
    def padding(self) -> int:
        """Pixels of zero padding on each side; 0 without a crop."""
        return next((s.padding for s in self.steps if isinstance(s, PadCrop)), 0)

    @property
    def flip_probability(self) -> float:
        """Share of the views that are mirrored; 0 without a flip."""
        return next((s.probability for s in self.steps if isinstance(s, Flip)), 0.0)

    @property
    def degrees(self) -> float:
        """Largest angle of rotation; 0 without a rotation."""
        return next((s.degrees for s in self.steps if isinstance(s, Rotate)), 0.0)


_ALL = (
    ViewRecipe("none"),
    ViewRecipe("shift", (PadCrop(1),)),  # for the 8x8 digits, which no flip leaves a digit
    ViewRecipe("crop_flip", (PadCrop(4), Flip())),
    # Yuan et al. 2020, released code: RandomCrop(32, padding=4), flip, RandomRotation(15).
    ViewRecipe("cifar", (PadCrop(4), Flip(), Rotate(15.0))),
    # The same code, Tiny-ImageNet: RandomRotation(20), flip, no crop.
    ViewRecipe("tiny_imagenet", (Rotate(20.0), Flip())),
)
RECIPES: Mapping[str, ViewRecipe] = MappingProxyType({recipe.name: recipe for recipe in _ALL})


def recipe(name: str) -> ViewRecipe:
    """Returns the recipe called `name`.

    Raises:
        UserError: there is none; the message names the nearest.
    """
    if name not in RECIPES:
        raise UserError(f"dataset.views={name}: no such option{nearest(name, RECIPES)}")
    return RECIPES[name]
