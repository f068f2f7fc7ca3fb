"""The right class apart from the others: a distribution over classes cut in two.

softmax(z) is the pair (p_y, 1 - p_y) and, apart from it, how the K - 1 wrong classes share what
is left: the softmax of their logits alone. No hyper-parameter and no method is known here.
"""

import torch
from torch import Tensor

from kdlsr.losses.divergence import shifted_logits


def wrong_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns (N, K - 1): each sample's logits without its label's, in the classes' order."""
    classes = torch.arange(logits.shape[1] - 1, device=logits.device)
    return logits.gather(1, classes + (classes >= labels[:, None]))


def right_or_wrong(logits: Tensor, labels: Tensor, tau: float) -> Tensor:
    """Returns (N, 2): logits whose softmax is (p_y, 1 - p_y), with p = softmax(logits / tau)."""
    tempered = shifted_logits(logits) / tau
    right = tempered.gather(1, labels[:, None])
    wrong = wrong_classes(tempered, labels).logsumexp(dim=1, keepdim=True)
    return torch.cat([right, wrong], dim=1)
