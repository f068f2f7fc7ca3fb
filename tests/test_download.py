"""The real downloading code, against a server on loopback that misbehaves as told."""

import hashlib
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import Loopback, serve

from kdlsr.config import UserError
from kdlsr.files import download, locked
from kdlsr.files.download import Archive, fetch

CONTENT = random.Random(0).randbytes(1_000_000)
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 5)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serve(Loopback(CONTENT)) as running:
        yield running


def archive_of(server: Loopback, checksum: str = MD5, size: int | None = len(CONTENT)) -> Archive:
    return Archive((server.url("set.zip"),), "set.zip", checksum, size)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_complete_download_is_checked_reported_and_nothing_else_is_left(
    server: Loopback, tmp_path: Path
) -> None:
    reports: list[tuple[str, int, int]] = []
    path = fetch(archive_of(server), tmp_path / "new", lambda *report: reports.append(report))
    assert path.read_bytes() == CONTENT
    assert names(tmp_path / "new") == ["set.zip"]
    assert reports[-1] == ("download set.zip", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in reports] == sorted(done for _, done, _ in reports)


def test_sha256_and_unknown_length_are_understood(server: Loopback, tmp_path: Path) -> None:
    server.chunked = True
    checksum = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
    assert fetch(archive_of(server, checksum, None), tmp_path).read_bytes() == CONTENT


