"""How files come to lie on disk: whole or not at all, locked, checked.

The only room that renames, or opens for writing, a file or folder that is to last. It knows
bytes, names and checksums, not what a file is about, and imports neither torch nor NumPy.
`kdlsr.files.download` is imported where it is used: what speaks HTTP is slow to load.
"""

from kdlsr.files.folders import (
    opened_log,
    remove_abandoned,
    remove_files,
    remove_folder,
    scratch_folder,
    whole_folder,
)
from kdlsr.files.locks import locked
from kdlsr.files.whole import (
    Guard,
    WholeFile,
    create_whole,
    disk_refusals,
    file_digest,
    parse_json,
    stream_digest,
    whole_file,
    write_json,
    write_whole,
)

__all__ = [
    "Guard",
    "WholeFile",
    "create_whole",
    "disk_refusals",
    "file_digest",
    "locked",
    "opened_log",
    "parse_json",
    "remove_abandoned",
    "remove_files",
    "remove_folder",
    "scratch_folder",
    "stream_digest",
    "whole_file",
    "whole_folder",
    "write_json",
    "write_whole",
]
