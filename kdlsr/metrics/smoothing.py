"""What a teacher is as a smoother: how stable its answers within a class are, how smooth it is."""

import torch
from torch import Tensor
from torch.nn import functional as F


def stability(logits: Tensor, labels: Tensor) -> float:
    """Returns Shen et al.'s stability of a network's probabilities within classes.

    Shen et al., ICLR 2021: 1 - (1/K) sum_c (1/n_c) sum_i |p_ic - mean_c|^2, with mean_c the mean
    of the probabilities of the n_c samples of class c. The paper prints 1 minus it.

    Args:
        logits: (N, K), finite and of any size.
        labels: (N,), the right classes, each of which has a sample.

    Raises:
        ValueError: a class has none.
    """
    p = F.softmax(logits.double(), dim=1)
    classes = logits.shape[1]
    counts = torch.bincount(labels, minlength=classes).double()
    if not counts.all():
        raise ValueError(f"class {int((counts == 0).nonzero()[0, 0])} has no sample")
    means = p.new_zeros(classes, classes).index_add_(0, labels, p) / counts.unsqueeze(1)
    squares = (p - means[labels]).square().sum(dim=1)
    within = p.new_zeros(classes).index_add_(0, labels, squares) / counts
    return float(1 - within.mean())


def equivalent_smoothing(teacher_logits: Tensor, labels: Tensor, tau: float = 1.0) -> float:
    """Returns the label smoothing that gives wrong classes as much as a teacher does on average.

    Mueller et al., NeurIPS 2019: gamma = E[sum_k (1 - y_k) p^t_k(T) K / (K - 1)].

    Args:
        teacher_logits: (N, K), finite and of any size.
        labels: (N,), the right classes.
        tau: the teacher's temperature T, above 0.
    """
    classes = teacher_logits.shape[1]
    p = F.softmax(teacher_logits.double() / tau, dim=1)
    wrong = p.scatter(1, labels.unsqueeze(1), 0.0).sum(dim=1)  # 1 - p loses digits
    return float(wrong.mean() * classes / (classes - 1))
