"""The rule of inheritance, tested: is a student moved towards its teacher's entropy on train?

A student, next to the reference of its own seeds, is expected to have the higher entropy exactly
where its teacher's entropy on the training views is higher than the reference's own there. (Not on
the samples as they are, which are easier than views.) It is compared after each epoch, and, since
a method may only have learned faster, also where the reference had the same loss on the views.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from kdlsr.reporting.studies.confidence.values import Count, RuleTest
from kdlsr.reporting.summary import RunSummary
from kdlsr.training.record import EpochRecord

Split = Literal["test", "train"]


@dataclass(frozen=True)
class Entropies:
    """Of one network at one moment, nats: on the test samples and on the training views."""

    test: float
    train: float


@dataclass(frozen=True)
class Comparison:
    """A student after an epoch, its teacher, and the reference that it is held against."""

    epoch: int
    student: Entropies
    teacher: float
    reference: Entropies | None


def rule_tests(pairs: Sequence[tuple[RunSummary, RunSummary]]) -> tuple[RuleTest, ...]:
    """Returns the rule's tests at equal epochs and at equal training loss, on either split.

    Args:
        pairs: a taught run with the reference of its seeds, both complete.

    Returns:
        No test where no run was tested on its training views (`train_metrics`).
    """
    equal_epochs = [c for pair in pairs for c in _at_equal_epochs(*pair)]
    equal_loss = [c for pair in pairs for c in _at_equal_loss(*pair)]
    if not equal_epochs:
        return ()
    splits: tuple[Split, ...] = ("test", "train")
    return (
        *(_counted("epochs", split, equal_epochs) for split in splits),
        *(_counted("training loss", split, equal_loss) for split in splits),
    )


def _at_equal_epochs(student: RunSummary, reference: RunSummary) -> Iterator[Comparison]:
    for ours, theirs in zip(student.history, reference.history, strict=False):
        own, other, teacher = _entropies(ours), _entropies(theirs), _teacher(student, ours)
        if own and other and teacher is not None:
            yield Comparison(ours.epoch, own, teacher, other)


def _at_equal_loss(student: RunSummary, reference: RunSummary) -> Iterator[Comparison]:
    curve = _curve(reference)
    for ours in student.history:
        own, teacher = _entropies(ours), _teacher(student, ours)
        if own and ours.train_views and teacher is not None and curve:
            yield Comparison(ours.epoch, own, teacher, at_loss(curve, ours.train_views.nll))


def at_loss(curve: Sequence[tuple[float, Entropies]], loss: float) -> Entropies | None:
    """Returns the entropies where a curve first falls to a loss, interpolated between epochs.

    Args:
        curve: the loss and the entropies after each epoch.
        loss: the one that is looked for.

    Returns:
        None where the loss is above the first epoch's, or never reached.
    """
    for (before, a), (after, b) in itertools.pairwise(curve):
        if before >= loss >= after and before > after:
            share = (before - loss) / (before - after)
            return Entropies(
                a.test + share * (b.test - a.test), a.train + share * (b.train - a.train)
            )
    return None


def reference_at_loss_of(student: RunSummary, reference: RunSummary) -> float | None:
    """Returns the reference's test entropy where it had the student's last loss, nats.

    The loss is the NLL on the training views of the epoch. None where the reference never had
    it, or either was not tested on its views.
    """
    last = student.history[-1].train_views if student.history else None
    found = at_loss(_curve(reference), last.nll) if last else None
    return found.test if found else None


def _curve(run: RunSummary) -> list[tuple[float, Entropies]]:
    """Returns the loss on the training views and the entropies after each epoch."""
    return [(r.train_views.nll, e) for r in run.history if r.train_views and (e := _entropies(r))]


def _entropies(record: EpochRecord) -> Entropies | None:
    if record.train_views is None:
        return None
    return Entropies(record.test.entropy, record.train_views.entropy)


def _teacher(run: RunSummary, record: EpochRecord) -> float | None:
    """Returns the teacher's entropy on the epoch's views; on the last epoch's, if that is all."""
    last = run.taught.train if run.taught else None
    found = record.teacher or last
    return found.entropy if found else None


def _counted(
    compared: Literal["epochs", "training loss"], split: Split, every: Sequence[Comparison]
) -> RuleTest:
    held: dict[int, list[bool]] = {}
    ups = 0
    for made in every:
        if made.reference is None:
            continue
        moved = getattr(made.student, split) - getattr(made.reference, split)
        expected = made.teacher - made.reference.train
        held.setdefault(made.epoch, []).append(moved * expected > 0)
        ups += moved > 0
    counts = [Count(epoch, sum(found), len(found)) for epoch, found in sorted(held.items())]
    total = sum(count.of for count in counts)
    return RuleTest(compared, split, tuple(counts), max(ups, total - ups), len(every) - total)
