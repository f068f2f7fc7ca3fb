"""Images and labels: where they come from, how they are augmented, in which order they stream.

A data set is one `Source`, registered by name. Nothing slow to load (torch, torchvision,
scikit-learn, Pillow) is imported by this room's sources before pixels are asked for; nothing
of losses, models, teachers or training is imported at all.
"""

from kdlsr.data.source import Facts, ImageSet, Source, datasets

__all__ = ["Facts", "ImageSet", "Source", "datasets"]
