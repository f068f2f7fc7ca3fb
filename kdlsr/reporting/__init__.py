"""What people see of runs: tables, figures and a page of what they gave.

`table_report` makes a report of a planned table, `any_runs/` of any runs: each says which cells
there are, and `summarise` gives those their statistics. `rendering`, `page`, `frame`, `figures/`
and `terminal` show a report; `publish` writes, prints and uploads it. Reads runs and their
results; nothing here may change a number.
"""
