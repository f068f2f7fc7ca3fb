"""What a run is, where it is stored, who may write it, and how it is brought to completion.

This room knows all below it (training, teachers, losses, models, data); no tables, pages or
printing enter here.
"""
