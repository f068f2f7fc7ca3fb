"""What a table of short runs costs in kept processes, against a process per run, and one alone.

    python tests/benchmarks/workers.py
    python tests/benchmarks/workers.py --runs 24 device=cuda model=resnet18 schedule.epochs=2 \
        hydra.launcher.jobs_per_gpu=4

Each way makes the same runs (seeds of one setting), by the commands that a user types, in turns.
Overrides come after the options; those of the launcher go to the kept processes alone. The last
line is one JSON object:

    kept_over_each   `kdlsr.train -m seed=... +cluster=local` over as many `kdlsr.train seed=...`,
                     as many at once
    kept_over_basic  over `kdlsr.train -m seed=...`, one run after the other in one process
    each_s, basic_s, kept_s
                     seconds, medians over the rounds
    at_once          processes of a run each: the cores, or --at-once; of kept ones the launcher
                     decides
    identical        whether all three left the same bytes
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from machine import describe
from turns import finish

TRAIN = [sys.executable, "-m", "kdlsr.train"]
SHORT = ["dataset=digits", "dataset.subset=256", "model=resnet8", "schedule=quick"]
SHORT += ["schedule.epochs=1", "schedule.milestones=[]"]
FILES = ("result.json", "metrics.jsonl", "test_logits.npz")


class Ways:
    """The three ways to make the same runs, each in an empty folder."""

    def __init__(self, overrides: list[str], runs: int, at_once: int) -> None:
        self.launcher = [o for o in overrides if o.startswith("hydra.")]
        self.overrides = [*SHORT, *(o for o in overrides if o not in self.launcher)]
        self.runs, self.at_once = runs, at_once

    def each(self, folder: Path) -> None:
        def one(seed: int) -> None:
            _run([f"seed={seed}", *self.overrides], folder)

        with ThreadPoolExecutor(self.at_once) as pool:
            list(pool.map(one, range(self.runs)))

    def basic(self, folder: Path) -> None:
        _run(["-m", f"seed=range({self.runs})", *self.overrides], folder)

    def kept(self, folder: Path) -> None:
        launched = ["+cluster=local", *self.launcher]
        _run(["-m", f"seed=range({self.runs})", *self.overrides, *launched], folder)


def _run(words: list[str], folder: Path) -> None:
    done = subprocess.run([*TRAIN, *words], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}: {done.stderr}")


def _bytes_of(folder: Path) -> dict[str, bytes]:
    found = {p.relative_to(folder): p for name in FILES for p in folder.rglob(name)}
    return {str(name): path.read_bytes() for name, path in found.items()}


def measure(ways: Ways, rounds: int) -> dict[str, object]:
    seconds: dict[str, list[float]] = {"each": [], "basic": [], "kept": []}
    identical = True
    for turn in range(rounds):
        left = []
        for name in seconds if turn % 2 else reversed(seconds):
            with tempfile.TemporaryDirectory() as folder:
                begun = time.perf_counter()
                getattr(ways, name)(Path(folder))
                seconds[name].append(time.perf_counter() - begun)
                left.append(_bytes_of(Path(folder)))
            print(f"  {name:6} {seconds[name][-1]:7.1f} s", flush=True)
        identical &= len(left[0]) == ways.runs * len(FILES) and left[0] == left[1] == left[2]
    kept, each, basic = (seconds[name] for name in ("kept", "each", "basic"))
    return {
        "kept_over_each": statistics.median(k / e for k, e in zip(kept, each, strict=True)),
        "kept_over_basic": statistics.median(k / b for k, b in zip(kept, basic, strict=True)),
        **{f"{name}_s": statistics.median(values) for name, values in seconds.items()},
        "at_once": ways.at_once,
        "identical": identical,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    print(describe())
    finish(measure(Ways(options.overrides, options.runs, options.at_once), options.rounds))


if __name__ == "__main__":
    main()
