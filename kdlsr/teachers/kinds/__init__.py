"""The kinds of teachers, a module each: a run, a file, timm's weights, the student's past.

Adding one takes a file here (or in another distribution, by the entry point group
`kdlsr.teachers`) and one in `conf/teacher/`.
"""
