"""Every method as cross-entropy plus a divergence to a target distribution.

A loss is a pure function of `(logits, labels, teacher_logits)`, held by a small frozen
dataclass with its hyper-parameters and registered under the name that a config uses. In
here may come: losses and the distributions they aim at. What may not: networks, data, where
teacher logits come from, anything that keeps state from one step to the next. Imports
`kdlsr.config` alone.
"""

from kdlsr.losses.base import Loss, Terms, build_loss, losses
from kdlsr.losses.tfkd_reg import equivalent_lsr

__all__ = ["Loss", "Terms", "build_loss", "equivalent_lsr", "losses"]
