"""From cells to a report's figures: statistics of what is complete, and what to know of them.

Where the cells come from, a table's plan or any runs of the store, makes no difference here.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from kdlsr.data.listing import in_words
from kdlsr.reporting.claims import claim_of
from kdlsr.reporting.crossing import crossed
from kdlsr.reporting.deciding import MARGIN
from kdlsr.reporting.differences import Differences, state_of
from kdlsr.reporting.how_decided import how_decided, how_looked
from kdlsr.reporting.looking import Looked
from kdlsr.reporting.looks import LookedDifferences
from kdlsr.reporting.measures import by_teacher, values_of
from kdlsr.reporting.statistics import LEVEL, Estimate, compatibility, estimate
from kdlsr.reporting.summary import (
    FURTHER,
    MEASURES,
    OF_SOME,
    TO_TEACHER,
    Cell,
    CellSummary,
    RunSummary,
    Target,
)
from kdlsr.runs.result import PROTOCOLS

ONE_TEACHER = (
    "All students of a teacher learn from one and the same network (its own seed), so a deviation "
    "over seeds is conditional on that teacher: how much another teacher would change is not in it."
)
CROSSED_TEACHERS = (
    "Students' seeds are crossed with teachers' seeds: intervals and tests are over other seeds "
    "and other teachers (a random model of two ways, Satterthwaite's degrees of freedom), n counts "
    "runs, and the section on teachers says how much of the variance is theirs."
)
OWN_TEACHERS = (
    "Each seed of a student has a teacher of its own: deviations and intervals hold the teacher's "
    "share, which cannot be told from the seed's."
)
OPTIMISTIC = (
    "best_test lets the test set choose the epoch, as the papers do: it is optimistic. "
    "Differences are judged at {protocol}."
)
ONE_SEED = "With n = 1 there is no deviation and no test: nothing is decided."
COMPATIBLE = (
    "Compatible with the paper: |ours - paper| at most max(0.4, t sqrt(s^2/n + s_paper^2/m)) at "
    "{protocol}, which is what the paper reports over m runs; where it prints no deviation, ours "
    "stands in, and where it does not say over how many runs, three are taken."
)
MIXED = "Some runs were made in sessions of different device types, threads or torch versions."


@dataclass(frozen=True)
class Summary:
    """The figures of some cells; each as in `summary.Report`."""

    protocol: str
    protocols: tuple[str, ...]
    environment: tuple[str, ...]
    cells: tuple[CellSummary, ...]
    caveats: tuple[str, ...]
    margin: float
    level: float
    how_decided: str


def summarise(
    cells: Sequence[Cell],
    protocol: str | None,
    margin: float = MARGIN,
    looked: Looked[str] | None = None,
    *,
    is_published_size: bool = False,
) -> Summary:
    """Returns the figures of cells: what is complete counts, all else is marked.

    Args:
        cells: in the report's order.
        protocol: by which differences are judged; None: `best_val` where the runs have a
            validation split, else `last`.
        margin: a difference that is smaller does not matter, points.
        looked: where seeds were added until decided: the table after its looks.
        is_published_size: whether ours may be held against a paper's.
    """
    protocols = available_protocols(cells)
    judged = protocol or usual_protocol(cells)
    found: Differences = Differences(cells, judged, margin)
    if looked is not None:
        found = LookedDifferences(cells, judged, looked)
    return Summary(
        protocol=judged,
        protocols=protocols,
        environment=environments(run for cell in cells for run in cell.complete),
        cells=tuple(
            _summary(cell, found, protocols, is_published_size=is_published_size) for cell in cells
        ),
        caveats=tuple(_caveats(cells, found, is_published_size=is_published_size)),
        margin=margin,
        level=LEVEL if looked is None else looked.rule.level_of_look,
        how_decided=how_decided(found, LEVEL) if looked is None else how_looked(found, looked),
    )


def usual_protocol(cells: Iterable[Cell]) -> str:
    """Returns by what differences are judged where nothing is said."""
    return "best_val" if "best_val" in available_protocols(cells) else "last"


def available_protocols(cells: Iterable[Cell]) -> tuple[str, ...]:
    """Returns the protocols that any complete run has; the first two where there is none."""
    results = [run.result for cell in cells for run in cell.complete if run.result]
    found = {name for result in results for name in PROTOCOLS if result.at(name)}
    return tuple(name for name in PROTOCOLS if name in (found or PROTOCOLS[:2]))


def environments(runs: Iterable[RunSummary]) -> tuple[str, ...]:
    """Returns one line for each hardware and set of versions that runs were made on."""
    return tuple(sorted({line for run in runs for line in run.environment}))


def _summary(
    cell: Cell, found: Differences, protocols: Sequence[str], *, is_published_size: bool
) -> CellSummary:
    estimates = {name: _estimate(cell, name) if cell.complete else None for name in protocols}
    target = _target(cell, is_published_size=is_published_size)
    return CellSummary(
        **vars(cell) | {"target": target, "note": cell.omitted or cell.note},
        state=state_of(cell),
        estimates=estimates,
        measures=_measures(cell, found.protocol),
        baseline=found.compare(cell, cell.baseline_key, "claims"),
        controls=tuple(
            c for key in cell.control_keys if (c := found.compare(cell, key, "controls"))
        ),
        claim=claim_of(cell, found),
        uncompared=tuple(
            found.why_not(cell, key) for key in cell.compared_keys if not found.get(cell.key, key)
        ),
    )


def _estimate(cell: Cell, protocol: str, measure: str = "top1") -> Estimate | None:
    values = by_teacher(cell, protocol, measure)
    if not values:
        return None
    over_teachers, found = crossed(values), estimate(list(values.values()))
    return over_teachers.widened(found) if over_teachers else found


def _measures(cell: Cell, protocol: str) -> dict[str, Estimate | None]:
    """Returns what else is known of a cell's runs; what none of them has only of MEASURES."""
    if not cell.complete:
        return {}
    names = (*MEASURES, *OF_SOME, *TO_TEACHER, *FURTHER)
    found = {name: _estimate(cell, protocol, name) for name in names}
    return {k: v for k, v in found.items() if v is not None or k in MEASURES}


