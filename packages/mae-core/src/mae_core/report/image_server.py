"""A page on images, served: requests and their checks (WSGI, PEP 3333). No name or path from outside is used as one."""

import base64
import json
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from http import HTTPStatus
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mae_core.errors import UserError
from mae_core.files import png_bytes
from mae_core.report import http_server
from mae_core.report.http_server import Environ, StartResponse, is_own_name, respond
from mae_core.report.queue import Around, Busy, Queue

if TYPE_CHECKING:
    from waitress.server import BaseWSGIServer

MAX_BYTES = 20 * 2**20  # of an image that is sent
MAX_PIXELS = 50_000_000  # of one; larger ones are refused from their header
PLACES = 16  # requests that may be computed or wait
STOP_SECONDS = 4  # that a computation has to end in when the server is stopped
File = tuple[str, str, str]  # package, path in it, kind of content
_SHARED: dict[str, File] = {
    "/image_page.js": ("mae_core.report", "templates/image_page.js", "text/javascript; charset=utf-8"),
    "/image_page.css": ("mae_core.report", "templates/image_page.css", "text/css; charset=utf-8"),
    "/style.css": ("mae_core.report", "templates/style.css", "text/css; charset=utf-8"),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (("Content-Security-Policy", _POLICY), ("Referrer-Policy", "no-referrer"))
Asked = dict[str, list[str]]  # the words behind the ? of an address
Answers = Mapping[str, Callable[[bytes, Asked], Any]]
Answer = tuple[HTTPStatus, str, bytes]


class RequestError(Exception):
    """A request that is refused; the message names the reason."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class ImageServer:
    """Answers requests on images, one after the other.

    Args:
        answers: by address, what makes plain values of an image file's bytes and of what else was asked.
        about: facts on the model, which the page asks for.
        files: what the page consists of, by address.
        host: address that is listened at; see `is_own_name`.
        around: makes the context of a computation.
    """

    def __init__(
        self,
        answers: Answers,
        about: Mapping[str, object],
        files: Mapping[str, File],
        host: str,
        around: Around = nullcontext,
    ) -> None:
        self._answers, self._host = answers, host
        self.queue = Queue(PLACES, around)
        self._files = {
            address: (kind, resources.files(package).joinpath(file).read_bytes())
            for address, (package, file, kind) in {**_SHARED, **files}.items()
        }
        self._files["/model"] = "application/json", json.dumps({**about, "limit": MAX_BYTES}).encode()

    def make_server(self, port: int) -> "BaseWSGIServer":
        """Bind a server; see `http_server.make_server`."""
        threads = PLACES + 4  # as many as wait for a computation, and some that answer that no more may
        return http_server.make_server(self, self._host, port, max_bytes=MAX_BYTES, threads=threads)

    def run(self, port: int, what: str) -> None:
        """Serve until Ctrl-C; see `http_server.run_server`."""
        try:
            http_server.run_server(self.make_server(port), self._host, what)
        finally:
            self.queue.close(STOP_SECONDS)

    def __call__(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        return respond(environ, start_response, *self._answer(environ), _HEADERS)

    def _answer(self, environ: Environ) -> Answer:
        try:
            self._check_origin(environ)
            path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
            if path in self._answers:
                _require(method == "POST", HTTPStatus.METHOD_NOT_ALLOWED, "send the image by POST")
                asked = parse_qs(environ.get("QUERY_STRING", ""), max_num_fields=10)
                computed = self.queue.run(self._answers[path], _body(environ), asked)
                return HTTPStatus.OK, "application/json", json.dumps(computed).encode()
            _require(method in ("GET", "HEAD"), HTTPStatus.METHOD_NOT_ALLOWED, "this address is only read")
            _require(path in self._files, HTTPStatus.NOT_FOUND, "there is no such page")
            return HTTPStatus.OK, *self._files[path]
        except RequestError as error:
            return _refusal(error.status, str(error))
        except Busy:
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, "many ask at the moment; try again in a few seconds")
        except Exception as error:
            if hasattr(error, "exit_code"):  # the user's to mend
                return _refusal(HTTPStatus.BAD_REQUEST, str(error))
            traceback.print_exc(file=sys.stderr)
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "this could not be computed; the console says why")

    def _check_origin(self, environ: Environ) -> None:
        host, origin = environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN")
        _require(is_own_name(self._host, host), HTTPStatus.FORBIDDEN, "this server is asked by another name")
        same = origin in (None, f"http://{host}") and environ.get("HTTP_SEC_FETCH_SITE") != "cross-site"
        _require(same, HTTPStatus.FORBIDDEN, "another web page may not ask this server")


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


def asked_number(asked: Asked, name: str, default: float, fits: Callable[[float], bool], what: str) -> float:
    """Return a number that was asked for.

    Args:
        what: the numbers that `fits` takes, in words.

    Raises:
        UserError: it is none of these.
    """
    text = asked.get(name, [str(default)])[0]
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not fits(value):
        raise UserError(f"{name} is {text[:40]!r}; give {what}")
    return value


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """Write pixels [H, W, 1, 3 or 4] as a PNG that stands in the page."""
    picture = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    return "data:image/png;base64," + base64.b64encode(png_bytes(picture.save)).decode()


def taken_images(channels: int, value_range: float | Sequence[float], bands: Sequence[int | str] | None = None) -> str:
    """Say which image files a model takes, for visitors of its page.

    Args:
        channels: of the model.
        value_range: the white of integers, or the ends of floats.
        bands: those that are taken of each file; None: all.
    """
    if not isinstance(value_range, int | float):
        depth = "floating-point numbers from {:g} to {:g}".format(*value_range)
    else:
        depth = "8-bit numbers" if value_range <= 255 else f"16-bit numbers, of which {value_range:g} is white"
    if bands is not None:
        return f"TIFF or NumPy (.npy) of {depth}, with the bands {', '.join(map(str, bands))}"
    if depth == "8-bit numbers" and channels in (1, 3):
        return f"JPEG, PNG, WebP, GIF, BMP, TIFF or NumPy (.npy) of {depth}, in colour or grey"
    files = "PNG, TIFF or NumPy (.npy)" if channels == 1 and "16-bit" in depth else "TIFF or NumPy (.npy)"
    return f"{files} of {depth}, with {channels} channel{'s' if channels > 1 else ''}"


def unusable(reason: str, taken: str) -> str:
    """Say to a visitor that an image cannot be used; flags are for who serves the page, and left out.

    Args:
        reason: as commands say it.
        taken: see `taken_images`.
    """
    said = re.split("[:;] ", reason)[0] if " --" in reason or "(--" in reason else reason
    return f"this is no image that can be used: {said}; the model takes {taken}"


def name_of(path: Path) -> str:
    """Return what a run, one of its checkpoints or a file is called on the page."""
    path = path.resolve()
    return f"{path.parents[1].name}, {path.name}" if path.parent.name == "checkpoints" else path.name
