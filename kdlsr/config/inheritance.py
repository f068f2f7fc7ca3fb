"""What a teacher inherits of its student: the one statement of the rules.

Applied to a config they give the teacher's config, and applied to a command line the teacher's
command line; both are the same run.
"""

from kdlsr.config.compose import GROUPS, compose_config, option
from kdlsr.config.overrides import Override, Overrides
from kdlsr.config.schema import RunConfig, TeacherConfig, as_plain, read_config

# Of the optimiser: from the recipe of the teacher's own network.
RECIPE = ("schedule.lr", "schedule.weight_decay", "schedule.optimizer")
# What is not inherited, and what stands in its place before the teacher's own overrides.
_NOT_INHERITED = Overrides(
    [
        Override("loss", "ce"),
        Override("teacher", "none"),
        Override("schedule.lr", None),
        Override("schedule.weight_decay", None),
        Override("schedule.optimizer", "auto"),
        Override("keep_epochs", []),
        Override("start", "scratch"),
        Override("train_metrics", False),
        Override("until", None),
    ]
)
_SEEDS = ("seed", "init_seed", "data_seed")


def teacher_config(student: RunConfig) -> RunConfig:
    """Returns the config of the run that teaches `student`.

    It is the student's with another model (unless `self`), plain cross-entropy, the
    teacher's seed, the optimiser of that model's own recipe, then `teacher.overrides`. Data
    set, split, batch size and epochs are inherited unless overridden.

    Raises:
        UserError: `teacher.overrides` name what is not there, or a value that is not possible.
    """
    inherited = _NOT_INHERITED.apply_to(as_plain(student))
    return read_config(_own(student.teacher).apply_to(inherited, "teacher.overrides"))


def teacher_overrides(student: Overrides, teacher: TeacherConfig) -> Overrides:
    """Returns the command line of the run whose config is `teacher_config`'s.

    Args:
        student: the command line of the student.
        teacher: the student's section `teacher`.
    """
    own = _own(teacher)
    chosen = [o.key for o in own if o.key in GROUPS]  # with all that the student set in them
    dropped = [*(o.key for o in _NOT_INHERITED), *_SEEDS, *chosen]
    kept = student.without(*dropped)
    return Overrides([*kept, Override("loss", "ce"), *_recipe(kept, own), *own])


def _own(teacher: TeacherConfig) -> Overrides:
    """Returns what is a teacher's own, whatever its student is."""
    model = [] if teacher.name == "self" else [Override("model", teacher.name)]
    return Overrides([*model, Override("seed", teacher.seed), *teacher.overrides])


def _recipe(kept: Overrides, own: Overrides) -> Overrides:
    """Returns what keeps a schedule's own optimiser from being inherited, where it has one."""
    if own.get("schedule") is not None:
        return Overrides()
    name = kept.get("schedule")
    schedule = compose_config([])["schedule"] if name is None else option("schedule", str(name))
    resets = _NOT_INHERITED.only(*RECIPE)
    return Overrides(o for o in resets if schedule[o.leaf] != o.value)
