"""How much memory the machine has. What is done with it is for those who ask."""

import os


def total_memory() -> int:
    """Returns the bytes of the machine's memory, swap not counted."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
