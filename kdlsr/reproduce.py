"""A table is one command: `python -m kdlsr.reproduce table=yuan2020/table9 profile=paper seeds=3`.

Plans the runs of one or several tables, brings them to completion layer by layer through the
launcher that the user configured, and renders a report of each. Only parses, calls and prints.
"""

if __name__ == "__main__":  # Ctrl-C may come while the rest is imported
    from kdlsr.machine.interruption import end_at_interruption

    end_at_interruption()

import contextlib
import sys
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdlsr.config import UserError, build
from kdlsr.config.command_line import shell_command
from kdlsr.config.compose import compose_config, relative_to_here
from kdlsr.config.entry import EXIT_FAILED, EXIT_OK, read_command, run_entry_point
from kdlsr.config.overrides import Override, Overrides
from kdlsr.config.schema import read_tracker_section
from kdlsr.tables.choices import OWN, Choices, check_keys
from kdlsr.tables.methods import check_forms, find_method
from kdlsr.tables.reading import find_tables, read_profile
from kdlsr.tables.schema import Table
from kdlsr.tables.setting import Profile

if TYPE_CHECKING:
    from rich.console import Console

    from kdlsr.reporting.until_decided import LookedPlan
    from kdlsr.tables.forecast import Forecaster
    from kdlsr.tables.launching import Outcome
    from kdlsr.tables.plan import Plan, PlannedJob

LAUNCH = ("hydra", "cluster")
# What a table sets, run by run: their keys are known beside its own data set and networks only.
OF_RUNS = ("dataset", "model", "teacher", "loss", "schedule")


@dataclass(frozen=True)
class CommandLine:
    """The overrides of one command, by what they are for.

    Attributes:
        own: of `conf/reproduce.yaml`.
        launch: which launcher, and its options.
        runs: of every run, as for `kdlsr.train`.
    """

    own: Overrides
    launch: Overrides
    runs: Overrides

    @property
    def common(self) -> Overrides:
        """Those of `runs` that mean the same for all: output_dir, device, tracker, ..."""
        return self.runs.without(*OF_RUNS)

    @property
    def repeated(self) -> str:
        """The command that makes the same report: without the mode and the launcher."""
        return shell_command("reproduce", (self.own.without("mode", "measure") + self.runs).texts())


def split_overrides(overrides: Overrides) -> CommandLine:
    """Sorts a command's overrides by what they are for."""
    own, launch = overrides.only(*OWN), overrides.only(*LAUNCH)
    return CommandLine(own, launch, overrides.without(*OWN, *LAUNCH))


def read_choices(line: CommandLine) -> Choices:
    """Composes and checks what the user chose, the profile apart.

    Raises:
        UserError: an unknown key, a value out of range, a method or form that does not exist.
    """
    composed = compose_config(line.own.without("profile").texts(), "reproduce")
    values = {k: v for k, v in composed.items() if k != "profile"}
    if values["table"] == "???":
        values["table"] = ()
    choices = build(Choices, values, "")
    check_forms(choices.forms or ())
    for method in choices.methods or ():
        find_method(method, "methods")
    return choices


def choose_profile(line: CommandLine, tables: Sequence[Table]) -> Profile:
    """Returns the profile that the command names, else the tables' own.

    Raises:
        UserError: no such profile, or tables whose own profiles differ.
    """
    chosen = line.own.only("profile")
    if chosen.get("profile") is None:
        own = sorted({table.profile for table in tables})
        if len(own) > 1:
            raise UserError(
                f"these tables have different profiles ({', '.join(own)}): say profile="
            )
        chosen = Overrides([Override("profile", own[0]), *chosen])
    return read_profile(compose_config(chosen.texts(), "reproduce")["profile"])


def _reproduce(line: CommandLine) -> int:
    from kdlsr.machine.screen import open_screen

    console = open_screen()
    check_keys(line.runs)
    choices = read_choices(line)
    if choices.mode == "list":
        from kdlsr.tables.index import print_index

        print_index(console, find_tables(choices.table) if choices.table else None)
        return EXIT_OK
    if not choices.table:
        raise UserError("table is missing: table=quickstart, say; mode=list prints what there is")
    tables = find_tables(choices.table)
    plan = _plan(line, choices, tables)
    _check_protocol(choices, plan)
    if choices.mode == "plan":
        from kdlsr.reporting.plan import print_at_most, print_plan

        looked = _looked(choices, plan)
        forecaster = _forecaster(console, line, choices)
        print_plan(console, looked.plan if looked else plan, forecaster)
        if looked is not None:
            print_at_most(console, looked.in_words, plan, forecaster)
        return EXIT_OK
    if choices.mode == "report":
        return _report_all(console, line, choices, plan)
    wanted, outcome = _run_until_decided(console, line, choices, plan)
    try:
        _report_all(console, line, choices, plan)
    finally:  # where the report cannot be written, the reasons are not lost
        unfinished = _print_unfinished(console, wanted, outcome)
    return unfinished


def _forecaster(console: "Console", line: CommandLine, choices: Choices) -> "Forecaster":
    from kdlsr.runs.executors import configure_executor
    from kdlsr.runs.measuring import measure
    from kdlsr.tables.forecast import Forecaster

    def tell(text: str) -> None:
        console.print(text, markup=False)

    capacity = configure_executor(line.launch + line.common).capacity
    return Forecaster(capacity, tell, measure if choices.measure else None)


