"""Ten methods of the field in float64 NumPy, written from their formulas and nothing else.

As `reference_losses`: one sample at a time, probabilities first and logarithms after. No line
here may come from, or import, the code under test. Each function returns the loss alone.
"""

import numpy as np
from reference_losses import Array, Labels, cross_entropy, kl, one_hot, softmax


def ce(z: Array, y: Labels) -> float:
    K = z.shape[1]
    return mean(cross_entropy(one_hot(int(c), K), softmax(zn)) for zn, c in zip(z, y, strict=True))


def mean(values: object) -> float:
    return float(np.mean(list(values)))  # type: ignore[call-overload]


def without(x: Array, c: int) -> Array:
    return np.array([x[k] for k in range(len(x)) if k != c])


def smoothed(z: Array, y: Labels, alpha: float) -> float:
    K = z.shape[1]
    return mean(
        cross_entropy((1 - alpha) * one_hot(int(c), K) + alpha / K, softmax(zn))
        for zn, c in zip(z, y, strict=True)
    )


def maxsup(z: Array, y: Labels, zt: Array, weight: float) -> float:
    return ce(z, y) + weight * mean(zn.max() - zn.mean() for zn in z)


def kd(z: Array, y: Labels, zt: Array, hard: float, soft: float, tau: float) -> float:
    divergence = mean(
        kl(softmax(tn / tau), softmax(zn / tau)) for zn, tn in zip(z, zt, strict=True)
    )
    return hard * ce(z, y) + soft * tau**2 * divergence


def zscore_kd(z: Array, y: Labels, zt: Array, hard: float, soft: float, tau: float) -> float:
    def std(x: Array) -> Array:
        return (x - x.mean()) / (x.std(ddof=1) + 1e-7)

    standard = [np.stack([std(x) for x in logits]) for logits in (z, zt)]
    return hard * ce(z, y) + kd(standard[0], y, standard[1], 0.0, soft, tau)


def nkd(z: Array, y: Labels, zt: Array, weight: float, tau: float) -> float:
    def of_sample(zn: Array, c: int, tn: Array) -> float:
        right = -softmax(tn)[c] * np.log(softmax(zn)[c])
        s, r = softmax(without(tn, c) / tau), softmax(without(zn, c) / tau)
        return float(right + weight * tau**2 * cross_entropy(s, r))

    samples = zip(z, y, zt, strict=True)
    return ce(z, y) + mean(of_sample(zn, int(c), tn) for zn, c, tn in samples)


def dkd(
    z: Array, y: Labels, zt: Array, target: float, non_target: float, tau: float, warmth: float
) -> float:
    def of_sample(zn: Array, c: int, tn: Array) -> float:
        p, pt = softmax(zn / tau)[c], softmax(tn / tau)[c]
        binary = kl(np.array([pt, 1 - pt]), np.array([p, 1 - p]))
        s, r = softmax(without(tn, c) / tau), softmax(without(zn, c) / tau)
        return tau**2 * (target * binary + non_target * kl(s, r))

    samples = zip(z, y, zt, strict=True)
    return ce(z, y) + warmth * mean(of_sample(zn, int(c), tn) for zn, c, tn in samples)


def dist(z: Array, y: Labels, zt: Array, weight: float, tau: float) -> float:
    p = np.stack([softmax(zn / tau) for zn in z])
    pt = np.stack([softmax(tn / tau) for tn in zt])

    def rho(a: Array, b: Array) -> float:
        a, b = a - a.mean(), b - b.mean()
        return float((a * b).sum() / (np.sqrt((a**2).sum()) * np.sqrt((b**2).sum()) + 1e-8))

    over_classes = mean(rho(a, b) for a, b in zip(p, pt, strict=True))
    over_batch = mean(rho(a, b) for a, b in zip(p.T, pt.T, strict=True))
    return ce(z, y) + weight * (1 - over_classes + 1 - over_batch)


def wttm(z: Array, y: Labels, zt: Array, weight: float, gamma: float) -> float:
    def of_sample(zn: Array, tn: Array) -> float:
        powers = softmax(tn) ** gamma
        return float(powers.sum() * kl(powers / powers.sum(), softmax(zn)))

    return ce(z, y) + weight * mean(of_sample(zn, tn) for zn, tn in zip(z, zt, strict=True))


def wttm_at_mean(z: Array, y: Labels, zt: Array, weight: float, gamma: float) -> float:
    powers = [softmax(tn) ** gamma for tn in zt]
    scale = mean(float(p.sum()) for p in powers)
    pairs = zip(z, powers, strict=True)
    return ce(z, y) + weight * scale * mean(kl(p / p.sum(), softmax(zn)) for zn, p in pairs)


# --- with a state, which is given as it stands ----------------------------------------------


def ols(z: Array, y: Labels, labels: Array, share: float) -> float:
    online = mean(
        -float((labels[c] * np.log(softmax(zn))).sum()) for zn, c in zip(z, y, strict=True)
    )
    return share * ce(z, y) + (1 - share) * online


def ols_labels(z: Array, y: Labels, never_right: float) -> Array:
    """The next epoch's labels after an epoch of all these samples."""
    K = z.shape[1]
    rows = []
    for c in range(K):
        right = [softmax(zn) for zn, d in zip(z, y, strict=True) if d == c and zn.argmax() == c]
        rows.append(np.mean(right, axis=0) if right else np.full(K, never_right))
    return np.stack(rows)


def ps_kd(z: Array, y: Labels, past: list[Array | None], alpha: float) -> float:
    K = z.shape[1]

    def of_sample(zn: Array, c: int, before: Array | None) -> float:
        known = one_hot(c, K) if before is None else before
        return cross_entropy((1 - alpha) * one_hot(c, K) + alpha * known, softmax(zn))

    return mean(of_sample(zn, int(c), p) for zn, c, p in zip(z, y, past, strict=True))


def ls_plus_plus(
    z: Array, y: Labels, scores: Array, alpha: float, of: tuple[Array, Array] | None = None
) -> float:
    """`of`: the logits and scores of what is detached; None: these."""
    still_z, still_scores = (z, scores) if of is None else of

    def target(c: int, s: Array) -> Array:
        shares = list(softmax(s[c]))
        shares.insert(c, 0.0)
        return (1 - alpha) * one_hot(c, z.shape[1]) + alpha * np.array(shares)

    def of_sample(n: int, c: int) -> float:
        forward = -(target(c, still_scores) * np.log(softmax(z[n]) + 1e-6)).sum()
        reverse = -(softmax(still_z[n]) * np.log(target(c, scores) + 1e-6)).sum()
        return float(forward + reverse) / 2

    return mean(of_sample(n, int(c)) for n, c in enumerate(y))


def cs_kd(z: Array, y: Labels, partner: Array, weight: float, tau: float) -> float:
    return kd(z, y, partner, 1.0, weight, tau)
