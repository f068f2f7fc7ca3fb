"""`studies: [confidence]`: in which direction does each regime move a network's confidence?

The question of Sultan (EMNLP 2023, arXiv 2301.12609), whose tables are not known to us: knowledge
distillation and label smoothing move confidence in opposite directions, and a student inherits its
teacher's. Here it is put to any table, of any data: baselines are the references (ERM), and every
other cell is held against the one of its own network.

In here may come: the study's values, what computes them from runs and their files, and how they
are shown. What may not: anything that knows what a sample is.
"""

from kdlsr.reporting.studies import Studied, studies
from kdlsr.reporting.studies.confidence.regimes import study_confidence
from kdlsr.reporting.studies.confidence.section import section
from kdlsr.reporting.study import Study


@studies.register("confidence")
def confidence(studied: Studied) -> Study:
    """Returns the study's section: verdicts, tables, figures."""
    return section(study_confidence(studied.cells))
