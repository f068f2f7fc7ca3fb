"""The kinds of teachers, a module each: a run of this suite, a file, timm's pretrained weights.

Adding one takes a file here (or in another distribution, by the entry point group
`kdlsr.teachers`) and one in `conf/teacher/`.
"""
