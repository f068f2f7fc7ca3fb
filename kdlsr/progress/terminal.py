"""A command's progress on a terminal, or in plain lines where there is none."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from kdlsr.machine.screen import open_screen
from kdlsr.progress.times import RunTimes
from kdlsr.progress.watching import ReadTerms, WatchedRun
from kdlsr.training.record import EpochRecord

LINE_S = 2.0  # plain output: at most one line in so many seconds
REFRESH_S = 0.5  # a display is drawn anew no more often


class TerminalWatcher:
    """Shows what goes on; a context manager, whose end takes down what an error left behind."""

    def __init__(self) -> None:
        _show_warnings()
        self.screen = open_screen(soft_wrap=True)
        self._last_line = time.monotonic()
        self._loading: Progress | None = None

    def __enter__(self) -> "TerminalWatcher":
        return self

    def __exit__(self, *_: object) -> None:
        self._end_loading()

    def message(self, line: str) -> None:
        """Prints one line."""
        self.screen.print(line, markup=False)

    def loading(self, what: str, done: int, total: int) -> None:
        """Shows how far a download or a decoding is, unless it is over in no time."""
        if self.screen.is_terminal:
            self._show_loading(what, done, total)
            return
        now = time.monotonic()
        if done == total == 0:  # nothing to count: waiting for somebody
            self.message(what)
        elif done == 0:
            self._last_line = now
        elif now - self._last_line > LINE_S:
            self._last_line = now
            share = f"{100 * done // total} %" if total else f"{done:,}"
            self.message(f"{what}: {share}")

    @contextmanager
    def display(self, run: WatchedRun, times: RunTimes) -> Iterator["TerminalDisplay"]:
        """Shows one run, with a bar where there is a terminal."""
        if not self.screen.is_terminal:
            yield TerminalDisplay(self.screen, run, times, None)
            return
        bar = _ProgressBar(self.screen, run)
        with bar.progress:
            yield TerminalDisplay(self.screen, run, times, bar)

    def _show_loading(self, what: str, done: int, total: int) -> None:
        if self._loading is None:
            self._loading = Progress(console=self.screen, transient=True)
            self._loading.add_task(what, total=total or None)
            self._loading.start()
        task = self._loading.task_ids[0]
        self._loading.update(task, description=what, completed=done, total=total or None)
        if total and done >= total:
            self._end_loading()

    def _end_loading(self) -> None:
        if self._loading is not None:
            self._loading.stop()
            self._loading = None


def _show_warnings() -> None:
    """Lets this project's warnings reach stderr: Hydra's disabled logging swallows them."""
    logger = logging.getLogger("kdlsr")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("kdlsr: %(message)s"))
        logger.addHandler(handler)
    logger.disabled = False
    logger.setLevel(logging.WARNING)


class TerminalDisplay:
    """One run's progress: epoch, images/s, loss terms, rate, test top-1, time left."""

    def __init__(
        self, console: Console, run: WatchedRun, times: RunTimes, bar: "_ProgressBar | None"
    ) -> None:
        self._console = console
        self._run = run
        self._times = times
        self._bar = bar
        self._epoch = run.start
        self._last_shown = time.perf_counter()
        self._terms: Mapping[str, float] = {}
        self._record: EpochRecord | None = None  # the last epoch's

    def step(self, share: float, terms: ReadTerms) -> None:
        """Shows how far, at most a few times a second."""
        now = time.perf_counter()
        if self._bar is None or now - self._last_shown < REFRESH_S:
            return
        self._last_shown = now
        self._terms = terms() or self._terms
        self._bar.show(self._epoch + share, self._describe())

    def epoch(self, record: EpochRecord) -> None:
        """Shows an epoch's record."""
        now = time.perf_counter()
        self._epoch, self._terms, self._record = record.epoch, record.train, record
        if self._bar:
            self._bar.show(self._epoch, self._describe())
        elif self._epoch == self._run.until or now - self._last_shown > LINE_S:
            self._last_shown = now
            self._console.print(
                f"{self._run.run_id} epoch {self._epoch}/{self._run.until}  {self._describe()}  "
                f"left {_clock(self._times.seconds_left)}",
                markup=False,
            )

    def _describe(self) -> str:
        parts = [f"{self._times.images_per_second:,.0f}/s"]
        if self._terms:
            parts.append(f"loss {self._terms['total']:.3f}")
            others = ((name, value) for name, value in self._terms.items() if name != "total")
            parts[-1] += "".join(f" {name} {value:.3f}" for name, value in others)
        if self._record:
            parts.append(f"lr {self._record.lr:.3g}")
            parts.append(f"top-1 {self._record.test.top1:.2f}")
            if self._record.val:
                parts.append(f"val {self._record.val.top1:.2f}")
        return "  ".join(parts)


class _ProgressBar:
    """Rich's bar over a run's epochs."""

    def __init__(self, console: Console, run: WatchedRun) -> None:
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}/" + str(run.until)),
            BarColumn(bar_width=16 if console.width >= 110 else 4),
            TextColumn("{task.description}"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )
        console.print(run.run_id, markup=False)
        self._task: TaskID = self.progress.add_task(
            "", total=run.until, completed=run.start, epoch=run.start
        )

    def show(self, epochs: float, text: str) -> None:
        self.progress.update(self._task, completed=epochs, epoch=int(epochs), description=text)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
