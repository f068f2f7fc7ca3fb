"""What a view step is: the two kinds, and the registry. No step stands here."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from kdlsr.config import Registry
from kdlsr.config.inputs import ImageSpec, InputSpec
from kdlsr.data.draws import Purpose, Words, words
from kdlsr.data.places import Floats, Places

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ViewStep(ABC):
    """One augmentation; its dataclass fields are its options, as a recipe gives them.

    Attributes:
        words: how many random words a view takes.
        first_word: where they begin in the block of four that the papers' steps share: sample i
            has the words 4i..4i+3 for a crop's two offsets, a flip and an angle, as it had
            before there were other steps. None: a stream of the step's own.
        takes: the kind of inputs that it makes views of.
    """

    words: ClassVar[int]
    first_word: ClassVar[int | None] = None
    takes: ClassVar[type[InputSpec]] = ImageSpec

    def gives(self, spec: InputSpec) -> InputSpec:
        """Returns what it makes of inputs like `spec`: the like, unless a step says otherwise."""
        return spec

    def obstacle(self, earlier: "ViewStep") -> str:  # noqa: ARG002 (kinds look at it)
        """Returns why this step cannot follow `earlier` in a recipe; "" where it can."""
        return ""

    @abstractmethod
    def draw(self, drawn: Words) -> Floats:
        """Returns k parameters of each view, (k, n), from its random words (n, `words`)."""

    def words_of(self, name: str, n: int, data_seed: int, epoch: int) -> Words:
        """Returns the random words (n, `words`) of n samples in an epoch, a row per sample.

        A step's own stream is keyed by its `name`: adding a step changes no other's draws. A
        sample's words depend neither on n nor on the recipe.
        """
        if self.first_word is None:
            own = words(Purpose.STEP, (data_seed, epoch), n * self.words, name)
            return own.reshape(n, self.words)
        block = words(Purpose.VIEWS, (data_seed, epoch), 4 * n).reshape(n, 4)
        return block[:, self.first_word : self.first_word + self.words]


class PixelStep(ViewStep):
    """A step that changes the looked-up pixels, on the device, a batch at once."""

    @abstractmethod
    def change(self, images: "Tensor", parameters: "Tensor") -> "Tensor":
        """Returns the changed images; may change the given ones. May not wait for the device.

        Args:
            images: (B, C, H, W), float32 in [0, 255], not yet normalised, channels_last.
            parameters: (k, B), float32, as drawn.
        """


class SpatialStep(ViewStep):
    """A step that moves pixels; all of a recipe's are one lookup (`kdlsr.data.places`).

    Attributes:
        whole_pixels: each pixel of its result is one pixel, or none, of what it is given, by
            integer arithmetic alone.
        keeps_frame: and each pixel of what it is given is one of its result: none is lost.
    """

    whole_pixels: ClassVar[bool] = True
    keeps_frame: ClassVar[bool] = False

    def obstacle(self, earlier: ViewStep) -> str:
        if isinstance(earlier, PixelStep):
            return "would move pixels that were changed where they lay"
        exact = self.whole_pixels and self.keeps_frame
        if isinstance(earlier, SpatialStep) and not earlier.whole_pixels and not exact:
            return "would need a second lookup of pixels; a view is one, to the nearest pixel"
        return ""

    def framed(self, size: tuple[int, int]) -> tuple[int, int]:
        """Returns (H, W) of what it makes of an image of (H, W)."""
        return size

    def place_in(self, size: tuple[int, int], places: Places, parameters: Floats) -> Places:  # noqa: ARG002
        """`place`, for a step to which it matters that images are of (H, W) before it."""
        return self.place(places, parameters)

    @abstractmethod
    def place(self, places: Places, parameters: Floats) -> Places:
        """Returns where pixels lie before the step, from where they lie after it.

        Args:
            places: of n views in their images after this step.
            parameters: (k, n), as drawn.
        """


view_steps: Registry[type[ViewStep]] = Registry(
    "view step", "kdlsr.data.view_steps", "kdlsr.view_steps"
)
