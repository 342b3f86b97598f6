"""`watch RUN`: serve a page that follows the run."""

import sys
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

from mae_core.errors import UserError
from mae_core.process import streams
from mae_core.report.page import Page, Section, part, render

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def is_own_name(host: str, header: str) -> bool:
    """Tell whether a server at `host` may be asked by a request's Host header.

    At loopback other names are refused: a web page elsewhere could have its own name point here.
    """
    return host not in LOOPBACK or header.rsplit(":", 1)[0].strip("[]") in LOOPBACK


class LivePage:
    """The page of a run, made anew where the run has gone on.

    Args:
        run: its folder.
        build: makes the page.
    """

    def __init__(self, run: Path, build: Callable[[], Page]) -> None:
        self._run, self._build, self._lock = run, build, Lock()
        self._html, self._made = b"", ""

    def version(self) -> str:
        """Return what changes when the run logs, saves or is scored."""
        files = ("log.jsonl", "provenance.json", "eval/scores.json", "checkpoints")
        return "-".join(str(_changed(self._run / name)) for name in files)

    def html(self) -> bytes:
        """Return the page as it is now; one request at a time makes it."""
        with self._lock:
            if self._made != (version := self.version()):
                self._html, self._made = render(self._page(), version).encode("utf-8", "replace"), version
            return self._html

    def _page(self) -> Page:
        """Build the page; a file that is being written is read again the next time."""
        try:
            return self._build()
        except Exception as error:  # whatever it is, the server stays and tells it
            body = [part("paragraph", f"{error}")]
            return Page(f"Run {self._run.name}", "The run cannot be read just now", "", [Section("Why", body)])


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def make_server(page: LivePage, host: str, port: int) -> ThreadingHTTPServer:
    """Bind a server of the page.

    Args:
        host: address to listen at; others than loopback let the network read the page.
        port: 0 takes a free one.

    Raises:
        UserError: the address cannot be had.
    """

    class Handler(BaseHTTPRequestHandler):
        server_version = "mae"

        def do_GET(self) -> None:
            if not is_own_name(host, self.headers.get("Host", "")):
                self.send_error(HTTPStatus.FORBIDDEN)
            elif self.path == "/version":
                self._send(page.version().encode(), "text/plain")
            elif self.path == "/":
                self._send(page.html(), "text/html; charset=utf-8")
            else:
                self.send_error(HTTPStatus.NOT_FOUND)

        def _send(self, body: bytes, kind: str) -> None:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Say nothing per request."""

    try:
        return ThreadingHTTPServer((host, port), Handler)
    except (OSError, OverflowError) as error:
        raise UserError(f"{host}:{port} cannot be listened at ({error}); choose another --port") from None


def watch(run: str, build: Callable[[], Page], host: str, port: int) -> None:
    """Serve a run's page until Ctrl-C."""
    with make_server(LivePage(Path(run), build), host, port) as server:
        streams.say(f"http://{host}:{server.server_address[1]}/ follows {run}; Ctrl-C ends it", sys.stdout)
        with suppress(KeyboardInterrupt):
            server.serve_forever()
