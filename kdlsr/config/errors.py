"""The two ways a command can end badly without a bug of ours."""


class UserError(Exception):
    """A mistake that the user can mend: its text is one line saying what and how.

    Only an entry point's `main()` turns it into that line on stderr and exit code 2.
    """


class RunFailed(Exception):
    """A run that started and could not be completed (a non-finite loss, say): exit code 1."""


class LostRun(RunFailed):
    """A run that another process took over: nothing more of it may be written here."""
