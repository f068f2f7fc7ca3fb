"""What people see: progress while runs go on, and tables of what they gave.

`summarise` turns a planned table, `any_runs/` any runs, into the values of `summary`, with the
claims of `statistics`; `text/`, `figures/` and `page/` render those, and `write` writes them.
It reads runs and their results; nothing here may change a number.
"""
