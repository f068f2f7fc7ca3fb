"""A run brought to completion: its teacher found or trained, itself trained or continued."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdlsr.config import LostRun, RunFailed, UserError
from kdlsr.config.compose import relative_to_here
from kdlsr.config.schema import RunConfig, TrackerConfig, as_plain
from kdlsr.data.prepare import Streams, load_streams
from kdlsr.files import write_json
from kdlsr.machine.cores import default_threads
from kdlsr.machine.device import computing
from kdlsr.machine.environment import describe_environment
from kdlsr.metrics import agreement, mean_kl
from kdlsr.runs.owner import Holder, Ownership
from kdlsr.runs.plan import Run, TeacherFile
from kdlsr.runs.session import Session
from kdlsr.runs.store import SCHEMA, Result, RunFolder, Store
from kdlsr.runs.teaching import TeacherWeights, Teaching, start_teaching
from kdlsr.training.checkpoint import (
    DamagedCheckpoint,
    checkpoint_epochs,
    checkpoint_path,
    prune,
    read_checkpoint,
    remove_checkpoint,
    write_checkpoint,
)
from kdlsr.training.compiling import compile_model
from kdlsr.training.fit import Task, fit, predict
from kdlsr.training.learner import Learner
from kdlsr.training.optimisation import build_optimizer
from kdlsr.training.record import EpochRecord, best_epoch


@dataclass
class _Work:
    """One session's training of one run, in its own folder or in a scratch one."""

    run: Run
    folder: RunFolder
    streams: Streams
    learner: Learner
    teaching: Teaching | None
    owner: Ownership
    keep: frozenset[int]
    history: list[EpochRecord] = field(default_factory=list)

    @property
    def task(self) -> Task:
        return Task(
            train=self.streams.train,
            test=self.streams.test,
            validation=self.streams.validation,
            loss=self.run.loss,
            teacher=self.teaching.soft_targets if self.teaching else None,
            init_seed=self.run.config.init_seed,
        )

    def save(self) -> None:
        """Writes the checkpoint of the epoch just completed, then metrics.jsonl."""
        self.owner.check()
        epoch = len(self.history)
        state = self.learner.checkpoint(self.history) | {"run_id": self.run.run_id}
        write_checkpoint(checkpoint_path(self.folder.checkpoints, epoch), state)
        if epoch in self.keep:
            write_checkpoint(checkpoint_path(self.folder.kept, epoch), state)
        prune(self.folder.checkpoints, _best_epochs(self.history))
        self.folder.write_metrics(self.history)


def _best_epochs(history: list[EpochRecord]) -> set[int]:
    best = {best_epoch(history, "test")}
    return best if history[-1].val is None else best | {best_epoch(history, "val")}


def store_of(config: RunConfig) -> Store:
    """Returns the store below the config's output folder."""
    return Store(relative_to_here(config.output_dir))


def complete_run(run: Run, session: Session) -> Result:
    """Returns a run's result, training it (and its teacher) as far as that is missing.

    An interrupted run goes on from its newest whole checkpoint to the same bits; a complete
    one is only read.

    Raises:
        RunFailed: a loss was not finite, or a teacher's logits out of range; the run is
            marked failed.
        UserError: data or a teacher's file cannot be had.
    """
    folder = store_of(run.config).run(run.run_id)
    if folder.is_complete():
        return _complete_result(folder)
    with _owning(folder, run, session) as owner:
        if folder.is_complete():
            return _complete_result(folder)
        folder.clear_failure()
        try:
            return _train_to_the_end(run, folder, owner, session)
        except LostRun:
            raise  # the folder is another process's now
        except Exception as error:
            folder.write_failure(run.run_id, run.cell_id, error)
            raise


def _complete_result(folder: RunFolder) -> Result:
    result = folder.result()
    assert result is not None
    return result


def _owning(folder: RunFolder, run: Run, session: Session) -> Ownership:
    def say_who(holder: Holder) -> None:
        session.say(f"{run.run_id} is being trained by {holder}; waiting for it (Ctrl-C to stop)")

    return Ownership(folder.path, say_who)


