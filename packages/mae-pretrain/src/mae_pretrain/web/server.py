"""The server: waitress reads requests, bounded in size, number and time, before the application sees them."""

import sys
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from mae_core.errors import UserError
from mae_core.process import log, streams
from mae_core.report.watch import LOOPBACK
from mae_core.training.precision import Precision, RoundedWeights
from mae_pretrain.web.application import MAX_BYTES, PLACES, Application
from mae_pretrain.web.looks import Looks

if TYPE_CHECKING:
    from waitress.server import BaseWSGIServer

NEEDED = 'the web demo needs waitress: pip install "mae-pretrain[demo]"'
IDLE_SECONDS = 20  # of a client that neither sends nor takes anything


def make_server(application: Application, host: str, port: int) -> "BaseWSGIServer":
    """Bind a server.

    Args:
        port: 0 takes a free one.

    Raises:
        UserError: waitress is not installed, or the address cannot be had.
    """
    try:
        from waitress.server import create_server
    except ImportError:
        raise UserError(NEEDED) from None
    limits = {"max_request_body_size": MAX_BYTES, "max_request_header_size": 16384, "connection_limit": 100}
    threads = PLACES + 4  # as many as wait for a computation, and some to say that no more may
    try:
        return create_server(
            application, host=host, port=port, threads=threads, ident="mae", channel_timeout=IDLE_SECONDS,
            cleanup_interval=5, **limits,
        )  # fmt: skip
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(f"{host}:{port} cannot be listened at ({error}); choose another --port") from None


def serve(path: str, host: str, port: int, amp: bool = False) -> None:
    """Serve a model until Ctrl-C."""
    precision = Precision(True, info=lambda line: streams.say(line, sys.stderr)) if amp else Precision(False)
    application = Application(Looks.load(path), host, partial(precision.autocast, RoundedWeights()))
    server = make_server(application, host, port)
    if host not in LOOPBACK:
        log.LOGGER.warning(f"whoever reaches {host} can send images to this model; leave --host out to keep it here")
    streams.say(f"http://{host}:{server.effective_port}/ shows {path}; Ctrl-C ends it", sys.stdout)
    # Beside the main thread, which heeds signals: waitress would take the exit that they ask for as its own.
    threading.Thread(target=server.run, daemon=True).start()
    try:
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
    finally:
        application.queue.close()
