"""The right class apart from the others: a distribution over classes cut in two.

softmax(z) is the pair (p_y, 1 - p_y) and, apart from it, how the K - 1 wrong classes share what
is left: the softmax of their logits alone. No hyper-parameter and no method is known here.
"""

import torch
from torch import Tensor

from kdlsr.losses.divergence import shifted_logits


def wrong_places(labels: Tensor, num_classes: int) -> Tensor:
    """Returns (N, K - 1), int64: the classes that are not the label's, in their order."""
    classes = torch.arange(num_classes - 1, device=labels.device)
    return classes + (classes >= labels[:, None])


def wrong_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns (N, K - 1): each sample's logits without its label's, in the classes' order."""
    return logits.gather(1, wrong_places(labels, logits.shape[1]))


def right_or_wrong(logits: Tensor, labels: Tensor, tau: float) -> Tensor:
    """Returns (N, 2): logits whose softmax is (p_y, 1 - p_y), with p = softmax(logits / tau)."""
    tempered = shifted_logits(logits) / tau
    right = tempered.gather(1, labels[:, None])
    wrong = wrong_classes(tempered, labels).logsumexp(dim=1, keepdim=True)
    return torch.cat([right, wrong], dim=1)
