"""Do students of one network have the entropies of their teachers, where those differ?"""

import torch

from kdlsr.metrics import pearson, spearman
from kdlsr.reporting.studies.confidence.values import AcrossTeachers, Regime

LEAST = 3  # different teachers, below which a correlation is none


def across_teachers(regimes: tuple[Regime, ...]) -> tuple[AcrossTeachers, ...]:
    """Returns the correlation over teachers, a point for each taught cell of a network.

    A cell counts where its teacher's entropy on the training views is known. Cells of one
    teacher (a grid over tau) are one point: the mean of their students.
    """
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for regime in regimes:
        teacher, own = regime.figures.get("teacher_views_entropy"), regime.figures.get("entropy")
        if regime.teacher is not None and teacher and own:
            taught = found.setdefault(regime.student, {})
            taught.setdefault(regime.teacher, []).append((teacher.mean, own.mean))
    return tuple(
        _correlated(student, list(taught.values()))
        for student, taught in found.items()
        if len(taught) >= LEAST
    )


def _correlated(student: str, taught: list[list[tuple[float, float]]]) -> AcrossTeachers:
    points = torch.tensor([torch.tensor(p).mean(dim=0).tolist() for p in taught])
    x, y = points.double().unbind(dim=1)
    return AcrossTeachers(student, len(taught), pearson(x, y), spearman(x, y))
