"""The section `schedule` of a config, typed: how long and by what steps a network is trained."""

from dataclasses import dataclass
from typing import Annotated, Literal

from kdlsr.config.fields import Above, AtLeast, Between


@dataclass(frozen=True, kw_only=True)
class SgdConfig:
    """What a network trained by SGD gets where `schedule.lr` or `.weight_decay` is null."""

    lr: Annotated[float, Above(0)] = 0.1
    weight_decay: Annotated[float, AtLeast(0)] = 5e-4


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How long and by what steps a network is trained.

    Attributes:
        epochs: passes over the training images.
        batch_size: images per step.
        optimizer: `auto` (the model's own: SGD, Adam for plain_cnn, AdamW for texts), `sgd`,
            `adam`, `adamw`, or any name of timm's.
        lr: at a batch of `lr_batch_size` images; null: `sgd.lr`, or the model's own recipe.
        weight_decay: null likewise.
        sgd: the two defaults of SGD.
        lr_batch_size: lr is scaled by batch_size / lr_batch_size.
        momentum: of SGD.
        nesterov: of SGD.
        decay: `step` (by gamma at each milestone) or `linear` (from the warm-up's end to 0).
        milestones: epochs after which the rate is multiplied by gamma.
        gamma: factor at each milestone.
        warmup_epochs: epochs over which the rate rises linearly from 0, step by step; a part
            of one too.
        clip_norm: the most that the norm of the network's gradient may be; null: any.
    """

    epochs: Annotated[int, AtLeast(1)]
    batch_size: Annotated[int, AtLeast(2)] = 128
    optimizer: str = "auto"
    lr: Annotated[float, Above(0)] | None = None
    weight_decay: Annotated[float, AtLeast(0)] | None = None
    sgd: SgdConfig = SgdConfig()
    lr_batch_size: Annotated[int, AtLeast(1)] = 128
    momentum: Annotated[float, Between(0, 1, open_high=True)] = 0.9
    nesterov: bool = False
    decay: Literal["step", "linear"] = "step"
    milestones: tuple[Annotated[int, AtLeast(0)], ...] = ()
    gamma: Annotated[float, Between(0, 1, open_low=True)] = 0.2
    warmup_epochs: Annotated[float, AtLeast(0)] = 0.0
    clip_norm: Annotated[float, Above(0)] | None = None

    def __post_init__(self) -> None:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones must rise, not {list(self.milestones)}")
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        if self.decay == "linear":
            self._check_line()

    def _check_line(self) -> None:
        if self.milestones:
            raise ValueError("decay=linear has no milestones: add schedule.milestones=[]")
        if self.warmup_epochs >= self.epochs:
            warm = f"warmup_epochs={self.warmup_epochs:g}"
            raise ValueError(f"decay=linear needs {warm} to be below epochs={self.epochs}")
