"""What a table's methods are: a loss by name, and who teaches whom.

No method is known here: a name is a loss's, or stands in `experiments/methods.yaml`.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from kdlsr.config import Registry, UserError, nearest
from kdlsr.config.compose import option, shipped_folder
from kdlsr.config.fields import convert
from kdlsr.config.yaml_file import read_yaml

if TYPE_CHECKING:
    from kdlsr.losses import Loss

Role = Literal["weak", "strong"]
TeacherKind = Literal["none", "other", "self", "past"]
FILE = "methods.yaml"  # of experiments/


@dataclass(frozen=True, kw_only=True)
class Method:
    """How the rows of a method are trained.

    Attributes:
        loss: a registered loss.
        student: the student's role in profiles that map networks; null: its network's own.
        teacher: the teacher's role there; `self`: the student's own network; `past`: the student
            itself, earlier.
        epochs_ago: of a teacher that is the past.
        poor_teacher: whether its cells name the epochs after which the teacher teaches.
    """

    loss: str
    student: Role | None = None
    teacher: Role | Literal["self", "past"] = "strong"
    epochs_ago: tuple[int, ...] = (1,)
    poor_teacher: bool = False

    @property
    def loss_class(self) -> "type[Loss]":
        """The loss, not yet with hyper-parameters."""
        return _losses().get(self.loss)

    @property
    def taught_by(self) -> TeacherKind:
        """Whether it has a teacher, and of which kind: another network, the student's own, it."""
        if "soft_targets" not in self.loss_class.needs:
            return "none"
        if self.teacher == "past":
            return "past"
        is_self = self.loss_class.teacher_must_be_self or self.teacher == "self"
        return "self" if is_self else "other"

    @property
    def row_keys(self) -> set[str]:
        """The hyper-parameters that a row can state; in which form it is run, is not its own."""
        fields = {f.name for f in dataclasses.fields(self.loss_class)}
        return fields - {"num_classes", "form"}

    @property
    def defaults(self) -> dict[str, Any]:
        """The hyper-parameters of the loss's config file, which hold where a row states none."""
        return {key: value for key, value in option("loss", self.loss).items() if key != "name"}

    def published(self, row: Mapping[str, Any], form: str, classes: int, where: str) -> "Loss":
        """Returns a row's loss in one form, on the number of classes it was published for.

        Raises:
            UserError: a hyper-parameter that the loss does not have or that is not possible;
                the message names it below the dotted path `where`.
        """
        from kdlsr.losses import build_loss

        options = {**self.defaults, **self.loss_class.options_in(form, row)}
        return build_loss(self.loss, options, classes, where)


def _losses() -> "Registry[type[Loss]]":
    from kdlsr.losses import losses  # torch: not before a table is read

    return losses


@functools.cache
def _named_methods() -> dict[str, Method]:
    named = read_yaml(shipped_folder("experiments") / FILE)
    return {name: convert(values, Method, f"{FILE}.{name}") for name, values in named.items()}


def find_method(name: str, where: str = "method") -> Method:
    """Returns the method called `name` at the dotted path `where`.

    Raises:
        UserError: it is neither a loss nor in the file; the message names the nearest.
    """
    named = _named_methods()
    if name in named:
        return named[name]
    losses = _losses().names()
    if name not in losses:
        known = {*named, *losses}
        raise UserError(f"{where}={name!r} is not possible{nearest(name, known)}")
    return Method(loss=name)


def check_forms(chosen: Iterable[str], where: str = "forms") -> None:
    """Refuses a form that no loss has.

    Raises:
        UserError: there is one.
    """
    losses = _losses()
    known = {form for name in losses.names() for form in losses.get(name).forms}
    for form in chosen:
        if form not in known:
            raise UserError(f"{where}={form!r} is not possible{nearest(form, known)}")
