"""A small HTTP server with ranges for the tests, which can be told to fail."""

import re
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class RangeServer(ThreadingHTTPServer):
    """Serves a folder on the loopback interface.

    Attributes:
        fault: "" for none, "slow", "stall", "cut", "error" or "whole" (ranges are ignored).
        failures: How many answers the fault is for; -1 for all from now on.
        latency: Seconds that a "slow" answer takes longer.
        asked: Paths of all requests.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.fault, self.failures, self.asked, self.latency = "", -1, [], 0.1

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def next_fault(self) -> str:
        if not self.failures:
            return ""
        self.failures -= 1
        return self.fault


class _Handler(BaseHTTPRequestHandler):
    disable_nagle_algorithm = True  # else each answer waits for an acknowledgement
    protocol_version = "HTTP/1.1"
    server: RangeServer

    def log_message(self, *args) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        self.server.asked.append(self.path)
        fault = self.server.next_fault() if self.server.fault else ""
        file = self.server.folder / self.path.lstrip("/")
        if fault == "stall":
            time.sleep(20)
        if fault == "slow":
            time.sleep(self.server.latency)
            fault = ""
        if fault in ("error", "stall") or not file.is_file():
            self.send_response(503 if fault else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        size = file.stat().st_size
        start, stop = 0, size
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if wanted and fault != "whole":
            start, stop = int(wanted[1]), min(int(wanted[2]) + 1, size)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{file.stat().st_mtime_ns}"')
        self.end_headers()
        if body:
            with file.open("rb") as opened:
                opened.seek(start)
                self.wfile.write(opened.read((stop - start) // (2 if fault == "cut" else 1)))
            self.close_connection = fault == "cut"


@contextmanager
def serving(folder: Path):
    server = RangeServer(folder)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
