"""A local server of files that misbehaves as servers of files do.

>>> with FileServer({"/a.jpg": Served(data, truncate_after=100)}) as server:
...     server.url("/a.jpg"), server.asked
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """`statuses` are answered first, one a request; then `times` requests misbehave as the rest says, and later ones
    do not."""

    data: bytes = b""
    statuses: list[int] = field(default_factory=list)
    retry_after: str = ""
    times: int = 1_000_000
    truncate_after: int | None = None  # bytes, and the connection is closed
    stall_after: int | None = None  # bytes, and nothing more comes
    dribble: bool = False  # a byte now and then
    declared: int | None = None  # what Content-Length says
    endless: bool = False
    redirect: str = ""
    kind: str = "application/octet-stream"
    etag: str = '"one"'
    encoding: str = ""
    ranges: bool = True
    shifted: bool = False  # another range than was asked for


class FileServer:
    def __init__(self, files: dict[str, Served]):
        self.files = files
        self.asked: list[tuple[str, str]] = []  # (path, Range)
        self.together = self.most_together = 0
        self.lock = threading.Lock()
        self.over = threading.Event()

    def __enter__(self) -> FileServer:
        home = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                with home.lock:
                    home.asked.append((self.path, self.headers.get("Range", "")))
                    home.together += 1
                    home.most_together = max(home.most_together, home.together)
                time.sleep(0.01)  # while whoever asks still waits, so that requests that run at once are seen to
                with home.lock:
                    home.together -= 1
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    home.answer(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        served = self.files.get(handler.path)
        status = 404 if served is None else served.statuses.pop(0) if served.statuses else 200
        if status != 200 or served is None:
            handler.send_response(status)
            if served and served.retry_after:
                handler.send_header("Retry-After", served.retry_after)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        bad, served.times = served.times > 0, served.times - 1
        if served.redirect and bad:
            handler.send_response(302)
            handler.send_header("Location", served.redirect)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        start = 0
        wanted, same = handler.headers.get("Range", ""), handler.headers.get("If-Range", "") == served.etag
        if wanted and same and served.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(served.data):
                handler.send_response(416)
                handler.send_header("Content-Length", "0")
                handler.end_headers()
                return
            start += served.shifted
        data = served.data[start:]
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(served.data) - 1}/{len(served.data)}")
        handler.send_header("Content-Type", served.kind)
        handler.send_header("ETag", served.etag)
        if served.encoding:
            handler.send_header("Content-Encoding", served.encoding)
        if not served.endless:
            length = served.declared if served.declared is not None and bad else len(data)
            handler.send_header("Content-Length", str(length))
        else:
            handler.send_header("Connection", "close")
        handler.end_headers()
        if not bad:
            handler.wfile.write(data)
            return
        handler.close_connection = True
        if served.endless:
            while not self.over.is_set():
                handler.wfile.write(b"x" * 100_000)
        if served.dribble:
            for byte in data:
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
                if self.over.wait(0.05):
                    return
            return
        until = served.truncate_after if served.truncate_after is not None else served.stall_after
        handler.wfile.write(data[:until])
        handler.wfile.flush()
        if served.stall_after is not None:
            self.over.wait(30)
