"""A row of a paper in every form that can be confused, and the controls of each form.

Computed from the row's hyper-parameters alone; what is composed, planned or run from them is
`planning`'s.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from kdlsr.losses import build_loss, equivalent_lsr
from kdlsr.tables.schema import Cell, Form

FORMS: tuple[Form, ...] = get_args(Form)
TeacherKind = Literal["none", "other", "self"]
# The three of Yuan et al. are one loss, `kd`, with another teacher.
_LOSS = {"re_kd": "kd", "de_kd": "kd"}
_HAS_STANDARD = ("kd", "tfkd_self")


@dataclass(frozen=True)
class Variant:
    """One way of training a row's network: a form of the method, or a control.

    Attributes:
        name: `as_released`, ..., or what the control is.
        kind: a method's form, or a control.
        loss: the loss, as overrides of `kdlsr.train`.
        teacher: whether it has a teacher, and of which kind.
        teacher_epoch: which of the teacher's epochs, as published: a number counts in the
            paper's full schedule.
        start_from_teacher: whether the student's weights begin as the teacher's.
        controls: what this form is to be compared with, besides the baseline.
    """

    name: str
    kind: Literal["method", "control"]
    loss: tuple[str, ...]
    teacher: TeacherKind = "none"
    teacher_epoch: int | str = "last"
    start_from_teacher: bool = False
    controls: tuple["Variant", ...] = field(default=())


def forms_of(cell: Cell, classes: int, chosen: Iterable[Form] = FORMS) -> list[Variant]:
    """Returns the chosen forms of a row, each with its controls.

    Args:
        cell: the row, with the hyper-parameters of the paper.
        classes: K of the data set it is run on. `as_released` keeps the row's weights there
            (multiplier m K / 100).
        chosen: of `as_released`, `as_written`, `standard`; those that a method does not have
            are left out.
    """
    return [_form(cell, form, classes) for form in chosen if _exists(cell, form)]


def _exists(cell: Cell, form: Form) -> bool:
    return form != "standard" or _LOSS.get(cell.method, cell.method) in _HAS_STANDARD


def _form(cell: Cell, form: Form, classes: int) -> Variant:
    name = _LOSS.get(cell.method, cell.method)
    options = hyper_parameters(cell, form, classes)
    teacher: TeacherKind = "none"
    if name == "kd":
        teacher = "other"
    elif name == "tfkd_self":
        teacher = "self"
    return Variant(
        name=form,
        kind="method",
        loss=_overrides(name, options),
        teacher=teacher,
        teacher_epoch=_teacher_epoch(cell, form),
        controls=tuple(_controls(cell, form, name, options, classes)),
    )


def hyper_parameters(cell: Cell, form: Form, classes: int) -> dict[str, Any]:
    """Returns the loss's options for one form of a row, on so many classes."""
    if cell.method == "lsr":
        return {"alpha": cell.alpha, "form": form}
    options: dict[str, Any] = {"alpha": cell.alpha, "tau": cell.tau, "form": form}
    if cell.method == "tfkd_reg":
        options["correct_probability"] = cell.correct_probability
    if form == "as_released":
        options["multiplier"] = row_multiplier(cell, classes)
    return options


def row_multiplier(cell: Cell, classes: int) -> float:
    """Returns m K / 100: the multiplier at which the row's weights alpha m / K stay the same."""
    return cell.multiplier * classes / cell.weight_classes


def _teacher_epoch(cell: Cell, form: Form) -> int | str:
    """The released code takes the best-test checkpoint; De-KD a poorly-trained teacher's."""
    if cell.poor_teacher is not None:
        released = form == "as_released"
        return cell.poor_teacher.as_released if released else cell.poor_teacher.as_written
    return "best_test" if form == "as_released" else "last"


def _controls(
    cell: Cell, form: Form, name: str, options: dict[str, Any], classes: int
) -> list[Variant]:
    found = []
    scale = control_scale(name, options, classes)
    if cell.method != "lsr":  # whose scale is 1: its control is the baseline
        found.append(_scale_control(scale))
    if cell.method == "tfkd_reg" and form == "as_released":
        found.append(_lsr_control(cell, options["multiplier"], classes))
    if cell.method == "tfkd_self":
        found.append(DOUBLE_TRAINING)
    return found


def control_scale(name: str, options: dict[str, Any], classes: int) -> float:
    """Returns the loss scale that a method leaves at temperature 1 (design: `control`)."""
    return rounded(build_loss(name, options, classes).hard_scale)


def rounded(value: float) -> float:
    """Drops what binary arithmetic adds: 1 - 0.95 is 0.05."""
    return float(f"{value:.12g}")


def _scale_control(scale: float) -> Variant:
    return Variant(f"CE x {scale:.4g}", "control", ("loss=ce", f"loss.scale={scale!r}"))


def _lsr_control(cell: Cell, multiplier: float, classes: int) -> Variant:
    """Label smoothing with the very gradient of the released Tf-KD_reg: `equivalent_lsr`."""
    assert cell.tau is not None
    epsilon, scale = equivalent_lsr(
        cell.alpha, cell.tau, cell.correct_probability, multiplier, classes
    )
    options = {"alpha": epsilon, "form": "as_written", "scale": scale}
    name = f"LSR {epsilon:.3g} x {scale:.4g}"
    return Variant(name, "control", _overrides("lsr", options))


# Cross-entropy continued from the baseline's best checkpoint: the released code's own control
# of self-training (`--double_training`).
DOUBLE_TRAINING = Variant(
    "double training",
    "control",
    ("loss=ce",),
    teacher="self",
    teacher_epoch="best_test",
    start_from_teacher=True,
)


def _overrides(name: str, options: dict[str, Any]) -> tuple[str, ...]:
    return (f"loss={name}", *(f"loss.{key}={value}" for key, value in options.items()))
