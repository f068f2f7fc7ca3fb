"""Reports on runs of no table: which runs, how they are grouped, what they are held against."""
