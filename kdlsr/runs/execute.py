"""Runs brought to completion, or as far as they have to teach, with the teachers that they need.

A run and its teacher need each other's functions, which is why both are here; what happens
within one session of one run is `training_session`'s.
"""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kdlsr.config import LostRun, RunFailed, UserError
from kdlsr.config.compose import relative_to_here
from kdlsr.config.schema import RunConfig, TrackerConfig
from kdlsr.data.listing import in_words
from kdlsr.data.prepare import load_streams
from kdlsr.machine.cores import default_threads
from kdlsr.machine.device import computing
from kdlsr.machine.interruption import pass_on
from kdlsr.runs.card import MadeFor, RunCard
from kdlsr.runs.folder import FEATURES, DamagedFile, RunFolder
from kdlsr.runs.owner import Holder, Ownership
from kdlsr.runs.plan import Run, card_of
from kdlsr.runs.result import RunResult, Status
from kdlsr.runs.session import Session
from kdlsr.runs.store import Store
from kdlsr.runs.teaching import TeacherWeights, start_teaching
from kdlsr.runs.training_session import TrainingSession, track_again
from kdlsr.runs.writer import RunWriter
from kdlsr.training.checkpoint import (
    DamagedCheckpoint,
    checkpoint_epochs,
    checkpoint_path,
    read_checkpoint,
    write_checkpoint,
)


def store_of(config: RunConfig) -> Store:
    """Returns the store below the config's output folder."""
    return Store(relative_to_here(config.output_dir))


def status_of(run: Run, *, whole: bool = False) -> Status:
    """Returns how far a run is, `whole` as for `RunFolder.read`.

    One that ended without features, and is asked to keep them, is not complete as long as the
    checkpoint is there that they are made from.
    """
    folder = store_of(run.config).run(run.run_id)
    found = folder.read(whole=whole)
    last = found.result.at("last") if found.result else None
    if found.status != "complete" or not run.config.keep_features or last is None:
        return found.status
    assert found.result is not None
    can_be_made = checkpoint_path(folder.checkpoints, last.epoch).exists()
    lacks = FEATURES not in found.result.files
    return "incomplete" if lacks and can_be_made else found.status


def complete_run(run: Run, session: Session, made_for: MadeFor = "itself") -> RunResult:
    """Returns a run's result, training it (and its teacher) as far as that is missing.

    An interrupted run goes on from its newest whole checkpoint to the same bits; a complete
    one is only read.

    Args:
        run: to be completed.
        session: under which.
        made_for: `teaching` where only a student needs it.

    Raises:
        RunFailed: a loss was not finite, or a teacher's logits out of range; the run is
            marked failed.
        UserError: data or a teacher's file cannot be had.
    """
    folder = store_of(run.config).run(run.run_id)
    if status_of(run, whole=True) != "complete":
        with _owning(folder, session) as writer:
            if status_of(run, whole=True) != "complete":  # by whoever was waited for
                _begin(run, writer, made_for, session)
                return _train_to_the_end(run, writer, session)
    _ask_for(run, folder, made_for, session)
    if run.run_id == session.asked_for:
        track_again(run, folder, session)
    result = folder.result()
    assert result is not None
    return result


def _train_to_the_end(run: Run, writer: RunWriter, session: Session) -> RunResult:
    try:
        with _training(run, writer, session) as training:
            return training.to_the_end()
    except LostRun:
        raise  # the folder is another process's now
    except Exception as error:
        pass_on(error)
        writer.failure(run.cell_id, error)
        raise


@contextmanager
def _owning(folder: RunFolder, session: Session) -> Iterator[RunWriter]:
    def tell(holder: Holder) -> None:
        session.watcher.message(
            f"{folder.run_id} is being trained by {holder}; waiting for it (Ctrl-C to stop)"
        )

    with Ownership(folder.path, tell) as owner:
        writer = RunWriter(folder, owner)
        writer.remove_abandoned()
        yield writer


def _begin(run: Run, writer: RunWriter, made_for: MadeFor, session: Session) -> None:
    """Clears what an earlier end left behind, and writes the card."""
    fault = writer.folder.read(whole=True).fault
    if fault is not None:
        session.watcher.message(f"{fault}; it is made again")
    writer.clear_failure()
    known = _known_card(writer.folder, session)
    kept = known.made_for if known else "teaching"
    writer.card(card_of(run, "itself" if "itself" in (kept, made_for) else "teaching"))


def _known_card(folder: RunFolder, session: Session) -> RunCard | None:
    try:
        return folder.card()
    except DamagedFile as error:
        session.watcher.message(f"{error}; it is written anew")
        return None


def _ask_for(run: Run, folder: RunFolder, made_for: MadeFor, session: Session) -> None:
    """Notes on the card of a complete run that it is now wanted for itself."""
    card = _known_card(folder, session)
    if made_for == "itself" and (card is None or card.made_for == "teaching"):
        with _owning(folder, session) as writer:
            writer.card(card_of(run, "itself"))


