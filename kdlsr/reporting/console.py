"""The terminal: progress of a run, its result, the summary of a sweep."""

import logging
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from kdlsr.runs.launch import Job, job_result, job_status
from kdlsr.runs.plan import Run
from kdlsr.runs.store import Result
from kdlsr.tracking import TrackedRun, open_tracker
from kdlsr.training.record import EpochRecord

LINE_S = 2.0  # plain output: at most one line in so many seconds
REFRESH_S = 0.5  # a display asks the device for its terms no more often
PROTOCOLS = ("last", "best_test", "best_val")


class ConsoleSession:
    """Shows a run's progress on a terminal, or in plain lines where there is none."""

    def __init__(self, cores: int | None = None) -> None:
        _show_warnings()
        self.cores = cores
        self.console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self._last_report = time.monotonic()
        self._loading: Progress | None = None

    def say(self, line: str) -> None:
        """Prints one line."""
        self.console.print(line, markup=False)

    def report(self, what: str, done: int, total: int) -> None:
        """Shows how far a download or a decoding is, unless it is over in no time."""
        if self.console.is_terminal:
            self._show_loading(what, done, total)
            return
        now = time.monotonic()
        if done == total == 0:  # nothing to count: waiting for somebody
            self.say(what)
        elif done == 0:
            self._last_report = now
        elif now - self._last_report > LINE_S:
            self._last_report = now
            share = f"{100 * done // total} %" if total else f"{done:,}"
            self.say(f"{what}: {share}")

    def close(self) -> None:
        """Takes down what an error left on the terminal."""
        if self._loading is not None:
            self._loading.stop()
            self._loading = None

    def _show_loading(self, what: str, done: int, total: int) -> None:
        if self._loading is None:
            self._loading = Progress(console=self.console, transient=True)
            self._loading.add_task(what, total=total or None)
            self._loading.start()
        task = self._loading.task_ids[0]
        self._loading.update(task, description=what, completed=done, total=total or None)
        if total and done >= total:
            self.close()

    @contextmanager
    def observe(self, run: Run, start: int, until: int) -> Iterator["RunDisplay"]:
        """Watches one run; its tracker is open for as long."""
        from kdlsr.runs.execute import resolved_config, store_of

        teacher = run.teacher
        tracked = TrackedRun(
            run_id=run.run_id,
            cell_id=run.cell_id,
            job_type=run.config.loss.name,
            config=resolved_config(run),
            teacher=getattr(teacher, "run_id", None)
            or str(getattr(teacher, "path", "") or "")
            or None,
        )
        folder = store_of(run.config).run(run.run_id).path
        config = run.config.tracker
        with (
            open_tracker(config.name, config.options, tracked, folder) as tracker,
            RunDisplay(self.console, run, start, until, tracker) as display,
        ):
            yield display


def _show_warnings() -> None:
    """Lets this project's warnings reach stderr: Hydra's disabled logging swallows them."""
    logger = logging.getLogger("kdlsr")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("kdlsr: %(message)s"))
        logger.addHandler(handler)
    logger.disabled = False
    logger.setLevel(logging.WARNING)


class RunDisplay:
    """One run's progress: epoch, images/s, loss terms, rate, test top-1, time left."""

    def __init__(self, console: Console, run: Run, start: int, until: int, tracker: Any) -> None:
        self._console = console
        self._run = run
        self._until = until
        self._start = start
        self._epoch = start
        self._tracker = tracker
        self._bar = _ProgressBar(console, run.run_id, start, until) if console.is_terminal else None
        self._begun = self._last_shown = self._epoch_begun = time.perf_counter()
        self._started = self._begun  # the epoch, its first step included
        self._steps = self._uncounted_steps = 0
        self._train_seconds = 0.0
        self._epoch_seconds: list[float] = []
        self._terms: Mapping[str, float] = {}
        self._record: EpochRecord | None = None  # the last epoch's

    def __enter__(self) -> "RunDisplay":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def step(self, done: int, of: int, terms: Callable[[], Mapping[str, float]]) -> None:
        """After each step: shows how far, at most a few times a second."""
        now = time.perf_counter()
        if done == 1 and self._epoch == self._start and of > 1:
            # It warms up (and compiles): no part of the rate that is shown.
            self._epoch_begun, self._uncounted_steps = now, 1
        self._train_seconds = now - self._epoch_begun
        self._steps = done - self._uncounted_steps
        if self._bar is None or now - self._last_shown < REFRESH_S:
            return
        self._last_shown = now
        self._terms = terms()
        self._bar.show(self._epoch + done / of, self._describe())

    def epoch(self, record: EpochRecord) -> None:
        """After each epoch: shows its record and passes it to the tracker."""
        now = time.perf_counter()
        self._epoch_seconds.append(now - self._started)
        self._epoch, self._terms, self._record = record.epoch, record.train, record
        text = self._describe()
        self._tracker.epoch(record.as_plain())
        if self._bar:
            self._bar.show(self._epoch, text)
        elif self._epoch == self._until or now - self._last_shown > LINE_S:
            self._last_shown = now
            self._console.print(
                f"{self._run.run_id} epoch {self._epoch}/{self._until}  {text}  "
                f"left {_clock(self._seconds_left())}",
                markup=False,
            )
        self._epoch_begun = self._started = time.perf_counter()
        self._uncounted_steps = 0

    def complete(self, result: Result) -> None:
        """At the end of the run: passes its result to the tracker."""
        self._tracker.complete(result)

    def timing(self) -> dict[str, Any]:
        """Returns what timing.json records of this session."""
        return {
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "seconds": time.perf_counter() - self._begun,
            "from_epoch": self._start,
            "epoch_seconds": self._epoch_seconds,
        }

    def _images_per_second(self) -> float:
        """Of the epoch's training so far, evaluation and checkpoint left out."""
        images = self._steps * self._run.config.schedule.batch_size
        return images / max(self._train_seconds, 1e-9)

    def _seconds_left(self) -> float:
        recent = statistics.fmean(self._epoch_seconds[-5:])
        return recent * (self._until - self._epoch)

    def _describe(self) -> str:
        terms, record = self._terms, self._record
        text = f"{self._images_per_second():,.0f}/s"
        if terms:
            parts = (f" {name} {value:.3f}" for name, value in terms.items() if name != "total")
            text += f"  loss {terms['total']:.3f}" + "".join(parts)
        if record:
            text += f"  lr {record.lr:.3g}  top-1 {record.test.top1:.2f}"
            if record.val:
                text += f"  val {record.val.top1:.2f}"
        return text


