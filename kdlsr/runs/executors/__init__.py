"""What runs a batch of jobs, here or in other processes, and waits for all of them.

An executor knows nothing of what a job computes, and no job of which executor runs it.
"""

from kdlsr.runs.executors.choice import choose_executor, configure_executor
from kdlsr.runs.executors.job import Capacity, Crash, Executor, Job, JobFunction

__all__ = [
    "Capacity",
    "Crash",
    "Executor",
    "Job",
    "JobFunction",
    "choose_executor",
    "configure_executor",
]
