"""Tables whose seeds are added until decided: which runs of a plan are wanted now.

Starts nothing and remembers nothing: what is wanted follows from the runs that are there.
"""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass

from kdlsr.reporting.looking import Looked, Rule
from kdlsr.reporting.looks import look_at
from kdlsr.reporting.summarise import usual_protocol
from kdlsr.reporting.summary import RunSummary
from kdlsr.reporting.table_report import read_cells
from kdlsr.tables.launching import states
from kdlsr.tables.plan import JobState, Plan
from kdlsr.tables.planning import plan_of


@dataclass(frozen=True)
class LookedPlan:
    """A plan's tables after their looks.

    Attributes:
        plan: of the runs of the looks so far and of the next ones.
        looked: the tables, by the names of their reports.
    """

    plan: Plan
    looked: Mapping[str, Looked[str]]

    @property
    def in_words(self) -> str:
        """What is looked at next, a table each."""
        return "; ".join(f"{name}: {_in_words(table)}" for name, table in self.looked.items())


def _in_words(table: Looked[str]) -> str:
    looks = table.rule.looks
    if table.wanted is not None:
        return f"look {table.looks + 1} of {len(looks)}, n = {looks[table.looks]}"
    left, unmade = len(table.open), table.unmade
    said = [f"{left} comparisons undecided at n = {looks[-1]}"] if left else []
    said += [f"{unmade} comparisons could not be made"] if unmade else []
    return ", ".join(said) or "all is decided"


def look_at_plan(
    plan: Plan, protocol: str | None, rule: Rule, tried: Set[str] | None = None
) -> LookedPlan:
    """Returns the runs that are wanted now, and what was decided by those that are there.

    Args:
        plan: with the seeds of the last look.
        protocol: by which differences are judged; None: as `usual_protocol` says.
        rule: of the looks.
        tried: the runs that this command has tried, of which one that failed is waited for no
            longer; None: of no run that failed.
    """
    found = states(plan)
    is_settled = _settled(plan, found, tried)
    tables, looked = [], {}
    for table in plan.tables:
        cells = read_cells(table, found)
        after = look_at(cells, protocol or usual_protocol(cells), rule, is_settled)
        tables.append(table.with_seeds(after.wanted or after.seeds))
        looked[table.report_name] = after
    return LookedPlan(plan_of(tables), looked)


def _settled(
    plan: Plan, found: Mapping[str, JobState], tried: Set[str] | None
) -> Callable[[RunSummary], bool]:
    """Returns whether a run is complete, or failed, as one does whose teacher failed."""
    jobs = {job.run.run_id: job for job in plan.jobs}

    def has_failed(run_id: str) -> bool:
        teacher = jobs[run_id].teacher
        if found[run_id] == "not run" and teacher is not None:
            return has_failed(teacher)
        return found[run_id] == "failed"

    def is_settled(run: RunSummary) -> bool:
        if run.is_complete:
            return True
        return (tried is None or run.run_id in tried) and has_failed(run.run_id)

    return is_settled
