"""What a network's logits say about it: accuracy, calibration, agreement with a teacher.

In here may come: pure functions of logits and labels that return plain Python numbers, named. What
may not: networks, data, losses to be minimised, anything that keeps state. Imports torch
alone.
"""

from kdlsr.metrics.classification import Metrics, classification_metrics
from kdlsr.metrics.similarity import agreement, mean_kl

__all__ = ["Metrics", "agreement", "classification_metrics", "mean_kl"]
