"""What a trial is: a command with a fault in it, brought to its end; held against a whole one.

Outputs are compared byte for byte. A trial counts what differs, which complete runs were made
again or lost without need, what ended in a traceback, and what was taken for true and is not.
"""

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import made_tables
from processes_with_faults import CHANGES, VISIBLE, Action, Change, Ended, Fault, Starter

TINY = ("dataset=digits", "dataset.subset=100", "model=resnet8", "model.width=4")
TINY += ("schedule=quick", "schedule.epochs=3", "precision=fp32", "threads=1")
SETTING = made_tables.setting(images=100, small=2, large=4)
TEACHES = "-s1000-"  # in the name of a run that only teaches
PROMISED = ("metrics.jsonl", "test_logits.npz", "result.json")
REPORTED = ("report.json", "table.csv", "table.md", "table.tex")
Files = dict[str, bytes]


@dataclass(frozen=True)
class Scenario:
    """A command, which a trial repeats until it has come to its end."""

    name: str
    module: str
    arguments: tuple[str, ...]


CE = Scenario("ce", "kdlsr.train", TINY)
KD = Scenario("kd", "kdlsr.train", (*TINY, "loss=kd", "teacher=self"))
TEACHER = Scenario("teacher", "kdlsr.train", (*TINY, "seed=1000"))  # of these two
DE_KD = Scenario("De-KD", "kdlsr.train", (*TINY, "loss=kd", "teacher=self", "teacher.epoch=1"))
OF_TABLE = ("table=mine.yaml", "seeds=1", "forms=[standard]", "threads=1", "precision=fp32")
A_TABLE = Scenario("table", "kdlsr.reproduce", OF_TABLE)
SCENARIOS = {scenario.name: scenario for scenario in (CE, KD, DE_KD, A_TABLE)}


