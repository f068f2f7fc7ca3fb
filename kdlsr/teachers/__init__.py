"""Where soft targets come from: kinds of teachers, their networks and what these answered.

How a run that teaches is found or trained is the business of `runs/`. Nothing is imported here:
the command that lists stored outputs needs no torch.
"""
