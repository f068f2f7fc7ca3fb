"""Online label smoothing: a class is smoothed by what it was taken for in the epoch before."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdlsr.losses.base import Control, Loss, Weight, losses, rounded
from kdlsr.losses.divergence import (
    cross_entropies,
    cross_entropy,
    loss_precision,
    one_class_scores,
    shifted_logits,
)
from kdlsr.losses.step import Step, Terms

Start = Literal["zero", "smoothed"]
SMOOTHED = 0.1  # by how much in MaxSup's re-implementation


class ClassLabels(nn.Module):
    """Each class's soft label, and what the epoch so far makes of the next.

    Attributes:
        labels: (K, K), S: a row per class, of the sum 1 or 0.
        sums: (K, K), of the outputs for the samples classified correctly.
        counts: (K,), of these samples.
    """

    labels: Tensor
    sums: Tensor
    counts: Tensor

    def __init__(self, labels: Tensor) -> None:
        super().__init__()
        self.register_buffer("labels", labels)
        self.register_buffer("sums", torch.zeros_like(labels))
        self.register_buffer("counts", torch.zeros(len(labels)))

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Counts the samples of a batch that are classified correctly."""
        p = F.softmax(shifted_logits(logits), dim=1)
        right = (logits.argmax(dim=1) == labels).to(p.dtype)
        # A product with ones and zeros: as quick as adding by index, and in the same order.
        chosen = one_class_scores(labels, 1.0, 0.0, like=p) * right[:, None]
        self.sums += (chosen.T @ p).to(self.sums.dtype)
        self.counts += chosen.sum(dim=0).to(self.counts.dtype)

    def turn(self, never_right: float) -> None:
        """Makes the means of this epoch the next one's labels, in place.

        Args:
            never_right: what a class has for each class of which no sample was right.
        """
        means = self.sums / self.counts.clamp(min=1)[:, None]
        known = (self.counts > 0)[:, None]
        self.labels.copy_(torch.where(known, means, torch.full_like(means, never_right)))
        self.sums.zero_()
        self.counts.zero_()


def online_smoothing(logits: Tensor, labels: Tensor, soft_labels: Tensor, *, share: float) -> Terms:
    """Returns share H(q, p) + (1 - share) H(S_y, p).

    `soft` is H(S_y, p) - H(S_y), D_KL(S_y, p) where S_y has the sum 1.

    Args:
        logits: (N, K).
        labels: (N,), the right classes, int64.
        soft_labels: (K, K), S: a row per class; no gradient.
        share: of the labels, in [0, 1].
    """
    logits = loss_precision(logits)
    target = soft_labels.to(logits.dtype).index_select(0, labels)
    hard, online = cross_entropy(logits, labels), cross_entropies(target, logits)
    soft = (online - torch.special.entr(target).sum(dim=1)).mean()
    total = share * hard + (1 - share) * online.mean()
    return {"hard": hard, "soft": soft, "total": total}


@losses.register("ols")
@dataclass(frozen=True, kw_only=True)
class OnlineLabelSmoothing(Loss):
    """share H(q, p) + (1 - share) H(S_y, p), S of the epoch before.

    OLS of Zhang et al., IEEE TIP 2021: S_c is the mean output for the training samples of class
    c that were classified correctly, in training mode, with the views of that epoch; share 0.5.
    Two are in print:

    `start=zero`, the authors' code (zhangchbin/OnlineLabelSmoothing 7eaf70c): S is 0 in the
    first epoch, in which the loss is 0.5 H(q, p), a change of scale; a class that was never
    right has a uniform S_c.

    `start=smoothed`, the code of MaxSup's authors, who compare with it (`Conv/ffcv/losses.py`):
    S begins as 0.9 on the class and 0.1 / (K - 1) on each other; a class that was never right
    has an S_c of 0, and so 0.5 H(q, p).

    What the paper writes of its first epoch is not known to us. S, the sums and the counts are
    the run's: in its checkpoint, 2 K^2 + K numbers.

    Its control is the label smoothing that `start=smoothed` is in its first epoch and would stay
    if S were not learned: `as_released` LSR with alpha (1 - share) 0.1.

    Attributes:
        share: of the labels, in [0, 1].
        start: `zero` or `smoothed`.
    """

    share: Weight = 0.5
    start: Start = "zero"
    forms: ClassVar[tuple[str, ...]] = ("as_released",)

    @property
    def hard_scale(self) -> float:
        return self.scale  # of all but the first epoch

    def controls(self) -> tuple[Control, ...]:
        alpha = rounded((1 - self.share) * SMOOTHED)
        options = {"alpha": alpha, "form": "as_released", "scale": self.scale}
        return (Control(f"LSR {alpha:.3g}", "lsr", options),)

    def state(self, num_samples: int) -> ClassLabels:  # noqa: ARG002
        if self.start == "zero":
            return ClassLabels(torch.zeros(self.num_classes, self.num_classes))
        labels = torch.full((self.num_classes,) * 2, SMOOTHED / (self.num_classes - 1))
        return ClassLabels(labels.fill_diagonal_(1 - SMOOTHED))

    def terms(self, step: Step) -> Terms:
        assert isinstance(step.state, ClassLabels)
        found = online_smoothing(step.logits, step.labels, step.state.labels, share=self.share)
        with torch.no_grad():
            step.state.add(loss_precision(step.logits), step.labels)
        return found

    def end_epoch(self, state: nn.Module) -> None:
        assert isinstance(state, ClassLabels)
        state.turn(1 / self.num_classes if self.start == "zero" else 0.0)
