"""Who watches a run: a display, its tracker, a clock. A run goes the same with nobody watching.

A watcher is told what happens and decides nothing: whatever becomes of it (a terminal that is
gone, a full disk behind a log), the run goes on to the same bits.
"""

from kdlsr.progress.watching import NobodyWatching, RunWatch, WatchedRun, Watcher, watching

__all__ = ["NobodyWatching", "RunWatch", "WatchedRun", "Watcher", "watching"]
