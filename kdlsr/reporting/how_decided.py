"""How a report's verdicts came about: the paragraph that a referee asks for, with its figures."""

from collections.abc import Iterator

from kdlsr.reporting.deciding import MOST_SEEDS, POWER
from kdlsr.reporting.differences import Differences
from kdlsr.reporting.formatting import number, plural

TEXT = (
    "Differences are of test top-1 at {protocol}, in points, over seeds. A few seeds say little "
    "about a cell's variance, and so it is shrunk towards those of all cells of its network by "
    "empirical Bayes (Smyth 2004; prior deviation s0, worth d0 degrees of freedom, estimated as in "
    "limma): {priors}. A difference is tested by Student's t on the posterior variances of its two "
    "cells, with the fewer of their posterior degrees of freedom: Satterthwaite's count exceeds "
    "its level where the prior is estimated from few cells. A method is better or worse where p of "
    "no difference, two-sided, is below {level:g}; equivalent where the larger p of two one-sided "
    "tests against a margin of {margin:g} points is, even if it also differs from 0; and undecided "
    "otherwise, which is no evidence of equality. In brackets stands with how many seeds a cell it "
    "would be decided with a power of {power:.0f} %, were the observed difference and posterior "
    "variances the truth (n > {most}: with more than that). Each of the two tests has Holm's "
    "correction within each of two families: {claims} of methods to their baselines, which are the "
    "claims, and {controls} of methods to their controls. In a family any false better or worse "
    "has a probability of at most {level:g}, and any false equivalent likewise, if runs are "
    "independent and near normal and variances are spread as the prior has them. A gain survives "
    "if it is better than every control, and is explained if it is equivalent to, or worse than, "
    "any one. Controls are described against baselines, not tested. Intervals are of 95 %, "
    "moderated and not corrected; Welch's test, neither moderated nor corrected, and the paired "
    "one stand beside. A cell whose runs do not vary at all proves nothing: it has the prior alone."
)
UNMODERATED = (
    "{name} has no prior, since too few of its cells vary, and its cells' own variances and "
    "Satterthwaite's degrees of freedom are used (Welch)"
)


def how_decided(found: Differences, level: float) -> str:
    """Returns the paragraph; empty where nothing is tested.

    Args:
        found: of the report.
        level: at which it was judged.
    """
    sizes = {
        family: sum(1 for held in members.values() if held.is_tested)
        for family, members in found.families.items()
    }
    if not sum(sizes.values()):
        return ""
    return TEXT.format(
        protocol=found.protocol,
        priors="; ".join(_priors(found)),
        level=level,
        margin=found.margin,
        power=100 * POWER,
        most=MOST_SEEDS,
        claims=plural(sizes["claims"], "difference"),
        controls=plural(sizes["controls"], "difference"),
    )


def _priors(found: Differences) -> Iterator[str]:
    """Yields what is known of each network that has anything to compare."""
    used = {c.baseline_key for c in found.cells.values() if c.baseline_key and c.complete}
    for key, prior in found.priors.items():
        if key not in used:
            continue
        name = found.cells[key].row
        if prior is None:
            yield UNMODERATED.format(name=name)
            continue
        df = "infinite" if prior.df == float("inf") else number(prior.df, 1)
        yield f"{name}: s0 {number(prior.variance**0.5)}, d0 {df}, from {prior.cells} cells"
