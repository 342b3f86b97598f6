"""`watch RUN`: run_server a page that follows the run."""

from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from threading import Lock

from mae_core.report.http_server import Environ, StartResponse, is_own_name, make_server, respond, run_server
from mae_core.report.page import Page, Section, part, render


class LivePage:
    """The page of a run, made anew where the run has gone on.

    Args:
        run: its folder.
        build: makes the page.
        host: address that is listened at; see `is_own_name`.
    """

    def __init__(self, run: Path, build: Callable[[], Page], host: str) -> None:
        self._run, self._build, self._host, self._lock = run, build, host, Lock()
        self._html, self._made = b"", ""

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
