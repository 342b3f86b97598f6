"""Requests and their checks (WSGI, PEP 3333). A name or a path from outside is never used as one."""

import json
import sys
import traceback
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from http import HTTPStatus
from importlib import resources
from typing import Any
from urllib.parse import parse_qs

from mae_core.errors import UserError
from mae_core.report.watch import is_own_name
from mae_data.errors import DataError
from mae_pretrain.web.looks import Looks
from mae_pretrain.web.queue import Around, Busy, Queue

MAX_BYTES = 20 * 2**20  # of an image that is sent
PLACES = 16  # requests that may be computed or wait
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
_HEADERS = [
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
]
Environ = dict[str, Any]
Answer = tuple[HTTPStatus, str, bytes]


class Refused(Exception):
    """A request that is not answered; the message says why."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class Application:
    """Answers requests for one model.

    Args:
        looks: the model.
        host: address that is listened at; see `is_own_name`.
        around: makes the context of a computation.
    """

    def __init__(self, looks: Looks, host: str, around: Around = nullcontext) -> None:
        self._looks, self._host = looks, host
        self.queue = Queue(PLACES, around)
        self._files = {path: (kind, _read(package, file)) for path, (package, file, kind) in _FILES.items()}
        self._facts = json.dumps({**looks.facts(), "limit": MAX_BYTES}).encode()

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        status, kind, body = self._answer(environ)
        length = [("Content-Type", kind), ("Content-Length", str(len(body)))]
        start_response(f"{status.value} {status.phrase}", [*_HEADERS, *length])
        return [body if environ["REQUEST_METHOD"] != "HEAD" else b""]

    def _answer(self, environ: Environ) -> Answer:
        try:
            self._check_origin(environ)
            path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
            if path in ("/reconstruct", "/attend", "/classify"):
                _require(method == "POST", HTTPStatus.METHOD_NOT_ALLOWED, "send the image by POST")
                return HTTPStatus.OK, "application/json", json.dumps(self._look(path, environ)).encode()
            _require(method in ("GET", "HEAD"), HTTPStatus.METHOD_NOT_ALLOWED, "this address is only read")
            if path == "/facts":
                return HTTPStatus.OK, "application/json", self._facts
            _require(path in self._files, HTTPStatus.NOT_FOUND, "there is no such page")
            return HTTPStatus.OK, *self._files[path]
        except Refused as error:
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

    def _look(self, path: str, environ: Environ) -> Any:
        asked = parse_qs(environ.get("QUERY_STRING", ""), max_num_fields=10)
        data = _body(environ)
        if path == "/reconstruct":
            mask = asked.get("removed", [""])[0]
            ratio = _number(asked, "ratio", 0.75, lambda x: 0 < x < 1, "above 0 and below 1")
            seed = _number(asked, "seed", 0, lambda x: 0 <= x < 2**63 and x == int(x), "a whole number from 0")
            return self.queue.run(self._looks.reconstruct, data, ratio, int(seed), mask)
        return self.queue.run(self._looks.attend if path == "/attend" else self._looks.classify, data)


def _read(package: str, file: str) -> bytes:
    return resources.files(package).joinpath(file).read_bytes()


def _require(holds: bool, status: HTTPStatus, message: str) -> None:
    if not holds:
        raise Refused(status, message)


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
