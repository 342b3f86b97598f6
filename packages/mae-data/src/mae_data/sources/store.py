"""Where shards lie: a folder on disk, or an address that fsspec can read (http, s3, gs, ...)."""

import os
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from mae_data.errors import DataError, InputError, StoreError

TIMEOUT = 60.0
TRIES_IN_TIME = 3  # a try that hangs leaves time for two others
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0
NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError")
FINAL_STATUS = (401, 403, 404, 410)  # of http
Result = TypeVar("Result")


class Store(Protocol):
    """A place whose files can be read in parts."""

    def read(self, name: str, start: int, size: int) -> bytes:
        """Return `size` bytes of a file from `start`; fewer where it ends before."""
        ...

    def state(self, name: str) -> tuple[int, str]:
        """Return a file's size, and a text that changes with its content; "" where the place knows none."""
        ...


class LocalStore:
    """A folder on disk.

    Args:
        root: the folder.
    """

    def __init__(self, root: str) -> None:
        self.root = root

    def read(self, name: str, start: int, size: int) -> bytes:
        """Return `size` bytes of a file from `start`; fewer where it ends before."""
        try:
            with open(os.path.join(self.root, name), "rb", buffering=0) as file:
                file.seek(start)
                return file.read(size)
        except OSError as error:
            raise StoreError(f"{os.path.join(self.root, name)}: cannot read the shard ({error.strerror})") from error

    def state(self, name: str) -> tuple[int, str]:
        """Return a file's size and time."""
        try:
            found = os.stat(os.path.join(self.root, name))
        except OSError as error:
            raise StoreError(f"{os.path.join(self.root, name)}: cannot find the file ({error.strerror})") from error
        return found.st_size, str(found.st_mtime_ns)


class RemoteStore:
    """A folder at an address, read by ranges; what fails is tried again.

    Each process makes its own connections, when it first reads: they do not survive a fork.

    Args:
        url: the address of the folder.
        timeout: seconds until an answer must have come, all tries included.

    Raises:
        InputError: fsspec, or what it needs for this kind of address, is not installed.
    """

    def __init__(self, url: str, timeout: float = TIMEOUT) -> None:
        self.root = url.rstrip("/")
        self.timeout = timeout
        self._pid = -1
        self._files: Any = None
        self.connect()

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_pid": -1, "_files": None}

    def read(self, name: str, start: int, size: int) -> bytes:
        """Return `size` bytes of a file from `start`; fewer where it ends before."""
        address = f"{self.root}/{name}"
        data = self._insist(address, lambda files: bytes(files.cat_file(address, start=start, end=start + size)))
        if len(data) > size:
            raise StoreError(
                f"{address}: the server sends the whole file and not the part asked for; use another server"
            )
        return data

    def state(self, name: str) -> tuple[int, str]:
        """Return a file's size, and its ETag or time where the store has one."""
        address = f"{self.root}/{name}"
        info = self._insist(address, lambda files: dict(files.info(address)))
        if not isinstance(info.get("size"), int):
            raise StoreError(f"{address}: the server does not give the file's size; use another server")
        return info["size"], str(next((info[key] for key in ("ETag", "LastModified", "mtime") if info.get(key)), ""))

    def connect(self) -> Any:
        """Return the file system of this process, made at the first call."""
        if self._pid != os.getpid():
            try:
                import fsspec

                self._files = fsspec.core.url_to_fs(self.root)[0]
            except (ImportError, ValueError) as error:  # ValueError: a kind of address that nothing knows
                raise InputError(
                    f'{self.root}: {error}; pip install "mae-data[remote]", or what fsspec needs for this address'
                ) from error
            self._pid = os.getpid()
        return self._files

    def _insist(self, address: str, ask: Callable[[Any], Result]) -> Result:
        """Ask until there is an answer or the time is over."""
        end, pause, tries = time.monotonic() + self.timeout, FIRST_PAUSE, 0
        while True:
            tries += 1
            try:
                return _in_time(lambda: ask(self.connect()), min(self.timeout / TRIES_IN_TIME, end - time.monotonic()))
            except DataError:
                raise
            except Exception as error:  # each kind of store has errors of its own
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
                if _is_final(error):
                    raise StoreError(f"{address}: no such file, or no permission to read it ({reason})") from error
                if time.monotonic() + pause >= end:
                    raise StoreError(
                        f"{address}: no answer within {self.timeout:g} seconds and {tries} tries ({reason}); "
                        "check the store and the network, then resume"
                    ) from error
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def _is_final(error: Exception) -> bool:
    """Return whether another try would meet the same error."""
    if type(error).__name__ in NO_CREDENTIALS:
        return True
    # fsspec raises FileNotFoundError for a web server that is down, too; the error behind it is of aiohttp then.
    cause = error.__cause__
    lost = type(cause).__module__.startswith("aiohttp") and getattr(cause, "status", None) not in FINAL_STATUS
    return isinstance(error, FileNotFoundError | PermissionError) and not lost


def _in_time(call: Callable[[], Result], seconds: float) -> Result:
    """Return what a call returns, or raise TimeoutError; a call that hangs is left behind in its thread."""
    answer: list[Result] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            answer.append(call())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(max(seconds, 0.01))
    if failure:
        raise failure[0]
    if not answer:
        raise TimeoutError(f"it gave no answer for {seconds:.3g} seconds")
    return answer[0]


def open_store(root: str | os.PathLike[str], timeout: float = TIMEOUT) -> LocalStore | RemoteStore:
    """Open a folder, or an address (`protocol://...`)."""
    where = os.fspath(root)
    return RemoteStore(where, timeout) if is_address(where) else LocalStore(where)


def is_address(root: str | os.PathLike[str]) -> bool:
    """Return whether a place is an address and no folder."""
    return "://" in os.fspath(root)
