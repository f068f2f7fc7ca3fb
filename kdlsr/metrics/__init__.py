"""What logits and features say of a network: accuracy, calibration, what it is as a teacher.

In here may come: pure functions of them and labels that return plain Python numbers, named. What
may not: networks, data, losses to be minimised, anything that keeps state. Imports torch
alone.
"""

from kdlsr.metrics.classification import Metrics, classification_metrics, plain_metrics
from kdlsr.metrics.confidence import Confidence, Reliability, confidence_figures, reliability
from kdlsr.metrics.geometry import Projection, diffusion, project, similar_classes
from kdlsr.metrics.similarity import (
    Correlation,
    agreement,
    confidence_correlation,
    mean_kl,
    pearson,
    spearman,
)
from kdlsr.metrics.smoothing import equivalent_smoothing, stability
from kdlsr.metrics.temperature import Temperature, fit_temperature

__all__ = [
    "Confidence",
    "Correlation",
    "Metrics",
    "Projection",
    "Reliability",
    "Temperature",
    "agreement",
    "classification_metrics",
    "confidence_correlation",
    "confidence_figures",
    "diffusion",
    "equivalent_smoothing",
    "fit_temperature",
    "mean_kl",
    "pearson",
    "plain_metrics",
    "project",
    "reliability",
    "similar_classes",
    "spearman",
    "stability",
]
