"""In which fields two runs differ: `python -m kdlsr.why RUN_A RUN_B`, or `RUN_A override ...`.

With one run and overrides it is held against the run that `python -m kdlsr.train override ...`
would be: why a run that is there does not count for it. Reads cards, trains nothing.
"""

if __name__ == "__main__":  # Ctrl-C may come while the rest is imported
    from kdlsr.machine.interruption import end_at_interruption

    end_at_interruption()

import argparse
import sys
from collections.abc import Sequence

from kdlsr.config.command_line import OneLineParser
from kdlsr.config.compose import add_config_folder, compose_config, relative_to_here
from kdlsr.config.entry import EXIT_OK, run_entry_point
from kdlsr.config.overrides import Overrides
from kdlsr.config.schema import RunConfig
from kdlsr.runs.identity import FieldDifference, canonical
from kdlsr.runs.store import Store
from kdlsr.runs.why import Identified, differences, find_card, of_card

DESCRIPTION = """\
In which fields two runs' identities differ, and so why one does not count for the other.

  python -m kdlsr.why RUN_A RUN_B              two runs of outputs/runs
  python -m kdlsr.why RUN_A loss=kd loss.tau=2 a run, and the one that kdlsr.train would make
  python -m kdlsr.why RUN_A                    ... with no override at all

A run is named by its run_id, by a part of it that fits no other, or by its folder.
"""


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = OneLineParser(
        prog="python -m kdlsr.why",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("run", help="as above")
    parser.add_argument(
        "other", nargs="*", default=[], help="another run, or overrides of kdlsr.train"
    )
    parser.add_argument("--config-dir", help="a folder with options of your own")
    return parser.parse_intermixed_args(arguments)


def _planned(command: Overrides) -> Identified:
    """Returns the run that overrides would make."""
    from kdlsr.config.schema import read_config
    from kdlsr.runs.plan import Run, identity_of, plan_run

    def identified(run: Run) -> Identified:
        teacher = identified(run.teacher_run) if run.teacher_run else None
        return Identified(run.run_id, identity_of(run, with_seeds=True), teacher)

    return identified(plan_run(read_config(compose_config(command.texts())), command))


def _main() -> int:
    arguments = _parse(sys.argv[1:])
    other: list[str] = arguments.other
    is_run = len(other) == 1 and "=" not in other[0]
    if arguments.config_dir is not None:
        add_config_folder(relative_to_here(arguments.config_dir))
    overrides = Overrides.parse([] if is_run else other)
    store = Store(relative_to_here(str(overrides.get("output_dir", RunConfig.output_dir))))
    first = of_card(find_card(store, arguments.run), store)
    second = of_card(find_card(store, other[0]), store) if is_run else _planned(overrides)
    _print(first, second, differences(first, second))
    return EXIT_OK


def _print(first: Identified, second: Identified, found: Sequence[FieldDifference]) -> None:
    from kdlsr.machine.screen import open_screen

    screen = open_screen(soft_wrap=True)
    screen.print(f"A  {first.run_id}\nB  {second.run_id}", markup=False)
    if not found:
        screen.print("The same run: nothing that moves its numbers differs.", markup=False)
        return
    width = max(len(field.key) for field in found)
    for field in found:
        values = f"{_shown(field.first)} -> {_shown(field.second)}"
        screen.print(f"  {field.key:<{width}}  {values}", markup=False)


def _shown(value: object) -> str:
    return value if isinstance(value, str) else canonical(value)


def main() -> None:
    """The entry point: exits with 0, 2 (a mistake), 130 or 143."""
    sys.exit(run_entry_point(_main))


if __name__ == "__main__":
    main()
