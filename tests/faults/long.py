"""Every fault at every place: `python tests/faults/long.py --kills 500 --log faults.log`.

Prints what it is at, logs each trial that found something, and writes the table of
all faults to `--table`. Exits with 1 if anything was found. `--every 10` takes one place of
ten; `--only stopped` one kind of fault. Takes hours on two cores.
"""

import argparse
import errno
import itertools
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # what all tests share
sys.path.insert(0, str(Path(__file__).resolve().parent))

import power
import trials
from processes_with_faults import ADDS, ALL, REPOSITORY, VISIBLE, Action, Starter
from trials import A_TABLE, CE, DE_KD, KD, SCENARIOS, Outcome, Workshop

Trial = Callable[[], Outcome]
Row = tuple[str, list[Trial]]


def _kills(shop: Workshop, options: argparse.Namespace) -> Iterator[Row]:
    draw = random.Random(options.seed)
    share = options.kills // len(SCENARIOS)
    for scenario in SCENARIOS.values():
        row: list[Trial] = []
        left = share
        while left > 0:
            kills = min(left, draw.choice([1, 1, 1, 2, 3]))
            left -= kills
            seed = draw.random()
            row.append(
                lambda s=scenario, k=kills, n=seed: trials.killed_at_random(
                    shop, s, random.Random(n), k
                )
            )
        yield f"SIGKILL at random moments, {scenario.name} ({share} kills)", row


def _kills_at_changes(shop: Workshop, options: argparse.Namespace) -> Iterator[Row]:
    actions = itertools.cycle([Action.KILL_AFTER, Action.TEAR])
    for scenario in (CE, KD, DE_KD):
        places = range(1, shop.undisturbed(scenario).changes + 1)
        yield (
            f"SIGKILL right after, or amid, every change on the disk, {scenario.name}",
            [
                lambda s=scenario, n=nth, a=action: trials.killed_at_change(shop, s, n, a)
                for nth, action in zip(places, actions, strict=False)
            ],
        )


def _damages(shop: Workshop, options: argparse.Namespace) -> Iterator[Row]:
    draw = random.Random(options.seed)
    for scenario in (KD, DE_KD, A_TABLE):
        complete = shop.undisturbed(scenario).folder
        halves = [trials.half_way(shop, scenario, share) for share in (0.35, 0.8)]
        for how in trials.HOW:
            row: list[Trial] = []
            for whole, name in ((w, n) for w in (complete, *halves) for n in trials.names_below(w)):
                row += [
                    lambda s=scenario, w=whole, n=name, h=how, r=seed: trials.damaged(
                        shop, s, w, n, h, random.Random(r)
                    )
                    for seed in (draw.random() for _ in range(3 if how == "flipped" else 1))
                ]
            yield (
                f"each file {how}, complete and half-way, {scenario.name}",
                row,
            )


def _stops(shop: Workshop, options: argparse.Namespace) -> Iterator[Row]:
    for scenario in (CE, KD, DE_KD):
        places = range(1, shop.count(scenario, VISIBLE) + 1)
        yield (
            f"stopped before every change of a name, succeeded, woken, {scenario.name}",
            [lambda s=scenario, n=n: trials.stopped_and_continued(shop, s, n) for n in places],
        )


def _refusals(shop: Workshop, options: argparse.Namespace) -> Iterator[Row]:
    for scenario in (CE, KD):
        for error, changes, once in (
            (errno.ENOSPC, ADDS, False),
            (errno.EIO, ALL, False),
            (errno.EIO, ALL, True),
        ):
            places = range(1, shop.count(scenario, changes) + 1)
            said = f"{os.strerror(error)} {'at' if once else 'from'} every change on"
            yield (
                f"{said}, {scenario.name}",
                [
                    lambda s=scenario, n=n, e=error, c=changes, o=once: trials.refused(
                        shop, s, n, e, c, o
                    )
                    for n in places
                ],
            )