class _ProgressBar:
    """Rich's bar over a run's epochs."""

    def __init__(self, console: Console, name: str, start: int, until: int) -> None:
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}/" + str(until)),
            BarColumn(bar_width=16 if console.width >= 110 else 4),
            TextColumn("{task.description}"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )
        console.print(name, markup=False)
        self._task: TaskID = self._progress.add_task("", total=until, completed=start, epoch=start)

    def start(self) -> None:
        self._progress.start()

    def stop(self) -> None:
        self._progress.stop()

    def show(self, epochs: float, text: str) -> None:
        self._progress.update(self._task, completed=epochs, epoch=int(epochs), description=text)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def print_result(console: Console, run: Run, result: Result) -> None:
    """Prints a complete run's test figures, one row per protocol."""
    table = Table(title=run.run_id, title_justify="left", title_style="bold")
    for column in ("protocol", "epoch", "top-1 %", "top-5 %", "NLL", "ECE"):
        table.add_column(column, justify="left" if column == "protocol" else "right")
    for name in PROTOCOLS:
        protocol = result["protocols"][name]
        if protocol is not None:
            table.add_row(name, str(protocol["epoch"]), *_figures(protocol["test"]))
    console.print(table)
    teacher = result["teacher"]
    if teacher:
        console.print(
            f"teacher {teacher.get('run_id') or teacher['path']}: top-1 {teacher['top1']:.2f} %, "
            f"agreement {teacher['agreement']:.2f} %, KL(teacher||student) {teacher['kl']:.4f}",
            markup=False,
        )


def _figures(test: Mapping[str, Any]) -> list[str]:
    top5 = "-" if test["top5"] is None else f"{test['top5']:.2f}"
    return [f"{test['top1']:.2f}", top5, f"{test['nll']:.4f}", f"{test['ece']:.4f}"]


def print_sweep(console: Console, jobs: Sequence[Job]) -> int:
    """Prints a sweep's cells, then which jobs failed and how to run those; returns how many."""
    cells: dict[str, list[Job]] = {}
    for job in jobs:
        cells.setdefault(job.run.cell_id, []).append(job)
    common = set.intersection(*(set(job.overrides) for job in jobs))
    has_validation = any(job.run.config.dataset.val_fraction for job in jobs)
    shown = [p for p in PROTOCOLS if p != "best_val" or has_validation]
    table = Table(title="test top-1 %, mean ± standard deviation (n-1)", title_justify="left")
    table.add_column("cell", overflow="fold")
    table.add_column("n", justify="right")
    for protocol in shown:
        table.add_column(protocol, justify="right")
    for members in cells.values():
        results = [r for r in map(job_result, members) if r and r["status"] == "complete"]
        values = [_mean_and_deviation(results, protocol) for protocol in shown]
        table.add_row(_cell_name(members[0], common), str(len(results)), *values)
    console.print(table)
    return _print_unfinished(console, jobs)


def _cell_name(job: Job, common: set[str]) -> str:
    """Names a cell by its row, or by its overrides that are not common to all jobs."""
    if job.row is not None:
        return job.row
    seeds = ("seed=", "init_seed=", "data_seed=")
    own = [o for o in job.overrides if o not in common and not o.startswith(seeds)]
    return " ".join(own) or job.run.cell_id


def _mean_and_deviation(results: Sequence[Result], protocol: str) -> str:
    found = [r["protocols"][protocol] for r in results]
    values = [p["test"]["top1"] for p in found if p is not None]
    if not values:
        return "-"
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{deviation}"


def _print_unfinished(console: Console, jobs: Sequence[Job]) -> int:
    unfinished = [job for job in jobs if job_status(job) != "complete"]
    for job in unfinished:
        result = job_result(job)
        reason = result["error"] if result else "ended without a result (killed?)"
        console.print(f"{job_status(job)}: {job.run.run_id}: {reason}", markup=False, style="red")
        overrides = " ".join(shlex.quote(o) for o in job.overrides)
        console.print(f"  python -m kdlsr.train {overrides}", markup=False)
    if unfinished:
        console.print(f"{len(unfinished)} of {len(jobs)} runs are not complete", style="red")
    return len(unfinished)
