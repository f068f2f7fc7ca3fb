"""Fetching an archive: resumed where it stopped, checked, and only then visible.

Knows HTTP and checksums, no data set.
"""

import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias

from kdlsr.config.errors import UserError
from kdlsr.files.locks import locked
from kdlsr.files.whole import disk_refusals, file_digest, publish

ATTEMPTS = 10
TIMEOUT_SECONDS = 30.0
PAUSE_SECONDS = 1.0
CHUNK_BYTES = 1 << 18

Progress: TypeAlias = Callable[[str, int, int], object]
"""Called with `(what, done, total)` as work goes on; a total of 0 is not known."""

# What urllib raises for refused connections, DNS, proxies, timeouts, broken replies, bad URLs.
NETWORK_ERRORS = (OSError, http.client.HTTPException, ValueError)


@dataclass(frozen=True)
class Archive:
    """A file to fetch.

    Attributes:
        urls: where it lies; tried in this order.
        filename: what it is called on disk.
        checksum: "md5:<hex>" or "sha256:<hex>".
        size: in bytes, where it is published.
    """

    urls: tuple[str, ...]
    filename: str
    checksum: str
    size: int | None = None


def fetch(archive: Archive, folder: Path, progress: Progress = lambda *_: None) -> Path:
    """Returns the path of the archive below `folder`, downloaded unless it is there.

    What was downloaded lies in `<filename>.part` until its checksum is right; an interrupted
    download is resumed from there, by this call while the server lets it, or by the next.

    Raises:
        UserError: it cannot be downloaded, it is not the file that was expected, or the
            folder cannot be written. The message says where to put it by hand.
    """
    target = folder / archive.filename
    if _present(archive, target):
        return target
    what = f"waiting for another process to download {archive.filename}"
    with locked(target, lambda: progress(what, 0, 0)):
        if not _present(archive, target):
            part = target.with_name(target.name + ".part")
            _obtain(archive, part, progress)
            with disk_refusals(target):
                publish(part, target)
    return target


def checksum_matches(path: Path, checksum: str) -> bool:
    """Returns whether the file's content has this "md5:<hex>" or "sha256:<hex>"."""
    algorithm, _, expected = checksum.partition(":")
    return file_digest(path, algorithm) == expected


def _present(archive: Archive, target: Path) -> bool:
    if not target.exists():
        return False
    if not checksum_matches(target, archive.checksum):
        raise UserError(
            f"{target} is damaged or another file (expected {archive.checksum}); "
            "delete it to have it downloaded again"
        )
    return True


def _obtain(archive: Archive, part: Path, progress: Progress) -> None:
    reasons = []
    for url in archive.urls:
        reason = _obtain_from(url, archive, part, progress)
        if reason is None:
            return
        reasons.append(f"{url}: {reason}")
    resume = "run again to go on, " if _size(part) else ""
    raise UserError(
        f"cannot download {archive.filename} ({'; '.join(reasons)}): {resume}put the file into "
        f"{part.parent} yourself ({archive.checksum}), or use dataset=digits, which needs none"
    )


def _obtain_from(url: str, archive: Archive, part: Path, progress: Progress) -> str | None:
    """Completes `part`; returns None, or why that was not possible.

    Tries again as long as that may help: after progress, or from the beginning where the old
    part turned out to belong to another file.
    """
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_SECONDS)
        before = _size(part)
        try:
            _stream(url, archive, part, progress)
        except NETWORK_ERRORS as error:
            reason = _describe(error)
            if _size(part) <= before and not (before and not _size(part)):
                break
            continue
        if checksum_matches(part, archive.checksum):
            return None
        part.unlink()
        reason = f"what came is not the file expected ({archive.checksum}) and was deleted"
        if not before:
            break
    return reason


def _stream(url: str, archive: Archive, part: Path, progress: Progress) -> None:
    """Appends to `part` what is missing of it, as far as the server goes along.

    Returning means that there is nothing more to come; the checksum then decides.
    """
    have = _size(part)
    if archive.size is not None and have >= archive.size:
        return
    headers = {"User-Agent": "kdlsr", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            return
        raise
    with response:
        start = _start(response, have, part)
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else 0
        if archive.size is not None and total not in (0, archive.size):
            raise ConnectionError(f"the server has {total} bytes, expected {archive.size}")
        with disk_refusals(part):
            file = part.open("r+b" if start else "wb")
        with file:
            file.seek(start)
            _copy(response, file, f"download {archive.filename}", total, progress)
    if _size(part) < total:
        raise ConnectionError(f"the connection closed after {_size(part)} of {total} bytes")


def _start(response: http.client.HTTPResponse, have: int, part: Path) -> int:
    """Returns the offset at which the reply's body belongs."""
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        return 0
    matched = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if matched is None or int(matched[1]) != have:
        part.unlink(missing_ok=True)
        raise ConnectionError("the server sent another range than asked for")
    return have


def _copy(
    response: http.client.HTTPResponse, file: IO[bytes], what: str, total: int, progress: Progress
) -> None:
    while chunk := response.read(CHUNK_BYTES):
        with disk_refusals(Path(file.name)):
            file.write(chunk)
            file.flush()
        progress(what, file.tell(), total)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _describe(error: Exception) -> str:
    reason = getattr(error, "reason", None) if isinstance(error, urllib.error.URLError) else None
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    return str(reason or error or type(error).__name__).replace("\n", " ")
