"""The two ways a command can end badly without a bug of ours."""


class UserError(Exception):
    """A mistake that the user can mend: its text is one line saying what and how.

    Only an entry point's `main()` turns it into that line on stderr and exit code 2.
    """


class RunFailed(Exception):
    """A run that started and could not be completed (a non-finite loss, say): exit code 1."""


class LostRun(RunFailed):
    """A run that another process took over: nothing more of it may be written here."""


def in_a_line(error: BaseException) -> str:
    """Returns what an error says, its first line; its kind too, unless that is in the words."""
    if isinstance(error, OSError) and error.strerror:
        named = f"{error.filename}: " if error.filename else ""
        return f"{named}{error.strerror}"
    first = next(iter(str(error).strip().splitlines()), "")
    is_told = isinstance(error, UserError | RunFailed) and first
    return first if is_told else f"{type(error).__name__}: {first}".rstrip(": ")
