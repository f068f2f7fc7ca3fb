"""The two quantities that all losses consist of, computed so that they can be trusted.

Here is arithmetic only: no hyper-parameter beyond the temperature, and no method by name.

A distribution over classes is given by its *scores*, that is its log-probabilities up to a
constant for each sample: a teacher's logits over tau, zeros for the uniform distribution.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# A class whose score lies further than this below the sample's highest is treated as lying
# this far below. The probability is 0 either way (from about -104 in fp32), but a loss of
# 1e20 nats can be summed and weighted in fp32, while logits of +-3e38 differ by infinity.
FURTHEST = 1e20


def loss_precision(logits: Tensor) -> Tensor:
    """Returns `logits` in fp32, in which losses are computed (fp64 stays as it is)."""
    return logits if logits.dtype == torch.float64 else logits.float()


def tempered_scores(scores: Tensor, tau: float) -> Tensor:
    """Returns the scores of softmax(scores / tau): at most 0 and at least -FURTHEST.

    The sample's highest is subtracted first, so that scores of any size stay finite.
    """
    highest = scores.amax(dim=1, keepdim=True)
    return ((scores - highest) / tau).clamp(min=-FURTHEST)


def shifted_logits(logits: Tensor) -> Tensor:
    """Returns `logits` (N, K) less each sample's highest, at least -FURTHEST; same softmax.

    Its gradient is that of the logits, since a sample's shift changes no softmax. A clamp that
    autograd sees would lose the gradient of a right class that lies beyond FURTHEST. Where a
    logit is infinite or NaN, so is something here NaN: a network that diverged must be noticed.
    """
    return tempered_scores(logits.detach(), 1.0) + (logits - logits.detach())


def other_logits(logits: Tensor, like: Tensor) -> Tensor:
    """Returns another network's logits without gradient, in the dtype that losses have of `like`.

    Raises:
        ValueError: the two have different shapes.
    """
    if logits.shape != like.shape:
        shapes = f"{tuple(logits.shape)}, the student's {tuple(like.shape)}"
        raise ValueError(f"the teacher's logits have shape {shapes}")
    return logits.detach().to(loss_precision(like).dtype)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns H(q, p) for one-hot q and p = softmax(logits), in nats, mean over the batch.

    Args:
        logits: (N, K), fp32 or fp64, finite and of any size.
        labels: (N,), the right classes.
    """
    return F.cross_entropy(shifted_logits(logits), labels)


def cross_entropies(target: Tensor, logits: Tensor) -> Tensor:
    """Returns -sum_k t(k) log p(k) in nats for each sample, (N,), with p = softmax(logits).

    Args:
        target: (N, K), t: 0 or more, whose sum may be 0 or another number than 1; no gradient.
        logits: (N, K), the student's, fp32 or fp64, finite and of any size.
    """
    return -(target.detach() * F.log_softmax(shifted_logits(logits), dim=1)).sum(dim=1)


def entropies(scores: Tensor) -> Tensor:
    """Returns the entropy of softmax(scores) in nats for each sample, (N,), at least 0."""
    log_t = F.log_softmax(tempered_scores(scores, 1.0), dim=1)
    return -(log_t.exp() * log_t).sum(dim=1)


def kl_divergence(target_scores: Tensor, logits: Tensor, tau: float) -> Tensor:
    """Returns D_KL(t, p_tau) in nats, summed over classes, mean over the batch.

    t = softmax(target_scores), p_tau = softmax(logits / tau). Only `logits` get a gradient:
    (p_tau - t) / (tau N). At a high temperature both distributions are nearly uniform and
    their logarithms agree in all but the last digits; value and gradient are computed from
    the logarithms relative to the uniform distribution's, log(K p), which are small there.

    Args:
        target_scores: (N, K), the target's log-probabilities up to a constant per sample;
            -inf for a class that has none.
        logits: (N, K), the student's, fp32 or fp64, finite and of any size.
        tau: the temperature of the student's softmax, above 0.
    """
    return kl_divergences(target_scores, logits, tau).mean()


def kl_divergences(target_scores: Tensor, logits: Tensor, tau: float) -> Tensor:
    """Returns `kl_divergence` for each sample, (N,)."""
    per_sample: Tensor = _Divergence.apply(target_scores.detach(), logits, tau)
    return per_sample


class _Divergence(torch.autograd.Function):
    """D_KL(t, p_tau) for each sample, with its gradient written out.

    Autograd's own would subtract t from p_tau after each was rounded. It is first order
    only: asking for a second derivative is an error.
    """

    @staticmethod
    def forward(ctx: Any, target_scores: Tensor, logits: Tensor, tau: float) -> Tensor:
        log_t = _log_over_uniform(target_scores, 1.0)
        log_p = _log_over_uniform(logits, tau)
        ratio = log_t - log_p
        t, p = (log.exp() / logits.shape[1] for log in (log_t, log_p))
        # p - t, written as a product so that nothing cancels: p - t = t (exp(-ratio) - 1).
        gap = ratio.sign() * torch.maximum(p, t) * torch.expm1(-ratio.abs())
        ctx.save_for_backward(gap / tau)
        # The classes' gaps add up to 0, and with them every class's term is 0 or more.
        return (t * ratio + gap).sum(dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return None, grad_outputs[0].unsqueeze(1) * gradient, None


def _log_over_uniform(scores: Tensor, tau: float) -> Tensor:
    """Returns log(K p) for p = softmax(scores / tau), exact to rounding where p is near 1/K."""
    shifted = tempered_scores(scores, tau)
    mean_less_one = shifted.expm1().mean(dim=1, keepdim=True)
    log_mean = torch.where(
        mean_less_one > -0.5,
        mean_less_one.log1p(),  # near uniform: no digits lost to the 1 in exp
        shifted.exp().mean(dim=1, keepdim=True).log(),  # peaked: no digits lost to the -1
    )
    return shifted - log_mean


def one_class_scores(labels: Tensor, right: float, wrong: float, like: Tensor) -> Tensor:
    """Returns (N, K) scores: `right` at each sample's label, `wrong` at all other classes.

    Args:
        labels: (N,), the right classes.
        right: the score of the right class.
        wrong: the score of every other class.
        like: a tensor (N, K) of the dtype and on the device that are wanted.
    """
    return torch.full_like(like, wrong).scatter_(1, labels.unsqueeze(1), right)