@dataclass
class Outcome:
    """What came of a trial, or of many.

    Attributes:
        trials: how many.
        differing: files that are not, at the end, what they are undisturbed.
        repeated: complete runs that were made again or lost without need.
        tracebacks: commands that ended in one.
        silent: damage that moved a number, and that no line named.
        told: a line on each of these.
    """

    trials: int = 0
    differing: int = 0
    repeated: int = 0
    tracebacks: int = 0
    silent: int = 0
    told: list[str] = field(default_factory=list)

    def __iadd__(self, other: "Outcome") -> "Outcome":
        for name in ("trials", "differing", "repeated", "tracebacks", "silent", "told"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    @property
    def is_clean(self) -> bool:
        return not (self.differing or self.repeated or self.tracebacks or self.silent)

    def saw(self, ended: Ended, where: str, codes: Sequence[int] = (0,)) -> None:
        """Notes a traceback, and an exit code that is not one of those it should be."""
        if ended.has_traceback:
            self.tracebacks += 1
            self.told.append(f"{where}: traceback: {ended.stderr.strip().splitlines()[-1:]}")
        elif ended.code not in codes:
            self.differing += 1
            self.told.append(f"{where}: exit code {ended.code}: {ended.stderr.strip()[-300:]}")


class Workshop:
    """Makes trials of scenarios, each in a folder of its own that goes if nothing was found."""

    def __init__(self, starter: Starter, folder: Path) -> None:
        self.starter = starter
        self.folder = folder
        self._number = 0
        self._known: dict[str, Undisturbed] = {}

    def new_folder(self) -> Path:
        self._number += 1
        folder = self.folder / f"trial-{self._number:04d}"
        folder.mkdir(parents=True)
        made_tables.write_table(folder, SETTING, made_tables.TABLE)
        return folder

    def undisturbed(self, scenario: Scenario) -> "Undisturbed":
        """Returns what a scenario gives where nothing goes wrong."""
        if scenario.name not in self._known:
            folder = self.new_folder()
            self.run(folder, scenario)  # warm: the first of its kind reads and compiles
            shutil.rmtree(folder / "outputs")
            begun = time.monotonic()
            ended = self.run(folder, scenario, fault=_counting(CHANGES))
            assert ended.code == 0, ended.stderr
            seconds = time.monotonic() - begun
            files = files_of(folder)
            self._known[scenario.name] = Undisturbed(folder, files, seconds, ended.changes)
        return self._known[scenario.name]

    def copy_of(self, folder: Path) -> Path:
        """Returns a folder of a trial with the outputs of another."""
        copied = self.new_folder()
        shutil.copytree(folder / "outputs", copied / "outputs", dirs_exist_ok=True)
        return copied

    def run(self, folder: Path, scenario: Scenario, fault: Fault | None = None) -> Ended:
        return self.starter.run(folder, scenario.module, *scenario.arguments, fault=fault)

    def count(self, scenario: Scenario, changes: Change) -> int:
        """Returns how many changes of some kind a scenario makes."""
        folder = self.new_folder()
        made = self.run(folder, scenario, fault=_counting(changes)).changes
        shutil.rmtree(folder)
        return made

    def compare(self, folder: Path, scenario: Scenario, where: str) -> Outcome:
        """Holds a trial's files against the undisturbed ones."""
        return compare(self.undisturbed(scenario).files, folder, where)

    def to_the_end(self, folder: Path, scenario: Scenario, where: str) -> Outcome:
        """Runs a scenario to its end after a fault, undisturbed, and compares what it gives."""
        complete = complete_runs(folder)
        outcome = Outcome(trials=1)
        outcome.saw(self.run(folder, scenario), f"{where}: going on")
        outcome += self.compare(folder, scenario, where)
        outcome += unchanged(folder, complete, where)
        if outcome.is_clean:
            shutil.rmtree(folder)
        return outcome


@dataclass(frozen=True)
class Undisturbed:
    """What a scenario gives where nothing goes wrong, how long it takes, how much it changes."""

    folder: Path
    files: Files
    seconds: float
    changes: int


def _counting(changes: Change) -> Fault:
    return Fault(Action.REFUSE_ONCE, changes, 10**9)


def files_of(folder: Path) -> Files:
    """Returns what is promised to be the same to the byte: of runs, and of a table's report."""
    root = folder / "outputs"
    names = [*(f"runs/*/{name}" for name in PROMISED), *(f"reports/*/{n}" for n in REPORTED)]
    paths = (path for name in names for path in root.glob(name))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def compare(expected: Files, folder: Path, where: str) -> Outcome:
    outcome, found = Outcome(), files_of(folder)
    for name in sorted(expected.keys() | found.keys()):
        if found.get(name) != expected.get(name):
            outcome.differing += 1
            outcome.told.append(f"{where}: {name} differs ({folder})")
    return outcome


def complete_runs(folder: Path) -> dict[Path, int]:
    """Returns the runs that are complete, with when their result was written."""
    results = (folder / "outputs" / "runs").glob("*/result.json")
    return {path: path.stat().st_mtime_ns for path in results if b'"complete"' in path.read_bytes()}


def unchanged(folder: Path, before: dict[Path, int], where: str) -> Outcome:
    after, outcome = complete_runs(folder), Outcome()
    for path, written in before.items():
        if after.get(path) != written:
            outcome.repeated += 1
            outcome.told.append(f"{where}: {path.parent.name} was complete, and was made again")
    return outcome


# ---------------------------------------------------------------- killed


def killed_at_random(
    shop: Workshop, scenario: Scenario, draw: random.Random, kills: int
) -> Outcome:
    """Kills a command `kills` times, each somewhere in what is left of it, and lets it end."""
    seconds, folder = shop.undisturbed(scenario).seconds, shop.new_folder()
    where = f"{scenario.name} killed at"
    for _ in range(kills):
        running = shop.starter.start(folder, scenario.module, *scenario.arguments)
        delay = draw.uniform(0, 1.1 * seconds)
        if not running.has_ended(delay):
            running.send(signal.SIGKILL)
        where += f" {delay:.3f}"
        running.wait()
    return shop.to_the_end(folder, scenario, where)


def killed_at_change(shop: Workshop, scenario: Scenario, nth: int, action: Action) -> Outcome:
    """Kills a command before, after or in the middle of its `nth` change."""
    folder = shop.new_folder()
    shop.run(folder, scenario, Fault(action, CHANGES, nth))
    return shop.to_the_end(folder, scenario, f"{scenario.name}: {action.name} {nth}")


# ---------------------------------------------------------------- stopped


def stopped_and_continued(shop: Workshop, scenario: Scenario, nth: int) -> Outcome:
    """Stops a command just before its `nth` visible change; it goes on once another has ended.

    What it then changes counts in every run that the other one has written into: elsewhere it
    is still the owner (of a complete run that it had yet to release, of a teacher whose kept
    checkpoint was all that the other one needed).
    """
    folder, outcome = shop.new_folder(), Outcome(trials=1)
    where = f"{scenario.name} stopped before visible change {nth}"
    start = shop.starter.start
    fault = Fault(Action.STOP, VISIBLE, nth)
    stopped = start(folder, scenario.module, *scenario.arguments, fault=fault)
    if stopped.is_stopped():
        at_stop = _lasting(folder)
        outcome.saw(shop.run(folder, scenario), f"{where}: the successor")
        outcome += shop.compare(folder, scenario, f"{where}: the successor")
        before = _lasting(folder)
        succeeded = {path.parts[0] for path in _changed(at_stop, before)}
        stopped.send(signal.SIGCONT)
        outcome.saw(stopped.wait(), f"{where}: woken", (0, 1))
        for path in _changed(before, _lasting(folder)):
            if path.parts[0] in succeeded:
                outcome.differing += 1
                outcome.told.append(f"{where}: {path} was changed by who woke ({folder})")
    else:
        outcome.saw(stopped.wait(), where)
    outcome += shop.compare(folder, scenario, where)
    if outcome.is_clean:
        shutil.rmtree(folder)
    return outcome


def _lasting(folder: Path) -> dict[Path, bytes]:
    """All files of runs but their times, to which each session adds its own.

    Reports are whoever's wrote them last.
    """
    runs = folder / "outputs" / "runs"
    paths = (path for path in runs.rglob("*") if path.is_file() and path.name != "timing.json")
    return {path.relative_to(runs): path.read_bytes() for path in paths}


def _changed(before: dict[Path, bytes], after: dict[Path, bytes]) -> list[Path]:
    paths = before.keys() | after.keys()
    return sorted(path for path in paths if before.get(path) != after.get(path))


# ---------------------------------------------------------------- a disk that refuses


def refused(
    shop: Workshop, scenario: Scenario, nth: int, error: int, changes: Change, once: bool = False
) -> Outcome:
    """Has the disk refuse a command's `nth` change (and all after it), then work again."""
    folder, outcome = shop.new_folder(), Outcome()
    where = f"{scenario.name}: {os.strerror(error)} {'at' if once else 'from'} change {nth}"
    action = Action.REFUSE_ONCE if once else Action.REFUSE
    ended = shop.run(folder, scenario, Fault(action, changes, nth, error))
    outcome.saw(ended, where, (0, 1, 2))
    said = ended.stdout + ended.stderr
    if ended.code and os.strerror(error) not in said:
        outcome.silent += 1
        outcome.told.append(f"{where}: the reason is not told: {said[-300:]!r}")
    if ended.code and not all(line.startswith("kdlsr: ") for line in ended.stderr.splitlines()):
        outcome.silent += 1
        outcome.told.append(f"{where}: not a line of ours: {ended.stderr[-600:]!r}")
    outcome += shop.to_the_end(folder, scenario, where)
    return outcome


# ---------------------------------------------------------------- damaged files

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[: len(content) // 2],
    "zeroed": lambda content: bytes(len(content)),
    "emptied": lambda content: b"",
}


def flipped(content: bytes, draw: random.Random) -> bytes:
    """One bit, anywhere."""
    place = draw.randrange(len(content))
    changed = bytes([content[place] ^ (1 << draw.randrange(8))])
    return content[:place] + changed + content[place + 1 :]


def damage(path: Path, how: str, draw: random.Random, other: Path | None = None) -> bool:
    """Damages a file; returns whether it is another one now."""
    content = path.read_bytes()
    if how == "deleted":
        path.unlink()
        return True
    if how == "exchanged":
        changed = other.read_bytes() if other else content
    elif how == "flipped":
        changed = flipped(content, draw) if content else content
    else:
        changed = DAMAGES[how](content)
    path.write_bytes(changed)
    return changed != content


HOW = (*DAMAGES, "flipped", "deleted", "exchanged")


@dataclass(frozen=True)
class Reader:
    """A command that reads outputs, and which of its files state numbers."""

    module: str
    arguments: tuple[str, ...] = ()


def readers_of(scenario: Scenario, run_id: str) -> list[Reader]:
    readers = [Reader("kdlsr.report"), Reader("kdlsr.why", (run_id,))]
    if scenario.module == "kdlsr.reproduce":
        readers.append(Reader("kdlsr.reproduce", (*scenario.arguments, "mode=report")))
    return readers


def damaged(
    shop: Workshop, scenario: Scenario, whole: Path, name: str, how: str, draw: random.Random
) -> Outcome:
    """Damages one file of outputs; all that read it either name it or state what is true.

    Args:
        whole: a folder with the outputs that are damaged: complete ones, or half-way ones.
        name: of the file, below `outputs/`.
    """
    folder, outcome = shop.copy_of(whole), Outcome(trials=1)
    where = f"{scenario.name}: {name} {how}"
    path = folder / "outputs" / name
    if not damage(path, how, draw, _same_of_another(path)):
        shutil.rmtree(folder)
        return Outcome()
    run_id = name.split("/")[1] if name.startswith("runs/") else "digits"
    for reader in readers_of(scenario, run_id):
        told = f"{where}: {reader.module}"
        ended = shop.starter.run(folder, reader.module, *reader.arguments)
        outcome.saw(ended, told, (0, 2))
        names_it = run_id in ended.stdout + ended.stderr or ended.code == 2
        if reader.module != "kdlsr.why" and not names_it:
            stated, true = (
                _numbers(folder, reader),
                _numbers(_read_whole(shop, whole, reader), reader),
            )
            if stated != true:
                outcome.silent += 1
                outcome.told.append(f"{told}: states other numbers and names nothing ({folder})")
    outcome.saw(shop.run(folder, scenario), f"{where}: going on")
    expected = shop.undisturbed(scenario).files
    if TEACHES in name and scenario is A_TABLE:
        # Not needed once its students are complete; the report says so for as long as it is.
        shutil.copy(whole / "outputs" / name, path)
        outcome.saw(shop.run(folder, scenario), f"{where}: mended by hand")
    elif TEACHES in name:  # likewise, unless it is asked for itself
        outcome.saw(shop.run(folder, TEACHER), f"{where}: going on with the teacher")
        taught = shop.undisturbed(KD).files
        expected = expected | {name: content for name, content in taught.items() if TEACHES in name}
    shutil.rmtree(folder / "outputs" / "reports" / "runs", ignore_errors=True)
    outcome += compare(expected, folder, where)
    if outcome.is_clean:
        shutil.rmtree(folder)
    return outcome


_whole: dict[tuple[Path, Reader], Path] = {}


def _read_whole(shop: Workshop, whole: Path, reader: Reader) -> Path:
    """Returns a copy of undamaged outputs that a reader has read."""
    if (whole, reader) not in _whole:
        copied = shop.copy_of(whole)
        shop.starter.run(copied, reader.module, *reader.arguments)
        _whole[whole, reader] = copied
    return _whole[whole, reader]


def _numbers(folder: Path, reader: Reader) -> object:
    name = "mine" if reader.module == "kdlsr.reproduce" else "runs"
    path = folder / "outputs" / "reports" / name / "report.json"
    return json.loads(path.read_text()).get("cells") if path.exists() else None


def _same_of_another(path: Path) -> Path | None:
    """Returns the file of that name of another run (or of another epoch of the same)."""
    runs = path.parents[-1]
    for parent in path.parents:
        if parent.name in ("runs", "teacher_outputs"):
            below = path.relative_to(parent).parts[1:]
            others = (p.joinpath(*below) for p in sorted(parent.iterdir()) if p not in path.parents)
            runs = next((o for o in others if o.is_file()), runs)
    if runs.is_file():
        return runs
    siblings = sorted(path.parent.glob(f"*{path.suffix}"))
    return next((s for s in siblings if s != path), None)


def half_way(shop: Workshop, scenario: Scenario, share: float) -> Path:
    """Returns a folder in which a scenario was killed after a share of its changes."""
    folder = shop.new_folder()
    nth = max(1, int(share * shop.undisturbed(scenario).changes))
    shop.run(folder, scenario, Fault(Action.KILL, CHANGES, nth))
    return folder


def names_below(folder: Path) -> list[str]:
    root = folder / "outputs"
    paths = (path for path in sorted(root.rglob("*")) if path.is_file())
    names = (path.relative_to(root).as_posix() for path in paths)
    return [name for name in names if not name.startswith("reports/")]
