"""Requests and their checks (WSGI, PEP 3333). A name or a path from outside is never used as one."""

import json
import sys
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from http import HTTPStatus
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from mae_core.errors import UserError
from mae_core.process import stdio
from mae_core.report import http_server
from mae_core.report.http_server import Environ, StartResponse, is_own_name, respond
from mae_core.training.precision import Precision, RoundedWeights
from mae_data.errors import DataError
from mae_pretrain.web.queue import Around, Busy, Queue
from mae_pretrain.web.served_model import ServedModel

if TYPE_CHECKING:
    from waitress.server import BaseWSGIServer

MAX_BYTES = 20 * 2**20  # of an image that is sent
PLACES = 16  # requests that may be computed or wait
STOP_SECONDS = 4  # that a computation has to end in when the server is stopped
_FILES = {
    "/": ("mae_pretrain.web", "page/index.html", "text/html; charset=utf-8"),
    "/page.js": ("mae_pretrain.web", "page/page.js", "text/javascript; charset=utf-8"),
    "/patches.js": ("mae_pretrain.web", "page/patches.js", "text/javascript; charset=utf-8"),
    "/page.css": ("mae_pretrain.web", "page/page.css", "text/css; charset=utf-8"),
    "/style.css": ("mae_core.report", "templates/style.css", "text/css; charset=utf-8"),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (("Content-Security-Policy", _POLICY), ("Referrer-Policy", "no-referrer"))
Answer = tuple[HTTPStatus, str, bytes]


class RequestError(Exception):
    """A request that is refused; the message names the reason."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class Application:
    """Answers requests for one model.

    Args:
        model: what computes the answers.
        host: address that is listened at; see `is_own_name`.
        around: makes the context of a computation.
    """

    def __init__(self, model: ServedModel, host: str, around: Around = nullcontext) -> None:
        self._model, self._host = model, host
        self.queue = Queue(PLACES, around)
        self._files = {
            path: (kind, resources.files(package).joinpath(file).read_bytes())
            for path, (package, file, kind) in _FILES.items()
        }
        self._files["/model"] = "application/json", json.dumps({**model.describe(), "limit": MAX_BYTES}).encode()

    def make_server(self, port: int) -> "BaseWSGIServer":
        """Bind a server; see `http_server.make_server`."""
        threads = PLACES + 4  # as many as wait for a computation, and some that answer that no more may
        return http_server.make_server(self, self._host, port, max_bytes=MAX_BYTES, threads=threads)

    def __call__(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        return respond(environ, start_response, *self._answer(environ), _HEADERS)

    def _answer(self, environ: Environ) -> Answer:
        try:
            self._check_origin(environ)
            path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
            if path in ("/reconstruct", "/attend", "/classify"):
                _require(method == "POST", HTTPStatus.METHOD_NOT_ALLOWED, "send the image by POST")
                return HTTPStatus.OK, "application/json", json.dumps(self._compute(path, environ)).encode()
            _require(method in ("GET", "HEAD"), HTTPStatus.METHOD_NOT_ALLOWED, "this address is only read")
            _require(path in self._files, HTTPStatus.NOT_FOUND, "there is no such page")
            return HTTPStatus.OK, *self._files[path]
        except RequestError as error:
            return _refusal(error.status, str(error))
        except (UserError, DataError) as error:
            return _refusal(HTTPStatus.BAD_REQUEST, str(error))
        except Busy:
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, "many ask at the moment; try again in a few seconds")
        except Exception:
            traceback.print_exc(file=sys.stderr)
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "this could not be computed; the console says why")

    def _check_origin(self, environ: Environ) -> None:
        host, origin = environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN")
        _require(is_own_name(self._host, host), HTTPStatus.FORBIDDEN, "this server is asked by another name")
        same = origin in (None, f"http://{host}") and environ.get("HTTP_SEC_FETCH_SITE") != "cross-site"
        _require(same, HTTPStatus.FORBIDDEN, "another web page may not ask this server")

    def _compute(self, path: str, environ: Environ) -> Any:
        asked = parse_qs(environ.get("QUERY_STRING", ""), max_num_fields=10)
        data = _body(environ)
        if path == "/reconstruct":
            mask = asked.get("removed", [""])[0]
            ratio = _number(asked, "ratio", 0.75, lambda x: 0 < x < 1, "above 0 and below 1")
            seed = _number(asked, "seed", 0, lambda x: 0 <= x < 2**63 and x == int(x), "a whole number from 0")
            return self.queue.run(self._model.reconstruct, data, ratio, int(seed), mask)
        return self.queue.run(self._model.attend if path == "/attend" else self._model.classify, data)


def _require(holds: bool, status: HTTPStatus, message: str) -> None:
    if not holds:
        raise RequestError(status, message)


def _refusal(status: HTTPStatus, message: str) -> Answer:
    return status, "application/json", json.dumps({"error": message}).encode()


def _body(environ: Environ) -> bytes:
    """Read the image; the server has bounded it."""
    kind = environ.get("CONTENT_TYPE", "").split(";")[0].strip().lower()
    fits = kind == "application/octet-stream" or kind.startswith("image/")
    _require(fits, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send the image's bytes alone, as application/octet-stream")
    data: bytes = environ["wsgi.input"].read(MAX_BYTES + 1)
    _require(len(data) <= MAX_BYTES, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MAX_BYTES >> 20} MB")
    _require(bool(data), HTTPStatus.BAD_REQUEST, "no image was sent")
    return data


def _number(asked: dict[str, list[str]], name: str, default: float, fits: Callable[[float], bool], what: str) -> float:
    text = asked.get(name, [str(default)])[0]
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    _require(fits(value), HTTPStatus.BAD_REQUEST, f"{name} is {text[:40]!r}; give {what}")
    return value


def serve_model(path: str, host: str, port: int, amp: bool = False) -> None:
    """Serve a model until Ctrl-C."""
    precision = Precision(True, info=lambda line: stdio.print_line(line, sys.stderr)) if amp else Precision(False)
    application = Application(ServedModel.load(path), host, partial(precision.autocast, RoundedWeights()))
    try:
        http_server.run_server(application.make_server(port), host, f"shows {path}")
    finally:
        application.queue.close(STOP_SECONDS)