def _plan(line: CommandLine, choices: Choices, tables: Sequence[Table]) -> "Plan":
    profile = choose_profile(line, tables)
    from kdlsr.tables.plan import Request
    from kdlsr.tables.planning import plan_tables

    wanted = choices.wanted_seeds
    given = profile.seeds if wanted is None else wanted
    seeds = tuple(range(given)) if isinstance(given, int) else given
    request = Request(
        profile,
        seeds,
        choices.forms,
        choices.methods,
        choices.controls,
        line.runs,
        choices.teacher_seeds,
    )
    return plan_tables(tables, request)


def _check_protocol(choices: Choices, plan: "Plan") -> None:
    """Refuses to judge by a validation split that a table's runs do not have."""
    if choices.protocol != "best_val":
        return
    for table in plan.tables:
        data = [run.config.dataset for cell in table.cells for run in cell.runs]
        if data and not any(each.val_fraction for each in data):
            raise UserError(
                f"protocol=best_val: the runs of {table.table.name} have no validation split; "
                "dataset.val_fraction=0.1 makes one"
            )


def _looked(choices: Choices, plan: "Plan", tried: Set[str] | None = None) -> "LookedPlan | None":
    """Returns which runs are wanted now; None where seeds are given, and all are."""
    if choices.seeds != "auto":
        return None
    from kdlsr.reporting.looking import Rule
    from kdlsr.reporting.until_decided import look_at_plan

    return look_at_plan(plan, choices.protocol, Rule(choices.looks, choices.margin), tried)


def _run_until_decided(
    console: "Console", line: CommandLine, choices: Choices, plan: "Plan"
) -> tuple["Plan", "Outcome"]:
    """Runs what is wanted, look after look; returns that plan, and how its jobs ended."""
    looked = _looked(choices, plan, frozenset())
    if looked is None:
        return plan, _run_all(console, line, plan)
    tried: set[str] = set()
    reasons: dict[str, str] = {}
    while True:
        console.print(looked.in_words, markup=False)
        outcome = _run_all(console, line, looked.plan, tried)
        reasons |= outcome.reasons
        outcome.reasons = reasons
        tried |= {job.run.run_id for job in looked.plan.jobs}
        before, looked = looked.plan, _looked(choices, plan, tried)
        assert looked is not None
        if tried.issuperset(job.run.run_id for job in looked.plan.jobs):
            console.print(looked.in_words, markup=False)
            return before, outcome


def _run_all(
    console: "Console", line: CommandLine, plan: "Plan", leave: Set[str] = frozenset()
) -> "Outcome":
    from kdlsr.reporting.places import check_place, made_from
    from kdlsr.runs.executors import configure_executor
    from kdlsr.tables.launching import carry_out
    from kdlsr.train import train_job

    root = relative_to_here(str(compose_config(line.common.texts())["output_dir"]))
    for table in plan.tables:  # before hours of training
        check_place(table.report_name, made_from(table.table.origin, root), root)
    executor = configure_executor(line.launch + line.common)
    jobs, layers = len(plan.jobs), len(plan.layers)
    names = ", ".join(table.table.name for table in plan.tables)
    console.print(f"{names}: {jobs} runs in {layers} layers", markup=False)

    def announce(layer: int, waiting: Sequence["PlannedJob"]) -> None:
        console.print(f"layer {layer + 1} of {layers}: {len(waiting)} runs", markup=False)

    with contextlib.closing(executor):
        return carry_out(plan, executor, train_job, announce, leave)


def _report_all(console: "Console", line: CommandLine, choices: Choices, plan: "Plan") -> int:
    from kdlsr.reporting.places import made_from
    from kdlsr.reporting.publish import publish
    from kdlsr.reporting.table_report import report_table
    from kdlsr.tables.launching import states

    looked = _looked(choices, plan)
    plan = looked.plan if looked else plan
    found = states(plan)
    config = compose_config(line.common.texts())
    tracker, root = read_tracker_section(config["tracker"]), relative_to_here(config["output_dir"])
    for table in plan.tables:
        origin = made_from(table.table.origin, root)
        after = looked.looked[table.report_name] if looked else None
        report = report_table(
            table, found, choices.protocol, line.repeated, origin, choices.margin, after
        )
        page = publish(console, report, root, tracker)
        console.print(f"{page}", markup=False, soft_wrap=True)
    return EXIT_OK


def _print_unfinished(console: "Console", plan: "Plan", outcome: "Outcome") -> int:
    """Prints what did not come to its end, why, and how to go on; returns the exit code."""
    from kdlsr.reporting.console import print_unfinished

    left = set(outcome.unfinished)
    unfinished = [
        (job.run, outcome.states[job.run.run_id], shell_command("train", job.overrides.texts()))
        for job in plan.jobs
        if job.run.run_id in left
    ]
    print_unfinished(console, unfinished, len(plan.jobs), outcome.reasons)
    return EXIT_FAILED if unfinished else EXIT_OK


def _main() -> int:
    refusal = "kdlsr.reproduce plans its runs itself: drop -m, --cfg and --info"
    overrides = read_command("reproduce", refusal)
    return EXIT_OK if overrides is None else _reproduce(split_overrides(Overrides.parse(overrides)))


def main() -> None:
    """The entry point: exits with 0, 1 (a run failed), 2 (a mistake), 130 or 143."""
    sys.exit(run_entry_point(_main))


if __name__ == "__main__":
    main()
