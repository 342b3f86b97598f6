"""The HTTP server of `watch` and `serve`: waitress bounds requests in size, number and time, and a function answers."""

import re
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from mae_core.errors import UserError
from mae_core.process import log, stdio

if TYPE_CHECKING:
    from waitress.server import BaseWSGIServer

NEEDED = "a page that is served needs waitress: pip install waitress"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
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
