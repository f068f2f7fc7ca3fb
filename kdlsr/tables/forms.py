"""A row of a paper in every form that can be confused, and the controls of each form.

Computed from the row alone, by its loss, which says what its forms and controls are; what is
composed, planned or run from them is `planning`'s.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from kdlsr.config import UserError
from kdlsr.losses import Control
from kdlsr.tables.methods import TeacherKind, find_method
from kdlsr.tables.schema import Cell


@dataclass(frozen=True)
class Variant:
    """One way of training a row's network: a form of the method, or a control.

    Attributes:
        name: `as_released`, ..., or what the control is.
        loss: the name of its loss.
        options: what that loss is given.
        teacher: whether it has a teacher, and of which kind.
        teacher_epoch: which of the teacher's epochs, as published: a number counts in the
            paper's full schedule.
        start_from_teacher: whether the student's weights begin as the teacher's.
        controls: what this form is to be compared with, besides the baseline.
    """

    name: str
    loss: str
    options: Mapping[str, object] = field(default_factory=dict)
    teacher: TeacherKind = "none"
    teacher_epoch: int | str = "last"
    start_from_teacher: bool = False
    controls: tuple["Variant", ...] = ()


def forms_of(cell: Cell, classes: int, chosen: Iterable[str] | None = None) -> list[Variant]:
    """Returns the chosen forms of a row, each with its controls.

    Args:
        cell: the row, with the hyper-parameters of the paper.
        classes: K of the data set it is run on. `as_released` keeps the row's weights there.
        chosen: None: all that its loss has; those that it does not have are left out.

    Raises:
        UserError: the row makes no sense with so many classes.
    """
    known = find_method(cell.method).loss_class.forms
    own = [form for form in known if cell.forms is None or form in cell.forms]
    return [_form(cell, form, classes) for form in chosen or own if form in own]


def _form(cell: Cell, form: str, classes: int) -> Variant:
    method = find_method(cell.method)
    loss = method.published(cell.options, form, cell.weight_classes, cell.row)
    try:
        loss = loss.on_classes(classes)
    except ValueError as error:
        raise UserError(f"{cell.row}: {error}") from error
    stated, defaults = method.loss_class.options_in(form, cell.options), method.defaults
    decided = loss.hyper_parameters.items()
    made = Variant(
        name=form,
        loss=method.loss,
        options={k: v for k, v in decided if k in stated or v != defaults.get(k)},
        teacher=method.taught_by,
        teacher_epoch=_teacher_epoch(cell, form),
    )
    return replace(made, controls=tuple(_control(control, made) for control in loss.controls()))


def _teacher_epoch(cell: Cell, form: str) -> int | str:
    """Yuan et al.'s code takes the best-test checkpoint; De-KD a poorly-trained teacher's."""
    released = form == "as_released"
    if cell.poor_teacher is not None:
        return cell.poor_teacher.as_released if released else cell.poor_teacher.as_written
    if cell.teacher_epoch is not None:
        return cell.teacher_epoch
    return "best_test" if released else "last"


def _control(control: Control, of: Variant) -> Variant:
    """A control has the teacher of what it is a control of, if it needs one.

    One that goes on from a teacher's weights goes on from its own best, as released.
    """
    made = Variant(control.name, control.loss, control.options)
    if control.start_from_teacher:
        return replace(made, teacher="self", teacher_epoch="best_test", start_from_teacher=True)
    if "soft_targets" in find_method(control.loss).loss_class.needs:
        return replace(made, teacher=of.teacher, teacher_epoch=of.teacher_epoch)
    return made