def _train_to_the_end(run: Run, folder: RunFolder, owner: Ownership, session: Session) -> Result:
    teaching_source = _prepare_teacher(run, session)
    with computing(_threads(run, session), run.config.deterministic):
        streams = _load(run, session)
        teaching = start_teaching(run, teaching_source, streams, session)
        work = _start_work(run, folder, owner, streams, teaching, session)
        uniform = _record_start(run, folder, session)
        epochs = run.config.schedule.epochs
        with session.observe(run, len(work.history), epochs) as observer:
            logits = fit(work.learner, work.task, work.history, epochs, observer, work.save)
            if logits is None:
                logits = predict(work.learner, streams.test)
            result = _result(work, logits, uniform)
            owner.check()
            folder.write_test_logits(logits.cpu().numpy(), streams.test.labels.cpu().numpy())
            _add_timing(folder, observer.timing())
            folder.write_metrics(work.history)
            folder.write_result(result)
            observer.complete(result)
    return result


def _threads(run: Run, session: Session) -> int:
    return run.config.threads or default_threads(run.model.small, session.cores)


def _load(run: Run, session: Session) -> Streams:
    return load_streams(
        run.config.dataset,
        data_seed=run.config.data_seed,
        batch_size=run.config.schedule.batch_size,
        device=run.device,
        progress=session.report,
    )


def _record_start(run: Run, folder: RunFolder, session: Session) -> bool:
    folder.write_config(resolved_config(run))
    environment = describe_environment(run.device, run.precision, _threads(run, session))
    return folder.record_environment(environment)


def resolved_config(run: Run) -> dict[str, Any]:
    """Returns the run's config with everything that was `auto` or null filled in."""
    plain = as_plain(run.config)
    plain["loss"] = {"name": run.config.loss.name, **run.loss.hyper_parameters}
    plain["schedule"] |= vars(run.optimisation)
    plain["precision"] = run.precision
    return plain


