"""LS++: label smoothing whose wrong classes' shares are learned, class by class."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdlsr.losses.base import Control, Loss, Weight, losses
from kdlsr.losses.divergence import (
    cross_entropy,
    loss_precision,
    one_class_scores,
    shifted_logits,
)
from kdlsr.losses.right_class import wrong_places
from kdlsr.losses.step import Step, Terms

EPSILON = 1e-6  # of the released code, beside a probability in a logarithm


class WrongShares(nn.Module):
    """How each class's smoothing is shared out among the other classes: learned.

    Attributes:
        scores: (K, K - 1), a row per class, whose softmax is over the other classes in order.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(num_classes, num_classes - 1))


def learned_smoothing(logits: Tensor, labels: Tensor, scores: Tensor, *, alpha: float) -> Terms:
    """Returns (H(t, p) + H(p, t)) / 2, with t = (1 - alpha) q + alpha C_y.

    H(t, p) moves the network alone, H(p, t) the scores alone. The logarithms have 1e-6 added to
    their probability. `soft` is H(t, p) - H(t).

    Args:
        logits: (N, K).
        labels: (N,), the right classes, int64.
        scores: (K, K - 1): C_c is their softmax on the classes other than c.
        alpha: how much of the label is spread, in [0, 1].
    """
    logits = loss_precision(logits)
    hard = cross_entropy(logits, labels)
    one_hot = one_class_scores(labels, 1.0, 0.0, like=logits)
    # A product with ones and zeros: its gradient is added up in the same order every time.
    shares = one_hot @ F.softmax(scores.to(logits.dtype), dim=1)
    places = wrong_places(labels, logits.shape[1])
    target = ((1 - alpha) * one_hot).scatter(1, places, alpha * shares)
    p = F.softmax(shifted_logits(logits), dim=1)
    forward = -(target.detach() * (p + EPSILON).log()).sum(dim=1).mean()
    reverse = -(p.detach() * (target + EPSILON).log()).sum(dim=1).mean()
    soft = forward - torch.special.entr(target.detach()).sum(dim=1).mean()
    return {"hard": hard, "soft": soft, "total": (forward + reverse) / 2}


@losses.register("ls_plus_plus")
@dataclass(frozen=True, kw_only=True)
class LearnedSmoothing(Loss):
    """(H(t, p) + H(p, t)) / 2, t = (1 - alpha) q + alpha C_y, C a softmax that is learned.

    LS++ (Chhabra et al., BMVC 2024), as its code has it (s-chh/LSPP): alpha 0.1; C begins
    uniform, as `lsr` in `as_released`; the network learns from the first term, C from the
    second, in the same optimiser and with its weight decay. log(p + 1e-6) leaves a right class
    below 1e-6 without gradient. What the paper writes otherwise is not known to us: there is
    one form.

    The half is a change of scale: the network has half the gradient of a cross-entropy. Hence
    its control, cross-entropy x 0.5; beside it, ours, the smoothing that C begins as, x 0.5.

    C is the run's: in its checkpoint.

    Attributes:
        alpha: how much of the label is spread, in [0, 1].
    """

    alpha: Weight = 0.1
    forms: ClassVar[tuple[str, ...]] = ("as_released",)
    decays_state: ClassVar[bool] = True

    @property
    def hard_scale(self) -> float:
        return self.scale / 2

    def controls(self) -> tuple[Control, ...]:
        options = {"alpha": self.alpha, "form": "as_released", "scale": self.hard_scale}
        smoothing = Control(f"LSR {self.alpha:.3g} x {self.hard_scale:.4g}", "lsr", options)
        return (*super().controls(), smoothing)

    def state(self, num_samples: int) -> WrongShares:  # noqa: ARG002
        return WrongShares(self.num_classes)

    def terms(self, step: Step) -> Terms:
        assert isinstance(step.state, WrongShares)
        return learned_smoothing(step.logits, step.labels, step.state.scores, alpha=self.alpha)