def test_file_that_is_there_is_not_asked_for(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_bytes(CONTENT)
    fetch(archive_of(server), tmp_path)
    assert server.asked == []


def test_other_file_of_that_name_is_refused_and_kept(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"set\.zip is damaged or another file .*delete it"):
        fetch(archive_of(server), tmp_path)
    assert (tmp_path / "set.zip").read_bytes() == b"mine"
    assert server.asked == []


def test_interrupted_download_resumes_by_range_and_fetches_no_byte_twice(
    server: Loopback, tmp_path: Path
) -> None:
    server.cuts = [300_000, 200_000]
    assert fetch(archive_of(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-", "bytes=500000-"]
    assert server.sent == len(CONTENT)


def test_broken_download_keeps_its_part_for_the_next_run(server: Loopback, tmp_path: Path) -> None:
    server.cuts = [300_000, 0]
    with pytest.raises(UserError, match=r"closed after 300000 of 1000000 bytes\): run again to go"):
        fetch(archive_of(server), tmp_path)
    assert names(tmp_path) == ["set.zip.part"]
    server.asked.clear()
    assert fetch(archive_of(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=300000-"]
    assert server.sent == len(CONTENT)


def test_interrupt_from_the_keyboard_keeps_the_part(server: Loopback, tmp_path: Path) -> None:
    def press_ctrl_c(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(archive_of(server), tmp_path, press_ctrl_c)
    assert names(tmp_path) == ["set.zip.part"]
    assert fetch(archive_of(server), tmp_path).read_bytes() == CONTENT
    assert server.sent <= 2 * len(CONTENT)
    assert server.asked[-1] == f"bytes={download.CHUNK_BYTES}-"


def test_server_without_ranges_is_read_from_the_beginning(server: Loopback, tmp_path: Path) -> None:
    server.ranges = False
    server.cuts = [300_000]
    assert fetch(archive_of(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-"]
    assert server.sent == len(CONTENT) + 300_000


def test_other_range_than_asked_for_is_not_pasted_in(server: Loopback, tmp_path: Path) -> None:
    server.shift = 7
    (tmp_path / "set.zip.part").write_bytes(CONTENT[:1000])
    assert fetch(archive_of(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-", None]


def test_part_of_another_file_is_dropped_and_fetched_anew(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "set.zip.part").write_bytes(bytes(1000))
    assert fetch(archive_of(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-", None]


@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_complete_part_is_taken_even_if_nothing_is_left_to_send(
    server: Loopback, tmp_path: Path, size: int | None
) -> None:
    (tmp_path / "set.zip.part").write_bytes(CONTENT)
    assert fetch(archive_of(server, size=size), tmp_path).read_bytes() == CONTENT
    assert server.sent == 0


@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_part_longer_than_the_file_is_dropped(
    server: Loopback, tmp_path: Path, size: int | None
) -> None:
    (tmp_path / "set.zip.part").write_bytes(CONTENT + b"more")
    assert fetch(archive_of(server, size=size), tmp_path).read_bytes() == CONTENT


def test_altered_file_is_deleted_and_reported(server: Loopback, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with pytest.raises(UserError, match=r"not the file expected .* deleted") as error:
        fetch(archive_of(server), tmp_path)
    assert MD5 in str(error.value)
    assert names(tmp_path) == []


def test_truncated_file_is_never_visible(server: Loopback, tmp_path: Path) -> None:
    server.content = CONTENT[:-1]
    with pytest.raises(UserError, match="the server has 999999 bytes, expected 1000000"):
        fetch(archive_of(server), tmp_path)
    with pytest.raises(UserError, match="not the file expected"):
        fetch(archive_of(server, size=None), tmp_path)
    assert names(tmp_path) == []


def test_login_page_in_place_of_the_file_costs_no_part(server: Loopback, tmp_path: Path) -> None:
    server.content, server.ranges = b"<html>please log in</html>", False
    (tmp_path / "set.zip.part").write_bytes(CONTENT[:1000])
    with pytest.raises(UserError, match="the server has 26 bytes"):
        fetch(archive_of(server), tmp_path)
    assert (tmp_path / "set.zip.part").read_bytes() == CONTENT[:1000]


def assert_tells_all(error: UserError, folder: Path, reason: str) -> None:
    text = str(error)
    assert "\n" not in text
    for part in ("cannot download set.zip", reason, str(folder), MD5, "dataset=digits"):
        assert part in text


def test_missing_network_names_file_folder_checksum_and_digits(tmp_path: Path) -> None:
    with serve(Loopback()) as gone:
        archive = archive_of(gone)
    with pytest.raises(UserError) as error:
        fetch(archive, tmp_path)
    assert_tells_all(error.value, tmp_path, "refused")


def test_unknown_host_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(UserError) as error:
        fetch(Archive(("http://nowhere.example/set.zip",), "set.zip", MD5), tmp_path)
    assert_tells_all(error.value, tmp_path, "name resolution")


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "nonsense://x", "http://[bad"])
def test_bad_proxy_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(UserError) as error:
        fetch(Archive(("http://nowhere.example/set.zip",), "set.zip", MD5), tmp_path)
    assert_tells_all(error.value, tmp_path, "nowhere.example")


def test_silent_server_says_the_same(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.stall = True
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.1)
    with pytest.raises(UserError) as error:
        fetch(archive_of(server), tmp_path)
    assert_tells_all(error.value, tmp_path, "timed out")


@pytest.mark.parametrize("status", [404, 503])
def test_http_error_says_the_same(server: Loopback, tmp_path: Path, status: int) -> None:
    server.status = status
    with pytest.raises(UserError) as error:
        fetch(archive_of(server), tmp_path)
    assert_tells_all(error.value, tmp_path, f"HTTP {status}")


def test_next_address_is_tried(server: Loopback, tmp_path: Path) -> None:
    with serve(Loopback()) as gone:
        pass
    archive = Archive((gone.url("set.zip"), server.url("set.zip")), "set.zip", MD5)
    assert fetch(archive, tmp_path).read_bytes() == CONTENT


def test_folder_that_cannot_be_written_is_one_line(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="cannot write"):
        fetch(archive_of(server), tmp_path / "file" / "data")


def test_two_at_once_download_once(server: Loopback, tmp_path: Path) -> None:
    waits: list[str] = []
    paths: list[Path] = []

    def report(what: str, done: int, total: int) -> None:
        waits.append(what)

    def work() -> None:
        paths.append(fetch(archive_of(server), tmp_path, report))

    with locked(tmp_path / "set.zip", lambda: None) as held:
        assert held
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        while len(waits) < 2:
            pass
    for thread in threads:
        thread.join()
    assert len(paths) == 2
    assert "waiting for another process to download set.zip" in waits
    assert server.asked == [None]
    assert names(tmp_path) == ["set.zip"]


def test_killed_holder_blocks_nobody(server: Loopback, tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib\n"
        "from kdlsr.files import locked\n"
        "with locked(pathlib.Path(sys.argv[1]), lambda: None):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "set.zip")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert (tmp_path / "set.zip.lock").exists()
        holder.send_signal(signal.SIGKILL)
    assert fetch(archive_of(server), tmp_path).read_bytes() == CONTENT
    assert names(tmp_path) == ["set.zip"]
