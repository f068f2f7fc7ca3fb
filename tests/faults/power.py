"""Power cuts, replayed: what the disk would hold at every instant of a command, from its journal.

Only what was synced is sure to be there: the content of a file as it was when that file was last
synced, the names in a folder as they were when that folder was last synced. Of the names changed
since, none, the first half or all have reached the disk; of a content not synced, nothing.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from processes_with_faults import Change
from trials import Outcome, Scenario, Workshop

Tree = Mapping[str, bytes | None]  # None: a folder


@dataclass
class Inode:
    content: bytes = b""
    synced: bytes = b""
    is_folder: bool = False


@dataclass
class Disk:
    """What is there, by full path; and what of it a power cut leaves."""

    names: dict[str, Inode] = field(default_factory=dict)
    kept: dict[str, Inode] = field(default_factory=dict)
    pending: list[tuple[str, Inode | None]] = field(default_factory=list)  # None: removed

    def apply(self, change: Change, path: str, to: str, data: bytes) -> None:
        if change in (Change.OPEN, Change.MKDIR):
            if path not in self.names:
                self._name(path, Inode(is_folder=change == Change.MKDIR))
        elif change == Change.WRITE:
            self.names[path].content += data
        elif change == Change.FSYNC:
            self._sync(path)
        elif change == Change.RENAME:
            inode = self.names[path]
            self._name(to, inode)
            self._name(path, None)
        elif change == Change.LINK:
            self._name(to, self.names[path])
        elif change in (Change.UNLINK, Change.RMDIR):
            self._name(path, None)

    def _name(self, path: str, inode: Inode | None) -> None:
        if inode is None:
            self.names.pop(path, None)
        else:
            self.names[path] = inode
        self.pending.append((path, inode))

    def _sync(self, path: str) -> None:
        inode = self.names.get(path)
        if inode is not None and not inode.is_folder:
            inode.synced = inode.content
            return
        reached = [entry for entry in self.pending if entry[0].rpartition("/")[0] == path]
        self.pending = [entry for entry in self.pending if entry not in reached]
        _put(self.kept, reached)

    def after_a_cut(self) -> Iterator[Tree]:
        """Yields what may be found."""
        for reached in (0, len(self.pending) // 2, len(self.pending)):
            names = dict(self.kept)
            _put(names, self.pending[:reached])
            yield {p: None if i.is_folder else i.synced for p, i in names.items()}


def _put(names: dict[str, Inode], entries: list[tuple[str, Inode | None]]) -> None:
    for path, inode in entries:
        if inode is None:
            names.pop(path, None)
        else:
            names[path] = inode


def changes_of(journal: Path) -> Iterator[tuple[Change, str, str, bytes]]:
    """Reads what `shim.c` wrote down."""
    with journal.open("rb") as file:
        while head := file.readline():
            number, path, to, size = head.decode().rstrip("\n").split("\t")
            yield Change(int(number)), path, to, file.read(int(size))


def cuts_of(shop: Workshop, scenario: Scenario) -> Iterator[Tree]:
    """Yields the outputs that are left by a cut at each instant of a scenario, each once."""
    folder = shop.new_folder()
    journal = folder / "journal"
    shop.starter.run(folder, scenario.module, *scenario.arguments, journal=journal)
    root = f"{(folder / 'outputs').resolve()}"
    disk, seen = Disk(), set()
    for change, path, to, data in changes_of(journal):
        disk.apply(change, path, to, data)
        for tree in disk.after_a_cut():
            found = {p.removeprefix(root).lstrip("/"): content for p, content in tree.items()}
            key = hashlib.sha256(repr(sorted(found.items())).encode()).digest()
            if key not in seen:
                seen.add(key)
                yield found


def after_a_cut(shop: Workshop, scenario: Scenario, tree: Tree) -> Outcome:
    """Goes on from what a cut left; a run that was complete on the disk stays so."""
    folder = shop.new_folder()
    for name, content in tree.items():
        path = folder / "outputs" / name
        if content is None:
            path.mkdir(parents=True, exist_ok=True)
        elif path.parent.is_dir():  # else its folder was never synced, and it is gone with it
            path.write_bytes(content)
    return shop.to_the_end(folder, scenario, f"{scenario.name} after a power cut")