def _cuts(shop: Workshop, options: argparse.Namespace) -> Iterator[Row]:
    for scenario in (CE, KD, DE_KD):
        cuts = list(power.cuts_of(shop, scenario))
        yield (
            f"power cut at every instant, {scenario.name}",
            [lambda s=scenario, c=cut: power.after_a_cut(shop, s, c) for cut in cuts],
        )


KINDS = {
    "killed": _kills,
    "changes": _kills_at_changes,
    "stopped": _stops,
    "refused": _refusals,
    "power": _cuts,
    "damaged": _damages,
}


def _every(kind: str, options: argparse.Namespace) -> int:
    """Returns of how many places one is taken."""
    found = dict(given.rpartition("=")[::2] for given in options.every)
    return int(found.get(kind, found.get("", 1)))


def _table(rows: list[tuple[str, Outcome]]) -> str:
    lines = [
        "| fault | trials | differing files | complete runs repeated or lost | tracebacks | "
        "wrong or unexplained, and not told |",
        "|---|---|---|---|---|---|",
    ]
    for name, o in rows:
        lines.append(
            f"| {name} | {o.trials} | {o.differing} | {o.repeated} | {o.tracebacks} | {o.silent} |"
        )
    total = Outcome()
    for _, outcome in rows:
        total += outcome
    lines.append(
        f"| **all** | {total.trials} | {total.differing} | {total.repeated} | {total.tracebacks} "
        f"| {total.silent} |"
    )
    return "\n".join(lines) + "\n"


def _commit() -> str:
    command = ["git", "-C", str(REPOSITORY), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _machine() -> str:
    import torch

    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return f"{system}, Python {platform.python_version()}, torch {torch.__version__}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument(
        "--every", nargs="*", default=[], help="one place of so many: 10, or damaged=10 refused=3"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="trials at once")
    parser.add_argument("--only", choices=KINDS, nargs="*", default=list(KINDS))
    parser.add_argument("--log", type=Path, default=Path("faults.log"))
    parser.add_argument("--table", type=Path, default=Path("faults.md"))
    options = parser.parse_args()
    rows: list[tuple[str, Outcome]] = []
    folder = Path(tempfile.mkdtemp(prefix="kdlsr-fault-trials-"))
    begun = time.monotonic()
    with Starter() as starter, options.log.open("a") as log:
        if not starter.has_shim:
            parser.error("no C compiler, or no Linux: nothing can be injected here")
        shop = Workshop(starter, folder)
        for kind in options.only:
            every = 1 if kind == "killed" else _every(kind, options)
            for title, row in KINDS[kind](shop, options):
                name = title if every == 1 else f"{title} (1 of {every})"
                chosen = row[options.seed % every :: every]
                rows.append((name, _carry_out(name, chosen, options.jobs, log)))
                head = f"Commit {_commit()}; {_machine()}; `{' '.join(sys.argv)}`; "
                took = f"{(time.monotonic() - begun) / 60:.0f} minutes.\n\n"
                options.table.write_text(head + took + _table(rows))
    clean = all(outcome.is_clean for _, outcome in rows)
    if clean:
        shutil.rmtree(folder)
    else:
        print(f"see {options.log}; outputs in {folder}")
    return int(not clean)


def _carry_out(name: str, row: list[Trial], jobs: int, log: object) -> Outcome:
    total, begun = Outcome(), time.monotonic()
    print(f"{name}: {len(row)} trials", flush=True)
    with ThreadPoolExecutor(jobs) as pool:
        for outcome in pool.map(_one, row):
            total += outcome
            for line in outcome.told:
                print(f"  {line}", flush=True)
                print(f"{name}: {line}", file=log, flush=True)
    print(
        f"  {total.trials} trials: {total.differing} differing, {total.repeated} repeated, "
        f"{total.tracebacks} tracebacks, {total.silent} silent; {time.monotonic() - begun:.0f} s",
        flush=True,
    )
    return total


def _one(trial: Trial) -> Outcome:
    try:
        return trial()
    except Exception as error:  # a trial that hangs must not end the others
        return Outcome(trials=1, differing=1, told=[f"the trial itself: {error!r}"])


if __name__ == "__main__":
    sys.exit(main())
