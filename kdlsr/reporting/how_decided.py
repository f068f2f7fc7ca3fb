"""How a report's verdicts came about: the paragraph that a referee asks for, with its figures."""

from collections.abc import Iterator

from kdlsr.reporting.deciding import MOST_SEEDS, POWER
from kdlsr.reporting.differences import Differences
from kdlsr.reporting.formatting import number, plural
from kdlsr.reporting.looking import Looked
from kdlsr.reporting.moderation import PRIOR_DF

TEXT = (
    "Differences are of test top-1 at {protocol}, in points, over seeds. A few seeds say little "
    "about a cell's variance, and so it is shrunk towards those of all cells of its network by "
    "empirical Bayes (Smyth 2004; prior deviation s0, worth d0 degrees of freedom, estimated as in "
    "limma and trusted with {most_df:g} at most, since a dozen cells of a few runs cannot tell "
    "more): {priors}. A difference is tested by Student's t on the posterior variances of its two "
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
LOOKS_TEXT = (
    "Seeds were added until decided, in looks at {looks} seeds a cell, of which {made} were made. "
    "Each look judges what earlier ones left undecided, on the first so many seeds of both cells, "
    "at {of_look:g}: Bonferroni's correction over the looks, so that peeking is paid for and "
    "{level:g} holds for all of them together; a verdict stays, and only the cells of what is "
    "undecided get more seeds (the priors named above are of each cell's seeds now). Decided: "
    "{decided}; undecided: {left}. Each "
    "difference is shown with the n at which it was decided."
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
        most_df=PRIOR_DF,
        level=level,
        margin=found.margin,
        power=100 * POWER,
        most=MOST_SEEDS,
        claims=plural(sizes["claims"], "difference"),
        controls=plural(sizes["controls"], "difference"),
    )


def how_looked(found: Differences, looked: Looked[str]) -> str:
    """Returns the paragraph of a table whose seeds were added until decided.

    Args:
        found: of the report.
        looked: the table after its looks.
    """
    rule = looked.rule
    seen = [each for pairs in looked.families.values() for each in pairs.values() if each]
    decided = [
        f"{count} at n = {n}"
        for n in rule.looks
        if (count := sum(1 for each in seen if each.is_decided and each.seeds == n))
    ]
    left = sum(1 for each in seen if not each.is_decided)
    text = LOOKS_TEXT.format(
        looks=", ".join(map(str, rule.looks)),
        made=looked.looks,
        level=rule.level,
        of_look=rule.level_of_look,
        decided=", ".join(decided) or "none",
        left=left,
    )
    return " ".join(filter(None, (how_decided(found, rule.level_of_look), text)))


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
        df, deviation = number(prior.df, 1), number(prior.variance**0.5)
        yield f"{name}: s0 {deviation}, d0 {df}, from {prior.cells} cells"
