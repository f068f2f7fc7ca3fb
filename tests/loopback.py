"""A web server on loopback whose faults a test can choose."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Loopback:
    """What is served under any path, how badly, and what was asked for.

    `cuts` says after how many bytes the connection closes, for one request after the other;
    when it is used up, requests are answered in full.
    """

    content: bytes = b""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    chunked: bool = False
    status: int = 200
    stall: bool = False
    shift: int = 0
    cuts: list[int] = field(default_factory=list)
    asked: list[str | None] = field(default_factory=list)
    sent: int = 0
    port: int = 0
    released: threading.Event = field(default_factory=threading.Event)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"


@contextmanager
def serve(loopback: Loopback) -> Iterator[Loopback]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            _answer(self, loopback)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    loopback.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield loopback
    finally:
        loopback.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(handler: BaseHTTPRequestHandler, loopback: Loopback) -> None:
    asked = handler.headers.get("Range")
    loopback.asked.append(asked)
    content = loopback.files.get(handler.path.rsplit("/", 1)[-1], loopback.content)
    if loopback.stall:
        loopback.released.wait(10)
        return
    if loopback.status != 200:
        handler.send_error(loopback.status)
        return
    start = 0
    if asked and loopback.ranges:
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
        if start >= len(content):
            handler.send_error(416)
            return
        start += loopback.shift
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    else:
        handler.send_response(200)
    body = content[start:]
    if not loopback.chunked:
        handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if loopback.cuts:
        body = body[: loopback.cuts.pop(0)]
    handler.wfile.write(body)
    loopback.sent += len(body)
