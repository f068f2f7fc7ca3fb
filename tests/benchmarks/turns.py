"""Contestants timed in turns, so that a machine whose speed drifts slows each of them.

A ratio is taken within a turn and only then the median over turns. Nothing that is measured
stands here.
"""

import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

WARM_UP = 1  # turns of each that are not counted


@dataclass(frozen=True)
class Contestant:
    """Something to be timed.

    Attributes:
        run: does the work once; it has waited for its device when it returns.
        images: how many images that is (1 where seconds are wanted).
    """

    run: Callable[[], object]
    images: int = 1


def in_turns(
    contestants: Mapping[str, Contestant],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Returns images per second of each contestant in each round, after one warm-up of each.

    The order is turned round from one round to the next. `time.process_time` as the clock
    leaves out what other programs take, on a machine that is not idle (one thread, no workers).
    """
    for contestant in contestants.values():
        for _ in range(WARM_UP):
            contestant.run()
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds):
        names = list(contestants)
        for name in names if turn % 2 else reversed(names):
            begun = clock()
            contestants[name].run()
            found[name].append(contestants[name].images / (clock() - begun))
    return found


def show(found: Mapping[str, list[float]], unit: str = "images/s") -> None:
    """Prints a line per contestant."""
    print(f"  {unit:36} {'median':>10} {'lowest':>10} {'highest':>10}")
    for name, values in found.items():
        row = (statistics.median(values), min(values), max(values))
        print(f"  {name:36} " + " ".join(f"{value:10,.1f}" for value in row), flush=True)


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Returns the median over rounds of one rate over another's."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def finish(results: Mapping[str, object]) -> None:
    """Prints the last line: one JSON object."""
    rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in results.items()}
    print(json.dumps(rounded))
