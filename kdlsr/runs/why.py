"""In which fields two runs' identities differ: why one does not count for the other."""

import fnmatch
from dataclasses import dataclass
from pathlib import Path

from kdlsr.config import UserError, nearest
from kdlsr.runs.card import RunCard
from kdlsr.runs.folder import DamagedFile, RunFolder, read_json
from kdlsr.runs.identity import FieldDifference, Identity, compare
from kdlsr.runs.store import Store

TEACHER_RUN = "teacher.run"


@dataclass(frozen=True)
class Identified:
    """A run that is compared: one that is there, or one that would be.

    Attributes:
        run_id: its id.
        identity: what that was made from.
        teacher: its teacher, where that is a run whose identity is known.
    """

    run_id: str
    identity: Identity
    teacher: "Identified | None" = None


def of_card(card: RunCard, store: Store) -> Identified:
    """Returns a stored run, its teachers as far as the store has them."""
    teacher = None
    if card.teacher is not None and card.teacher.run_id is not None:
        try:
            found = store.run(card.teacher.run_id).card()
        except DamagedFile:
            found = None  # only the teacher's id is compared then, which the identity has
        teacher = of_card(found, store) if found else None
    return Identified(card.run_id, card.identity, teacher)


def differences(first: Identified, second: Identified) -> list[FieldDifference]:
    """Returns the fields in which two runs' identities differ, by dotted key.

    A difference of their teachers is told field by field where both are known.
    """
    found = compare(first.identity, second.identity)
    if first.teacher is None or second.teacher is None:
        return found
    others = [field for field in found if field.key != TEACHER_RUN]
    if len(others) == len(found):
        return found
    below = differences(first.teacher, second.teacher)
    return [*others, *(FieldDifference(f"teacher: {f.key}", f.first, f.second) for f in below)]


def find_card(store: Store, name: str) -> RunCard:
    """Returns the card of one run.

    Args:
        store: where it is looked for.
        name: a run_id, a part of one that fits one run alone, or a run's folder.

    Raises:
        UserError: no run, or several, are called so; or the card is damaged.
    """
    folder = Path(name)
    if (folder / "run.json").is_file():
        return _card(folder)
    runs = store.contents().runs
    ids = [run.card.run_id for run in runs]
    if name in ids:
        return runs[ids.index(name)].card
    fitting = fnmatch.filter(ids, name) or [i for i in ids if name in i]
    if len(fitting) == 1:
        return runs[ids.index(fitting[0])].card
    if fitting:
        shown = ", ".join(fitting[:4]) + (", ..." if len(fitting) > 4 else "")
        raise UserError(f"{name} fits {len(fitting)} runs ({shown}); name one of them")
    raise UserError(f"{name}: no such run in {store.root / 'runs'}{nearest(name, ids)}")


def _card(folder: Path) -> RunCard:
    try:
        values = read_json(folder / "run.json") or {}
        card = RunFolder(folder, str(values.get("run_id"))).card()
    except DamagedFile as error:
        raise UserError(str(error)) from error
    assert card is not None
    return card
