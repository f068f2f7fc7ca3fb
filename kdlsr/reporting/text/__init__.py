"""A report in words: Markdown, LaTeX, CSV, JSON, the terminal, and the wording of them all."""
