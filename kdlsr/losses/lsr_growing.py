"""Label smoothing whose share of the uniform target grows: the control of what grows itself."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from kdlsr.losses.base import Control, Loss, Weight, losses
from kdlsr.losses.growth import grown
from kdlsr.losses.lsr import smoothed_cross_entropy
from kdlsr.losses.step import Step, Terms


@losses.register("lsr_growing")
@dataclass(frozen=True, kw_only=True)
class GrowingSmoothing(Loss):
    """`lsr` (`as_written`) with alpha_e = begin + (end - begin) e / E in epoch e of E.

    A control of ours, no paper's method: label smoothing at the schedule of MaxSup (0.1 to 0.2,
    counted from 0) or of PS-KD (0 to 0.8, counted from 1).

    Attributes:
        begin: alpha at e = 0, in [0, 1].
        end: alpha at e = E, in [0, 1].
        counted_from: what the first epoch's e is, 0 or 1.
    """

    begin: Weight = 0.1
    end: Weight = 0.2
    counted_from: Literal[0, 1] = 0
    stated: ClassVar[frozenset[str]] = frozenset({"begin", "end"})

    @property
    def hard_scale(self) -> float:
        return self.scale

    def controls(self) -> tuple[Control, ...]:
        return ()  # its scale is 1: its control is the baseline

    def terms(self, step: Step) -> Terms:
        alpha = grown(step, self.begin, self.end, self.counted_from)
        return smoothed_cross_entropy(step.logits, step.labels, alpha=alpha)


def growing_smoothing(
    begin: float, end: float, counted_from: Literal[0, 1], scale: float
) -> Control:
    """Returns the control `lsr_growing`."""
    options = {"begin": begin, "end": end, "counted_from": counted_from, "scale": scale}
    name = f"LSR growing {begin:.3g} to {end:.3g}"
    return Control(name if scale == 1 else f"{name} x {scale:.4g}", "lsr_growing", options)