def _start_work(
    run: Run,
    folder: RunFolder,
    owner: Ownership,
    streams: Streams,
    teaching: Teaching | None,
    session: Session,
) -> _Work:
    """Builds the learner, from the newest whole checkpoint if there is one."""
    torch.manual_seed(run.config.init_seed)
    model = run.build_model().to(run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if run.config.start == "teacher":
        assert teaching is not None
        model.load_state_dict(teaching.network().model.state_dict())
    if run.config.compile:
        compile_model(model, run.device)
    loss_state = run.loss.state(len(streams.train.samples.labels)).to(run.device)
    learner = Learner(
        model=model,
        optimizer=build_optimizer(model, run.optimisation, run.config.schedule, loss_state),
        loss_state=loss_state,
        schedule=run.config.schedule,
        precision=run.precision,
        device=run.device,
    )
    keep = frozenset(run.config.keep_epochs)
    work = _Work(run, folder, streams, learner, teaching, owner, keep)
    folder.remove_abandoned()
    state = _newest_state(folder, session)
    if state is not None:
        work.history = learner.restore(state)
        session.say(f"{run.run_id} goes on after epoch {len(work.history)}")
    return work


def _newest_state(folder: RunFolder, session: Session) -> dict[str, Any] | None:
    for epoch in reversed(checkpoint_epochs(folder.checkpoints)):
        path = checkpoint_path(folder.checkpoints, epoch)
        try:
            return read_checkpoint(path)
        except DamagedCheckpoint as error:
            session.say(f"{error}; the checkpoint before it is used")
            remove_checkpoint(path)
    return None


def _prepare_teacher(run: Run, session: Session) -> TeacherWeights | None:
    """Finds a teacher's weights; trains or continues its run first if they are not there."""
    if run.teacher is None:
        return None
    if isinstance(run.teacher, TeacherFile):
        shown = str(run.teacher.path or f"timm/{run.teacher.name}")
        return TeacherWeights(run.teacher.path, {"path": shown, "epoch": None})
    choice = run.teacher_epoch
    try:
        epoch = choice if isinstance(choice, int) else _named_epoch(run.teacher, choice, session)
        path = checkpoint_of(run.teacher, epoch, session)
    except RunFailed as error:
        raise RunFailed(f"its teacher {run.teacher.run_id} failed: {error}") from error
    return TeacherWeights(path, {"run_id": run.teacher.run_id, "epoch": epoch})


def _named_epoch(teacher: Run, choice: str, session: Session) -> int:
    protocol = complete_run(teacher, session)["protocols"][choice]
    if protocol is None:
        raise UserError(f"teacher.epoch={choice}: the teacher has no validation split")
    return int(protocol["epoch"])


def checkpoint_of(run: Run, epoch: int, session: Session) -> Path:
    """Returns a run's checkpoint after `epoch` completed epochs, training no further.

    A run that has not come so far is continued to there in its own folder, and stays a
    prefix of itself; an epoch that a run has passed and not kept is made again from the
    start in a scratch folder.
    """
    store = store_of(run.config)
    folder = store.run(run.run_id)
    found = _kept(store, run, epoch, session)
    if found:
        return found
    if not folder.is_complete():
        with _owning(folder, run, session) as owner:
            if not folder.is_complete() and _newest_epoch(folder) <= epoch:
                folder.clear_failure()
                return _train_prefix(run, folder, owner, epoch, session)
        found = _kept(store, run, epoch, session)  # by whoever was waited for
        if found:
            return found
    replay = store.replay(run.run_id)
    run = _untracked(run)
    session.say(f"{run.run_id} did not keep epoch {epoch}: making it again in {replay.path}")
    with _owning(replay, run, session) as owner:
        path = _train_prefix(run, replay, owner, epoch, session)
    if not _same_beginning(folder, replay):
        session.say(f"{run.run_id}: the epochs made again differ from the run's own in their bits")
    return path


def _untracked(run: Run) -> Run:
    """The same run, of which no tracker is told: making epochs again is no news of it."""
    config = dataclasses.replace(run.config, tracker=TrackerConfig())
    return dataclasses.replace(run, config=config)


def _kept(store: Store, run: Run, epoch: int, session: Session) -> Path | None:
    """Finds a whole checkpoint; one that a run going on would prune is kept from now on."""
    path = store.find_checkpoint(run.run_id, epoch)
    if path is None:
        return None
    try:
        state = read_checkpoint(path)
    except DamagedCheckpoint as error:
        session.say(f"{error}; it is made again")
        remove_checkpoint(path)
        return None
    folder = store.run(run.run_id)
    if path.parent == folder.checkpoints and not folder.is_complete():
        path = checkpoint_path(folder.kept, epoch)
        write_checkpoint(path, state)
    return path


def _same_beginning(folder: RunFolder, replay: RunFolder) -> bool:
    """Whether a replay's metrics are the first lines of the run's own."""
    own, again = (f.path / "metrics.jsonl" for f in (folder, replay))
    return not own.exists() or own.read_text().startswith(again.read_text())


def _newest_epoch(folder: RunFolder) -> int:
    return max(checkpoint_epochs(folder.checkpoints), default=0)


def _train_prefix(
    run: Run, folder: RunFolder, owner: Ownership, epoch: int, session: Session
) -> Path:
    teaching_source = _prepare_teacher(run, session)
    with computing(_threads(run, session), run.config.deterministic):
        streams = _load(run, session)
        teaching = start_teaching(run, teaching_source, streams, session)
        work = _start_work(run, folder, owner, streams, teaching, session)
        work.keep |= {epoch}
        if len(work.history) == epoch:  # it had come just so far, without keeping it
            work.save()
        _record_start(run, folder, session)
        with session.observe(run, len(work.history), epoch) as observer:
            fit(work.learner, work.task, work.history, epoch, observer, work.save)
            _add_timing(folder, observer.timing())
    return checkpoint_path(folder.kept, epoch)


def _result(work: _Work, logits: Tensor, uniform: bool) -> Result:
    history, run = work.history, work.run
    protocols = {
        "last": _protocol(history[-1]),
        "best_test": _protocol(history[best_epoch(history, "test") - 1]),
        "best_val": _protocol(history[best_epoch(history, "val") - 1])
        if work.streams.validation
        else None,
    }
    return {
        "schema": SCHEMA,
        "run_id": run.run_id,
        "cell_id": run.cell_id,
        "status": "complete",
        "protocols": protocols,
        "parameters": sum(p.numel() for p in work.learner.model.parameters()),
        "teacher": _teacher_result(work.teaching, logits),
        "environment": "uniform" if uniform else "mixed",
    }


def _protocol(record: EpochRecord) -> dict[str, Any]:
    return {"epoch": record.epoch, "test": dataclasses.asdict(record.test)}


def _teacher_result(teaching: Teaching | None, logits: Tensor) -> dict[str, Any] | None:
    if teaching is None:
        return None
    return {
        **teaching.origin,
        "top1": teaching.top1,
        "agreement": agreement(logits, teaching.test_logits),
        "kl": mean_kl(teaching.test_logits, logits),
    }


def _add_timing(folder: RunFolder, timing: dict[str, Any]) -> None:
    """Appends a session's times to timing.json, which no comparison of runs reads."""
    path = folder.path / "timing.json"
    sessions = json.loads(path.read_text())["sessions"] if path.exists() else []
    write_json(path, {"sessions": [*sessions, timing]})