def _target(cell: Cell, *, is_published_size: bool) -> Target | None:
    """Returns the paper's value; ours is held against it only at the paper's own size."""
    if cell.target is None or not is_published_size:
        return cell.target
    paper = cell.target
    ours = list(values_of(cell, paper.protocol).values())
    held = compatibility(ours, paper.accuracy, paper.deviation, paper.runs) if ours else None
    return replace(paper, compatibility=held)


def _other_teacher(run: RunSummary) -> str | None:
    """Returns the name of the network that a run has as its teacher, unless it is itself."""
    teacher = run.card.teacher
    return None if teacher is None or teacher.is_own_past else teacher.name


def _caveats(cells: Sequence[Cell], found: Differences, *, is_published_size: bool) -> list[str]:
    runs = [run for cell in cells for run in cell.runs]
    lines = [OPTIMISTIC.format(protocol=found.protocol)] if runs else []
    most = max((len(cell.complete) for cell in cells), default=0)
    if runs and (most == 1 or all(len(cell.runs) < 2 for cell in cells)):
        lines.append(ONE_SEED)
    teachers = [{_other_teacher(run) for run in cell.runs} for cell in cells]
    if any(len(names) == 1 and names != {None} for names in teachers):
        lines.append(ONE_TEACHER)
    if any(map(found.is_crossed, found.cells)):
        lines.append(CROSSED_TEACHERS)
    elif any(len(names) > 1 and None not in names for names in teachers):
        lines.append(OWN_TEACHERS)
    protocols = {cell.target.protocol for cell in cells if cell.target}
    if is_published_size and protocols:
        each = "each value's protocol" if len(protocols) > 1 else protocols.pop()
        lines.append(COMPATIBLE.format(protocol=each))
    if any(run.result and run.result.environment == "mixed" for run in runs):
        lines.append(MIXED)
    lines += dict.fromkeys(line for run in runs if run.is_complete for line in _files_of(run))
    return [*lines, *dict.fromkeys(f"Not counted: {run.fault}" for run in runs if run.fault)]


def _files_of(run: RunSummary) -> Iterator[str]:
    """Yields how many files a run's data set had, and what else lay in their tree, if it is one."""
    data = run.card.data
    if data is not None and data.skipped is not None:
        name = run.card.config["dataset"]["name"]
        yield (
            f"Files of {name}: {data.train:,} to train on and {data.test:,} to test on, before any "
            f"split or subset; passed over: {in_words(tuple(data.skipped.items()))}."
        )
