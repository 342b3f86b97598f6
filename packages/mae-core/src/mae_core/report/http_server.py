"""The HTTP server of `watch` and `serve`: waitress bounds requests in size, number and time; and `watch`'s page."""

import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mae_core.errors import UserError
from mae_core.process import log, stdio
from mae_core.report.page import Page, Section, part, render

if TYPE_CHECKING:
    from waitress.server import BaseWSGIServer

NEEDED = "a page that is served needs waitress: pip install waitress"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
REST = 5  # times as long as making a page took, the run that it shows has the machine for itself
IDLE_SECONDS = 20  # until a client that neither sends nor takes anything is cut off
_HOST = re.compile(r"(?:\[([0-9a-f:]+)\]|([a-z0-9.-]+?)\.?)(?::[0-9]{1,5})?", re.IGNORECASE | re.ASCII)
Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]  # WSGI, PEP 3333


def is_own_name(host: str, header: str) -> bool:
    """Return whether a server at `host` answers a request with this Host header.

    At loopback other names are refused: a web page elsewhere could have its own name point here.
    """
    if host not in LOOPBACK:
        return True
    name = _HOST.fullmatch(header)
    return name is not None and (name[1] or name[2]).lower() in LOOPBACK


def respond(
    environ: Environ,
    start_response: StartResponse,
    status: HTTPStatus,
    kind: str,
    body: bytes,
    headers: Sequence[tuple[str, str]] = (),
) -> list[bytes]:
    """Return the body of an answer that no browser keeps or takes for another kind of content."""
    fixed = [("Content-Type", kind), ("Content-Length", str(len(body)))]
    fixed += [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]
    start_response(f"{status.value} {status.phrase}", [*fixed, *headers])
    return [body if environ["REQUEST_METHOD"] != "HEAD" else b""]


def make_server(
    application: Application, host: str, port: int, *, max_bytes: int = 0, threads: int = 4
) -> "BaseWSGIServer":
    """Bind a server.

    Args:
        host: address to listen at; others than loopback let the network in.
        port: 0 takes a free one.
        max_bytes: size of a request's body.
        threads: requests that are answered at a time.

    Raises:
        UserError: waitress is not installed, or the address cannot be had.
    """
    try:
        from waitress.server import create_server
    except ImportError:
        raise UserError(NEEDED) from None
    limits = {"max_request_body_size": max_bytes, "max_request_header_size": 16384, "connection_limit": 100}
    limits |= {"channel_timeout": IDLE_SECONDS, "cleanup_interval": 5}
    try:
        return create_server(application, host=host, port=port, threads=threads, ident="mae", **limits)
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(f"the server cannot listen at {host}:{port} ({error}); choose another --port") from None


def run_server(server: "BaseWSGIServer", host: str, what: str) -> None:
    """Serve until Ctrl-C.

    Args:
        host: as the server was bound.
        what: what the page does, as in "follows runs/latest".
    """
    if host not in LOOPBACK:
        log.LOGGER.warning(f"every machine that reaches {host} can use this page; leave --host out to keep it here")
    stdio.print_line(f"http://{host}:{server.effective_port}/ {what}; Ctrl-C ends it", sys.stdout)
    # Beside the main thread, which heeds signals: waitress would take the exit that they ask for as its own.
    threading.Thread(target=server.run, daemon=True).start()
    with suppress(KeyboardInterrupt):
        threading.Event().wait()


class LivePage:
    """The page of a run, made anew where the run has gone on.

    Args:
        run: its folder.
        build: makes the page.
        host: address that is listened at; see `is_own_name`.
    """

    def __init__(self, run: Path, build: Callable[[], Page], host: str) -> None:
        self._run, self._build, self._host, self._lock = run, build, host, threading.Lock()
        self._html, self._made, self._rests_until = b"", "", 0.0

    def __call__(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        status, kind, body = HTTPStatus.OK, "text/plain", b""
        if not is_own_name(self._host, environ.get("HTTP_HOST", "")):
            status = HTTPStatus.FORBIDDEN
        elif environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            status = HTTPStatus.METHOD_NOT_ALLOWED
        elif environ["PATH_INFO"] == "/version":
            body = self.version().encode()
        elif environ["PATH_INFO"] == "/":
            kind, body = "text/html; charset=utf-8", self.html()
        else:
            status = HTTPStatus.NOT_FOUND
        return respond(environ, start_response, status, kind, body)

    def version(self) -> str:
        """Return what changes when the run logs, saves or is scored, unless the page was made just now."""
        if time.monotonic() < self._rests_until:
            return self._made
        files = ("log.jsonl", "provenance.json", "eval/scores.json", "checkpoints")
        return "-".join(str(_changed(self._run / name)) for name in files)

    def html(self) -> bytes:
        """Return the page as it is now; one request at a time makes it."""
        with self._lock:
            if self._made != (version := self.version()):
                started = time.monotonic()
                self._html, self._made = render(self._page(), version).encode("utf-8", "replace"), version
                self._rests_until = time.monotonic() + REST * (time.monotonic() - started)
            return self._html

    def _page(self) -> Page:
        """Build the page; a file that is being written is read again the next time."""
        try:
            return self._build()
        except Exception as error:  # whatever it is, the server stays and shows it
            body = [part("paragraph", f"{error}")]
            return Page(f"Run {self._run.name}", "The run cannot be read just now", "", [Section("Why", body)])


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def watch(run: str, build: Callable[[], Page], host: str, port: int) -> None:
    """Serve a run's page until Ctrl-C."""
    run_server(make_server(LivePage(Path(run), build, host), host, port), host, f"follows {run}")