@contextmanager
def _training(run: Run, writer: RunWriter, session: Session) -> Iterator[TrainingSession]:
    """Makes a run's teacher and data ready, and the arithmetic what its config says."""
    weights = _teacher_weights(run, session)
    threads = run.config.threads or default_threads(run.model.small, session.cores)
    with computing(threads, run.config.deterministic):
        streams = load_streams(
            run.config.dataset,
            data_seed=run.config.data_seed,
            batch_size=run.config.schedule.batch_size,
            device=run.device,
            progress=session.watcher.loading,
            encoder=run.encoder,
        )
        _tell_of_data(run, session)
        teaching = start_teaching(run, weights, streams, session)
        yield TrainingSession(run, writer, streams, teaching, session)


def _tell_of_data(run: Run, session: Session) -> None:
    """Says what was read, and passed over, of a data set that may hold anything."""
    facts, name = run.facts, run.config.dataset.name
    if facts.remark is not None:
        session.watcher.message(f"dataset={name}: {facts.remark}")
    if facts.skipped is not None:
        found = f"; passed over: {in_words(facts.skipped)}"
    elif facts.finds_classes:
        found = f", of {facts.num_classes} classes"
    else:
        return  # it is what it is, and may not be counted yet
    session.watcher.message(
        f"dataset={name}: {facts.train:,} {facts.spec.kind} to train on, "
        f"{facts.test:,} to test on{found}"
    )


# ---------------------------------------------------------------- teachers


def _teacher_weights(run: Run, session: Session) -> TeacherWeights | None:
    """Finds a teacher's weights; trains or continues its run first if they are not there."""
    teacher = run.teacher
    if teacher is None:
        return None
    trained = run.teacher_run
    if trained is None:
        return TeacherWeights(teacher)
    while True:
        try:
            epoch = _completed_epochs(trained, teacher.epoch, session)
            path = checkpoint_of(trained, epoch, session, "teaching")
            return TeacherWeights(teacher, path, epoch)
        except LostRun:
            continue  # another process trains it now, and is waited for
        except RunFailed as error:
            raise RunFailed(f"its teacher {trained.run_id} failed: {error}") from error


def _completed_epochs(teacher: Run, choice: int | str, session: Session) -> int:
    if isinstance(choice, int):
        return choice
    chosen = complete_run(teacher, session, "teaching").at(choice)
    if chosen is None:
        raise UserError(f"teacher.epoch={choice}: the teacher has no validation split")
    return chosen.epoch


def checkpoint_of(run: Run, epoch: int, session: Session, made_for: MadeFor = "itself") -> Path:
    """Returns a run's checkpoint after `epoch` completed epochs, training no further.

    A run that has not come so far is continued to there in its own folder, and stays a
    prefix of itself; an epoch that a run has passed and not kept is made again from the
    start in a scratch folder.
    """
    store = store_of(run.config)
    folder = store.run(run.run_id)
    found = _kept(store, run, epoch, session)
    if found is not None:
        return found
    if not folder.is_complete():
        with _owning(folder, session) as writer:
            if not folder.is_complete() and _newest_epoch(folder) <= epoch:
                _begin(run, writer, made_for, session)
                return _train_prefix(run, writer, epoch, session)
        found = _kept(store, run, epoch, session)  # by whoever was waited for
        if found is not None:
            return found
    return _made_again(store, run, epoch, session)


def _made_again(store: Store, run: Run, epoch: int, session: Session) -> Path:
    """Trains a run's first epochs once more, in a scratch folder; no tracker is told of it."""
    folder, replay = store.run(run.run_id), store.replay(run.run_id)
    session.watcher.message(
        f"{run.run_id} did not keep epoch {epoch}: making it again in {replay.path}"
    )
    config = dataclasses.replace(run.config, tracker=TrackerConfig())
    with _owning(replay, session) as writer:
        path = _train_prefix(dataclasses.replace(run, config=config), writer, epoch, session)
    if not folder.has_begun_like(replay):
        session.watcher.message(
            f"{run.run_id}: the epochs made again differ from the run's own in their bits"
        )
    return path


def _kept(store: Store, run: Run, epoch: int, session: Session) -> Path | None:
    """Finds a whole checkpoint that nobody will remove.

    One that a run in training would prune is copied to where epochs are made again: who does not
    own a run does not write into it.
    """
    found = _first_whole(store, run, epoch, session)
    if found is None:
        return None
    path, state = found
    folder, replay = store.run(run.run_id), store.replay(run.run_id)
    if path.parent != folder.checkpoints or folder.is_complete():
        return path
    copy = checkpoint_path(replay.kept, epoch)
    with _owning(replay, session) as writer:
        write_checkpoint(copy, state, guard=writer.owner.check)
    return copy


def _first_whole(
    store: Store, run: Run, epoch: int, session: Session
) -> tuple[Path, dict[str, Any]] | None:
    for path in store.checkpoints_after(run.run_id, epoch):
        try:
            return path, read_checkpoint(path, run.run_id)
        except DamagedCheckpoint as error:
            session.watcher.message(f"{error}; it is not used")
    return None


def _newest_epoch(folder: RunFolder) -> int:
    return max(checkpoint_epochs(folder.checkpoints), default=0)


def _train_prefix(run: Run, writer: RunWriter, epoch: int, session: Session) -> Path:
    with _training(run, writer, session) as training:
        training.to_epoch(epoch)
    return checkpoint_path(writer.folder.kept, epoch)
