"""Every method as cross-entropy plus a divergence to a target distribution.

A method is a pure function of tensors that can be called alone, and around it a small frozen
dataclass with its hyper-parameters, registered under the name that a config uses, which is
given a `Step` and returns named terms. A class also says its forms and its controls, so that
tables know no method by name. In here may come: losses and the distributions they aim at. What
may not: networks, data, where soft targets come from; what a loss remembers or learns is in the
module that its `state` makes, never in itself. Imports `kdlsr.config` alone.
"""

from kdlsr.losses.base import Control, Loss, build_loss, losses
from kdlsr.losses.step import Step, Terms
from kdlsr.losses.tfkd_reg import equivalent_lsr

__all__ = ["Control", "Loss", "Step", "Terms", "build_loss", "equivalent_lsr", "losses"]
