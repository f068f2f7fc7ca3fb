"""Lists stored teacher outputs and removes them: `python -m kdlsr.teachers remove='digits-*'`.

Only parses, calls and prints; neither torch nor a config is needed.
"""

if __name__ == "__main__":  # Ctrl-C may come while the rest is imported
    from kdlsr.machine.interruption import end_at_interruption

    end_at_interruption()

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdlsr.config import UserError, nearest
from kdlsr.config.command_line import OneLineParser
from kdlsr.config.compose import relative_to_here
from kdlsr.config.entry import EXIT_OK, run_entry_point
from kdlsr.config.overrides import Override
from kdlsr.config.schema import RunConfig, TeacherConfig
from kdlsr.machine.screen import open_screen
from kdlsr.teachers.outputs import (
    FOLDER,
    GB,
    StoredOutputs,
    folder_size,
    list_outputs,
    remove_outputs,
)

KEYS = ("remove", "output_dir")
PIPED_WIDTH = 200  # columns where there is no terminal: keys stay whole
DESCRIPTION = """\
Lists the stored outputs of teachers, which runs make (teacher.store=auto) and share, or removes
them. What is gone is computed again by the run that needs it, to the same bits.

  python -m kdlsr.teachers                      list them
  python -m kdlsr.teachers remove=<key>         remove one, or several: remove='digits-*'
  python -m kdlsr.teachers output_dir=<folder>  those below another output folder
"""


def _parse(arguments: Sequence[str]) -> dict[str, str]:
    """Reads `key=value` words, as the other commands have them; `list` is the default."""
    parser = OneLineParser(
        prog="python -m kdlsr.teachers",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("words", nargs="*", metavar="key=value", help="as above")
    values: dict[str, str] = {}
    for word in parser.parse_args(arguments).words:
        key, is_assigned, value = word.partition("=")
        if word == "list":
            continue
        if not is_assigned or not value:
            raise UserError(f"{word}: expected list or <key>=<value>{nearest(key, KEYS)}")
        if key not in KEYS:
            raise UserError(f"unknown key {key}{nearest(key, KEYS)}")
        if key in values:
            raise UserError(f"{key} is given twice")
        values[key] = _as_elsewhere(word) if key == "output_dir" else value
    return values


def _as_elsewhere(word: str) -> str:
    """Returns the value as the other commands read it, in quotes or without."""
    return str(Override.parse(word).value)


def _main() -> int:
    values = _parse(sys.argv[1:])
    output_dir = relative_to_here(values.get("output_dir", RunConfig.output_dir))
    if not output_dir.is_dir() and "output_dir" in values:
        raise UserError(f"output_dir={values['output_dir']}: no such folder")
    root = output_dir / FOLDER
    width = None if sys.stdout.isatty() else PIPED_WIDTH
    console = open_screen(width=width)
    if "remove" in values:
        _remove(console, root, values["remove"])
    else:
        _list(console, root)
    return EXIT_OK


def _list(console: Console, root: Path) -> None:
    stores = list_outputs(root)
    if stores:
        console.print(_table(stores))
    bound = TeacherConfig.store_limit_gb
    console.print(
        f"{len(stores)} {'store' if len(stores) == 1 else 'stores'} in {root}: "
        f"{_size(folder_size(root))} of {bound:g} GB (teacher.store_limit_gb, unless set)",
        markup=False,
        soft_wrap=True,
    )


def _table(stores: Sequence[StoredOutputs]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("key (teacher, its epoch, data seed)", overflow="fold")
    table.add_column("data set")
    for column in ("epochs stored", "size"):
        table.add_column(column, justify="right")
    for store in stores:
        teacher = str(store.description.get("teacher", "?"))
        is_in_key = store.path.name.startswith(teacher)
        table.add_row(
            Text(store.path.name if is_in_key else f"{store.path.name}\n  {teacher}"),
            str(store.description.get("dataset", "?")),
            str(store.epochs),
            _size(store.size),
        )
    return table


def _remove(console: Console, root: Path, pattern: str) -> None:
    known = [store.path.name for store in list_outputs(root)]
    removed = remove_outputs(root, pattern)
    if not removed:
        raise UserError(f"remove={pattern}: no such store in {root}{nearest(pattern, known)}")
    for store in removed:
        console.print(f"removed {store.path.name}: {_size(store.size)}", soft_wrap=True)


def _size(size: int) -> str:
    for unit, name in ((GB, "GB"), (10**6, "MB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size / 1000:.1f} kB"


def main() -> None:
    """The entry point: exits with 0, 2 (a mistake), 130 or 143."""
    sys.exit(run_entry_point(_main))


if __name__ == "__main__":
    main()
