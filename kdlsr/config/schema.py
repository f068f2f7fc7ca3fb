"""One training run's config, typed: what the groups of `conf/` compose to.

A section's fields that every option of its group has stand here; what is particular to an
option (a loss's tau, a network's width) stays in `options` and is checked by the class or
function registered under the section's name.
"""

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_type_hints

from kdlsr.config.errors import UserError
from kdlsr.config.fields import AtLeast, Between, build, nearest
from kdlsr.config.overrides import NO_OVERRIDES, Overrides
from kdlsr.config.schedule import ScheduleConfig

Options = Mapping[str, Any]
ListedStep = str | Mapping[str, Options]  # of a recipe of views: a step's name, or with options
Seed = Annotated[int, Between(0, 2**63 - 1)]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
EpochChoice = Literal["last", "best_val", "best_test"] | Annotated[int, AtLeast(1)]

# What a field is to a run's numbers, where it is not part of the experiment: they are the same
# whatever it is, or they differ in their last bits, so that it makes another run of the same
# experiment. Everything that asks this asks `moves_no_number` or `is_same_experiment`.
NO_NUMBERS: Mapping[str, str] = {"moves": "nothing"}
LAST_BITS: Mapping[str, str] = {"moves": "last bits"}
# Likewise, of fields that only some options of a section have.
_OPTIONS_WITHOUT_NUMBERS = ("dataset.root", "teacher.path")


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """What to train and test on, and how training images are augmented.

    Attributes:
        name: a registered data set.
        views: the augmentation: the name of a recipe in `conf/views/`, or the list that such a
            file holds.
        mean: per channel, in units of 0..1; null: computed from the training images.
        std: likewise.
        val_fraction: share of each class held out of training for validation.
        split_seed: chooses which; independent of every other seed.
        subset: use only this many training images (stratified); null: all.
    """

    name: str
    views: str | tuple[ListedStep, ...] = "none"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    val_fraction: Annotated[float, Between(0, 1, open_high=True)] = 0.0
    split_seed: Seed = 0
    subset: Annotated[int, AtLeast(1)] | None = None
    options: Options = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A network: a registered name and that network's own options."""

    name: str
    options: Options = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """Where soft targets come from: a registered kind, and that kind's own options.

    Attributes:
        name: `none`, `self`, `past`, `checkpoint`, `timm`, or a model's name (a run of this
            suite).
        epoch: which of its epochs teaches: `last`, `best_val`, `best_test`, or a number of
            completed epochs (a poorly-trained teacher: De-KD).
        seed: the teacher's own seed, 1000 unless set, so that one teacher serves all students
            and shares neither initialisation nor views with any.
        overrides: what else differs in the teacher's training, as on the command line.
        dtype: what its logits are rounded to before any loss sees them.
        store: `auto` keeps its outputs below `output_dir` and replays them, to the same bits,
            in every run that shares them; `off` computes them anew.
        store_limit_gb: no more are kept once all stores there have so many 10**9 bytes.
    """

    name: str = "none"
    epoch: EpochChoice = "last"
    seed: Seed = 1000
    overrides: Overrides = NO_OVERRIDES
    dtype: Literal["float16", "float32"] = "float16"
    store: Literal["auto", "off"] = field(default="auto", metadata=NO_NUMBERS)
    store_limit_gb: Annotated[float, AtLeast(0)] = field(default=20.0, metadata=NO_NUMBERS)
    options: Options = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """A loss: a registered name and that loss's own hyper-parameters."""

    name: str
    options: Options = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrackerConfig:
    """Where metrics are logged besides local files."""

    name: str = "none"
    options: Options = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All of one run: the composed config, checked.

    Attributes:
        seed: sets the next two unless they are set apart.
        init_seed: the network's initialisation, and dropout.
        data_seed: the order of the images and their views.
        device: `auto` (CUDA where there is a GPU), `cpu`, `cuda`, `cuda:1`, ...
        threads: CPU threads; null: the cores divided by the jobs that run at once, and one
            for networks so small that a second gains nothing.
        precision: of the network's arithmetic; `auto`: bf16 where the hardware has it
            natively, else fp32. Losses are always computed in fp32.
        compile: run the network through torch.compile.
        capture: record a whole training step as one CUDA graph, and replay it; `auto`: on a GPU.
            The kernels are those of an unrecorded step: with `deterministic` the bits are the
            same (without it a GPU promises none). What cannot be recorded is done as it is, and a
            line says why. `true` on a CPU has the same step done there, unrecorded: for tests.
        deterministic: ask torch for deterministic algorithms (needed on CUDA for equal bits).
        keep_epochs: epochs whose checkpoints are kept for good (De-KD's teachers).
        start: `teacher` begins with the teacher's weights in place of drawn ones; with plain
            cross-entropy that is the released code's `--double_training`, the control of
            self-training.
        train_metrics: test network and teacher on every epoch's training views, and the
            network on the plain training samples at the end: one more evaluation an epoch,
            and no other number.
        keep_features: write the last epoch's penultimate features of the test samples and the
            classifier's weights beside its logits; its teacher's too.
        until: train no further than this epoch; the run stays a prefix of itself.
        output_dir: where runs are stored.
    """

    dataset: DatasetConfig
    model: ModelConfig
    teacher: TeacherConfig = TeacherConfig()
    loss: LossConfig
    schedule: ScheduleConfig
    tracker: TrackerConfig = field(default=TrackerConfig(), metadata=NO_NUMBERS)
    seed: Seed = 0
    init_seed: Seed = 0
    data_seed: Seed = 0
    device: str = field(default="auto", metadata=NO_NUMBERS)
    threads: Annotated[int, AtLeast(1)] | None = field(default=None, metadata=NO_NUMBERS)
    precision: Precision = field(default="auto", metadata=LAST_BITS)
    compile: bool = field(default=False, metadata=LAST_BITS)
    capture: Literal["auto"] | bool = field(default="auto", metadata=NO_NUMBERS)
    deterministic: bool = field(default=False, metadata=LAST_BITS)
    keep_epochs: tuple[Annotated[int, AtLeast(1)], ...] = field(default=(), metadata=NO_NUMBERS)
    start: Literal["scratch", "teacher"] = "scratch"
    train_metrics: bool = field(default=False, metadata=NO_NUMBERS)
    keep_features: bool = field(default=False, metadata=NO_NUMBERS)
    until: Annotated[int, AtLeast(1)] | None = field(default=None, metadata=NO_NUMBERS)
    output_dir: str = field(default="outputs", metadata=NO_NUMBERS)


_WITH_OPTIONS: dict[str, type[Any]] = {
    "dataset": DatasetConfig,
    "model": ModelConfig,
    "teacher": TeacherConfig,
    "loss": LossConfig,
    "tracker": TrackerConfig,
}


def moves_no_number(key: str) -> bool:
    """Whether a run's numbers are the same whatever stands under a dotted key."""
    return _moves(key) == "nothing"


def is_same_experiment(key: str) -> bool:
    """Whether a run is of the same experiment whatever stands under a dotted key."""
    return _moves(key) in ("nothing", "last bits")


def fields_of_last_bits() -> list[str]:
    """Returns the keys that make another run of the same experiment."""
    return [f.name for f in dataclasses.fields(RunConfig) if f.metadata == LAST_BITS]


def _moves(key: str) -> str:
    if key in (*_LAUNCH_ONLY, *_OPTIONS_WITHOUT_NUMBERS):
        return "nothing"
    cls: Any = RunConfig
    for name in key.split("."):
        is_section = dataclasses.is_dataclass(cls)
        fields = {f.name: f for f in dataclasses.fields(cls)} if is_section else {}
        if name not in fields:
            break
        if "moves" in fields[name].metadata:
            return str(fields[name].metadata["moves"])
        cls = get_type_hints(cls)[name]
    return "numbers"


def read_config(values: Mapping[str, Any]) -> RunConfig:
    """Builds a `RunConfig` from a composed and resolved config.

    Raises:
        UserError: an unknown key, a wrong type, a value out of range.
    """
    values = {key: value for key, value in values.items() if key not in _LAUNCH_ONLY}
    for key, cls in _WITH_OPTIONS.items():
        if key in values:
            values[key] = gather_options(cls, values[key], key)
    return build(RunConfig, values, "")


def read_tracker_section(values: Any) -> TrackerConfig:
    """Builds a `TrackerConfig` from the section `tracker` of any composed config.

    Raises:
        UserError: an unknown key, a wrong type.
    """
    return build(TrackerConfig, gather_options(TrackerConfig, values, "tracker"), "tracker")


# Read where a sweep is launched, not by any of its runs.
_LAUNCH_ONLY = ("rows",)


def gather_options(cls: type[Any], values: Any, where: str) -> dict[str, Any]:
    """Moves the keys of a section that `cls` has no field for below `options`.

    Raises:
        UserError: it is no mapping.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{where}={values!r} is not possible; expected one of its options")
    own = {f.name for f in dataclasses.fields(cls) if f.name != "options"}
    fields = {key: value for key, value in values.items() if key in own}
    options = {key: value for key, value in values.items() if key not in own}
    needed = {f.name for f in dataclasses.fields(cls) if f.default is f.default_factory}  # neither
    missing = needed - fields.keys()
    for key in options:
        if difflib.get_close_matches(str(key), missing):
            raise UserError(f"unknown key {where}.{key}{nearest(str(key), missing)}")
    return fields | {"options": options}


def as_plain(config: RunConfig) -> dict[str, Any]:
    """The inverse of `read_config`: nested plain values, options beside the common fields."""
    plain: dict[str, Any] = _plain(dataclasses.asdict(config))
    for key in _WITH_OPTIONS:
        options = plain[key].pop("options")
        plain[key].update(options)
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Overrides):
        return value.texts()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
