"""Inputs and labels: where they come from, how views are made of them, in which order they come.

A data set is one `Dataset`, registered by name; it loads `Content`, which makes `Samples` on a
device, from which the streams take batches. Nothing slow to load (torch, scikit-learn, Pillow)
is imported by a data set before its content is asked for; nothing of losses, models, teachers
or training is imported at all.
"""

from kdlsr.data.dataset import Content, Dataset, Facts, datasets
from kdlsr.data.images import Images
from kdlsr.data.texts import Texts
from kdlsr.files.download import Progress

__all__ = ["Content", "Dataset", "Facts", "Images", "Progress", "Texts", "datasets"]
