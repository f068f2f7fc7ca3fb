"""One session's training of one run, in its own folder or in a scratch one.

All that it needs is ready when it begins: the right to write, the data, the teacher. Which run is
trained how far, and where teachers come from, is `execute`'s.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from kdlsr.data.prepare import Streams
from kdlsr.data.stream import EvalStream
from kdlsr.machine.environment import describe_environment
from kdlsr.metrics import Metrics, agreement, confidence_correlation, mean_kl
from kdlsr.models import library_versions
from kdlsr.progress import RunWatch, WatchedRun, watching
from kdlsr.runs.features import KeptFeatures
from kdlsr.runs.folder import RunFolder
from kdlsr.runs.learning import build_learner
from kdlsr.runs.plan import Run, resolved_config
from kdlsr.runs.result import PROTOCOLS, AtEpoch, RunResult, TeacherFigures
from kdlsr.runs.saving import Saving
from kdlsr.runs.session import Session
from kdlsr.runs.teaching import Teaching
from kdlsr.runs.writer import RunWriter
from kdlsr.tracking import TrackedRun, awaits_a_run, open_tracker
from kdlsr.training.checkpoint import (
    DamagedCheckpoint,
    checkpoint_epochs,
    checkpoint_path,
    read_checkpoint,
)
from kdlsr.training.features import penultimate_features
from kdlsr.training.fit import Predictions, fit, metrics_on, on_views, predict, predictions
from kdlsr.training.learner import Learner
from kdlsr.training.record import EpochRecord, best_epoch
from kdlsr.training.task import Task


class TrainingSession:
    """A run in training.

    Args:
        run: what is trained.
        writer: of the folder that it is trained in.
        streams: its data.
        teaching: its teacher, ready; None without one.
        session: under which it is trained.
    """

    def __init__(
        self,
        run: Run,
        writer: RunWriter,
        streams: Streams,
        teaching: Teaching | None,
        session: Session,
    ) -> None:
        self._run = run
        self._writer = writer
        self._streams = streams
        self._teaching = teaching
        self._session = session
        self._keep = set(run.config.keep_epochs)
        self._learner = self._build()
        self._history: list[EpochRecord] = []
        self._go_on()
        self._uniform = self._record_environment()

    def to_the_end(self) -> RunResult:
        """Trains what is missing, and writes the run's logits and result."""
        with self._watched(self._run.config.schedule.epochs) as watch:
            found = self._fit(self._run.config.schedule.epochs, watch)
            if found is None:
                found = predictions(self._learner, self._task)
            result = self._result(found.test)
            self._write_logits(found)
            self._writer.times(watch.times.record())
            self._writer.metrics(self._history)
            self._writer.result(result)
            watch.complete(result.to_json())
        return result

    def _write_logits(self, found: Predictions) -> None:
        test, validation = self._streams.test, self._streams.validation
        self._writer.test_logits(found.test.cpu().numpy(), test.labels.cpu().numpy())
        if validation is not None and found.validation is not None:
            held_out = validation.labels.cpu().numpy()
            self._writer.val_logits(found.validation.cpu().numpy(), held_out)
        if self._run.config.keep_features:
            kept = penultimate_features(self._learner, test, self._run.facts.num_classes)
            arrays = (kept.features, kept.weight, kept.bias, test.labels)
            self._writer.test_features(KeptFeatures(*(a.cpu().numpy() for a in arrays)))

    def to_epoch(self, epoch: int) -> None:
        """Trains up to an epoch, whose checkpoint is kept for good; the run stays a prefix."""
        self._keep.add(epoch)
        if len(self._history) == epoch:  # it had come just so far, without keeping it
            self._to_be_saved()()
        with self._watched(epoch) as watch:
            self._fit(epoch, watch)
            self._writer.times(watch.times.record())

    def _fit(self, until: int, watch: RunWatch) -> Predictions | None:
        with Saving() as saving:

            def save() -> None:
                saving.begin(self._to_be_saved())

            return fit(self._learner, self._task, self._history, until, watch, save)

    @functools.cached_property
    def _task(self) -> Task:
        return Task(
            train=self._streams.train,
            test=self._streams.test,
            validation=self._streams.validation,
            more=self._streams.more,
            loss=self._run.loss,
            teacher=self._teaching.soft_targets if self._teaching else None,
            init_seed=self._run.config.init_seed,
            train_metrics=self._run.config.train_metrics,
        )

    def _build(self) -> Learner:
        """Returns the network with its first weights, and what trains it."""
        run, teaching = self._run, self._teaching
        return build_learner(
            run,
            run.loss,
            len(self._streams.train.samples.labels),
            run.config.init_seed,
            self._teachers_weights if run.config.start == "teacher" else None,
            teaching.past if teaching else None,
            self._session.watcher.message,
        )

    def _teachers_weights(self) -> Mapping[str, Tensor]:
        assert self._teaching is not None
        assert self._teaching.network is not None
        weights: Mapping[str, Tensor] = self._teaching.network().model.state_dict()
        return weights

    def _go_on(self) -> None:
        """Goes on from the newest whole checkpoint of this run, if there is one."""
        folder = self._writer.folder.checkpoints
        for epoch in reversed(checkpoint_epochs(folder)):
            path = checkpoint_path(folder, epoch)
            try:
                state = read_checkpoint(path, self._run.run_id)
            except DamagedCheckpoint as error:
                self._session.watcher.message(f"{error}; the checkpoint before it is used")
                self._writer.remove_checkpoint(path)
                continue
            self._history = self._learner.restore(state)
            line = f"{self._run.run_id} goes on after epoch {len(self._history)}"
            self._session.watcher.message(line)
            return

    def _to_be_saved(self) -> Callable[[], None]:
        """Copies the state after the epoch just completed; returns what writes it.

        metrics.jsonl, then the checkpoint: so one that teaches is never ahead of its run's metrics.
        """
        history = tuple(self._history)
        epoch, best = len(history), set(self._best().values())
        normalisation = self._streams.train.samples.normalisation
        state = {
            **self._learner.checkpoint(history),
            "run_id": self._run.run_id,
            "normalisation": normalisation.to_state() if normalisation else None,
        }

        def write() -> None:
            self._writer.metrics(history)
            self._writer.checkpoint(state, epoch, keep=epoch in self._keep)
            self._writer.prune_checkpoints(best)

        return write

    def _record_environment(self) -> bool:
        run = self._run
        environment = {
            **describe_environment(run.device, run.precision, torch.get_num_threads()),
            **library_versions(run.config.model.name),
        }
        return self._writer.environment(environment)

    @contextmanager
    def _watched(self, until: int) -> Iterator[RunWatch]:
        run = self._run
        watched = WatchedRun(
            tracked=tracked_run(run, self._session),
            start=len(self._history),
            until=until,
            batch_size=run.config.schedule.batch_size,
            folder=self._writer.folder.path,
            tracker=run.config.tracker,
        )
        with watching(self._session.watcher, watched) as watch:
            yield watch

    def _result(self, logits: Tensor) -> RunResult:
        protocols: dict[str, AtEpoch | None] = dict.fromkeys(PROTOCOLS)
        for name, epoch in {"last": len(self._history), **self._best()}.items():
            record = self._history[epoch - 1]
            protocols[name] = AtEpoch(epoch=epoch, test=record.test, more=record.more)
        return RunResult(
            run_id=self._run.run_id,
            cell_id=self._run.cell_id,
            status="complete",
            protocols=protocols,
            parameters=sum(p.numel() for p in self._learner.model.parameters()),
            teacher=self._teacher_figures(logits),
            train=self._on_train(),
            train_views=self._on_last_views(),
            environment="uniform" if self._uniform else "mixed",
        )

    def _best(self) -> dict[str, int]:
        """Returns the best epoch so far by each protocol that chooses one."""
        best = {"best_test": best_epoch(self._history, "test")}
        if self._streams.validation is not None:
            best["best_val"] = best_epoch(self._history, "val")
        return best

    def _on_train(self) -> Metrics | None:
        if not self._task.train_metrics:
            return None
        train = self._streams.train
        stream = EvalStream(train.samples, train.rows)
        return metrics_on(stream, predict(self._learner, stream))

    def _on_last_views(self) -> Metrics | None:
        last = self._history[-1]
        if not self._task.train_metrics or last.train_views is not None:
            return last.train_views
        return on_views(self._learner, self._streams.train, last.epoch - 1)  # asked for too late

    def _teacher_figures(self, logits: Tensor) -> TeacherFigures | None:
        teaching, teacher = self._teaching, self._run.teacher
        if teaching is None or teacher is None:
            return None
        on_test = teaching.on_test()
        return TeacherFigures(
            run_id=teacher.run.run_id if teacher.run else None,
            path=None if teacher.run else teacher.name,
            epoch=on_test.epoch,
            top1=on_test.top1,
            agreement=agreement(logits, on_test.logits),
            kl=mean_kl(on_test.logits, logits),
            correlation=confidence_correlation(on_test.logits, logits),
            train=self._teacher_on_training(),
        )

    def _teacher_on_training(self) -> Metrics | None:
        assert self._teaching is not None
        soft_targets = self._teaching.soft_targets
        if soft_targets is None:
            return None
        return soft_targets.on_training(self._streams.train, len(self._history) - 1)


def tracked_run(run: Run, session: Session) -> TrackedRun:
    """Returns a run as a tracker takes it."""
    return TrackedRun(
        run_id=run.run_id,
        cell_id=run.cell_id,
        job_type=run.config.loss.name,
        config=resolved_config(run),
        teacher=run.teacher.name if run.teacher else None,
        is_asked_for=run.run_id == session.asked_for,
    )


def track_again(run: Run, folder: RunFolder, session: Session) -> None:
    """Tells a tracker of a complete run that is waiting for one: all that its files say."""
    config, result = run.config.tracker, folder.result()
    if result is None or not awaits_a_run(config.name, config.options):
        return
    tracked = tracked_run(run, session)
    with open_tracker(config.name, config.options, tracked, folder.path) as tracker:
        for record in folder.history():
            tracker.epoch(record.as_plain())
        tracker.complete(result.to_json())
