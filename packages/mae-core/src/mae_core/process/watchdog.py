"""Ranks that end together: one that fails, is killed or hangs is named, and all exit with its code.

Collectives know of no causes: where one rank is lost, the others wait, or fail of "connection reset". So each rank
holds a connection of its own to rank 0. A thread at either end sends a sign of life each second and ends its process
when rank 0 says so; it does so even while the main thread waits for another rank in compiled code.
"""

import json
import math
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

from mae_core.process.heartbeat import EFFECT, GONE, LIMIT_SECONDS, OWN_FAULT, Cause, Signs, hung

SIGN_SECONDS = 1.0
SETTLE_SECONDS = 1.5  # one failure causes others: the cause may be told after its effects


class Line:
    """A connection that carries JSON objects, one a line."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; one that nobody hears is dropped."""
        with self._lock, suppress(OSError):
            self.connection.sendall(json.dumps(message).encode() + b"\n")

    def listen(self, heard: Callable[[dict[str, Any]], None]) -> None:
        """Pass on each message until the other side is gone."""
        with suppress(OSError, ValueError), self.connection.makefile("r", encoding="utf-8") as lines:
            for line in lines:
                heard(json.loads(line))
        with suppress(OSError):
            self.connection.close()


class RankWatch:
    """This rank's part in it.

    Args:
        rank, world_size: this process and how many there are.
        before_leaving: called once before the process is ended from outside its main thread.
    """

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size
        self.before_leaving: Callable[[], None] = lambda: None
        self.own = Signs(f"rank {rank} on {socket.gethostname()} (pid {os.getpid()})")
        self._ranks = {rank: self.own}
        self._lines: dict[int, Line] = {}
        self._causes: list[Cause] = []
        self._ended = threading.Event()  # the run ends, well or not: nobody is missed any more
        self._news = threading.Event()

    @contextmanager
    def doing(self, what: str, patience: float = math.inf) -> Iterator[None]:
        """Note what this rank does within; all ranks do the same things in the same order.

        After an error the note stays, as it names what failed.

        Args:
            what: as in "computing".
            patience: seconds that others may wait for it, or between two calls of `alive`; at least LIMIT_SECONDS.
        """
        outer = self.own.doing, self.own.patience
        self._note(what, patience)
        yield
        self._note(*outer)

    def _note(self, what: str, patience: float) -> None:
        self.own.place += 1
        self.own.doing, self.own.patience = what, patience
        self.alive()

    def alive(self) -> None:
        """Say that this rank gets on with what it does."""
        self.own.life += 1
        self.own.moved = time.monotonic()

    # --- rank 0 ---

    def open(self, host: str, token: str) -> int:
        """Wait for the other ranks in the background; return the port."""
        try:
            listener = socket.create_server((host, 0), backlog=self.world_size)
        except OSError:  # the name is another machine's view of this one
            listener = socket.create_server(("", 0), backlog=self.world_size)
        self._in_background(lambda: self._accept(listener, token))
        self._in_background(self._judge)
        return int(listener.getsockname()[1])

    def _accept(self, listener: socket.socket, token: str) -> None:
        while True:
            line = Line(listener.accept()[0])
            self._in_background(lambda line=line: self._hear_rank(line, token))  # type: ignore[misc]

    def _hear_rank(self, line: Line, token: str) -> None:
        rank: int | None = None

        def heard(message: dict[str, Any]) -> None:
            nonlocal rank
            if rank is None:
                if message.get("token") != token:
                    raise ValueError("a stranger")
                rank = int(message["rank"])
                self._ranks[rank], self._lines[rank] = Signs(message["name"]), line
            elif "text" in message:
                self._learn(
                    Cause(message["belief"], rank, f"{self._ranks[rank].name}: {message['text']}", message["code"])
                )
            else:
                self._ranks[rank].note(message)

        line.listen(heard)
        if rank is not None and not self._ranks[rank].done:
            text = f"{self._ranks[rank].name} ended without a word: it was killed (out of memory?), or crashed"
            self._learn(Cause(GONE, rank, text, 1))

    def _learn(self, cause: Cause) -> None:
        self._causes.append(cause)
        self._news.set()

    def _judge(self) -> None:
        """Send signs of life, look for silent ranks, and end the run by the cause that is believed most."""
        before = time.monotonic()
        while not self._news.wait(SIGN_SECONDS):
            now = time.monotonic()
            if now - before > LIMIT_SECONDS / 2:  # this process was stopped itself: hear the others out first
                for signs in self._ranks.values():
                    signs.heard = signs.moved = now
            before = now
            self.own.heard = now
            for line in self._lines.values():
                line.send({"name": self.own.name})
            if not self._ended.is_set() and (cause := hung(self._ranks, now)):
                self._learn(cause)
        time.sleep(SETTLE_SECONDS if self._causes[0].belief == EFFECT else 0.2)
        cause = min(self._causes, key=lambda cause: (cause.belief, cause.rank))
        for line in self._lines.values():
            line.send({"end": cause.text, "code": cause.code})
        self._leave(cause.text, cause.code, cause.rank if cause.belief == GONE else None)

    # --- the other ranks ---

    def join(self, host: str, port: int, token: str) -> None:
        """Connect to rank 0."""
        line = Line(socket.create_connection((host, port), timeout=LIMIT_SECONDS))
        line.connection.settimeout(None)
        line.send({"rank": self.rank, "token": token, "name": self.own.name})
        self._lines[0] = line
        self._ranks[0] = Signs(f"rank 0 on {host}")
        self._in_background(lambda: self._hear_main(line))
        self._in_background(lambda: self._give_signs(line))

    def _give_signs(self, line: Line) -> None:
        before = time.monotonic()
        while not self._ended.is_set():
            line.send(self.own.said())
            time.sleep(SIGN_SECONDS)
            now, main = time.monotonic(), self._ranks[0]
            if now - before > LIMIT_SECONDS / 2:  # this process was stopped itself
                main.heard = now
            before = now
            if now - main.heard > LIMIT_SECONDS + 5:  # rank 0 judges first
                lost = f"{main.name} gave no sign of life for {now - main.heard:.0f} seconds"
                self._leave(lost, 1, 0 if self.rank == 1 else None)

    def _hear_main(self, line: Line) -> None:
        verdict: dict[str, Any] = {}

        def heard(message: dict[str, Any]) -> None:
            self._ranks[0].heard = time.monotonic()
            self._ranks[0].name = message.get("name", self._ranks[0].name)
            if message.get("done"):
                self._ended.set()
            elif "end" in message:
                verdict.update(message)

        line.listen(heard)
        if verdict:  # rank 0 has said why, and is gone now, so that its code is the launcher's
            self._leave("", verdict["code"])
        if not self._ended.is_set():
            lost = f"{self._ranks[0].name} ended without a word: it was killed (out of memory?), or crashed"
            self._leave(lost, 1, 0 if self.rank == 1 else None)

    # --- the end ---

    def fail(self, text: str, code: int, belief: int) -> None:
        """Tell why this rank fails, and end the process when all ranks know why the run ends. Does not return."""
        if self.rank == 0:
            self._learn(Cause(belief, 0, text, code))
        else:
            print(f"error: {text}", file=sys.stderr, flush=True)
            self._lines[0].send({"text": text, "code": code, "belief": belief})
        time.sleep(LIMIT_SECONDS)  # the other thread ends the process long before
        os._exit(code)

    def done(self) -> None:
        """Say that this rank has nothing left to do: nobody will miss it."""
        self._ended.set()
        self.own.done = True
        for line in list(self._lines.values()):
            line.send({"done": True})

    def _leave(self, text: str, code: int, lost: int | None = None) -> None:
        """End this process from any thread.

        Args:
            lost: the rank whose end is to be told.
        """
        saver = threading.Thread(target=self.before_leaving, daemon=True)
        saver.start()
        saver.join(LIMIT_SECONDS)
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            if text:
                print(f"error: {text}", file=sys.stderr, flush=True)
            if lost is not None:
                tell_launcher(f"error: {text}\n", lost)
        os._exit(code)

    def _in_background(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, daemon=True, name="rank watch").start()


def tell_launcher(text: str, lost: int) -> None:
    """Write on the console of Paddle's launcher, which shows rank 0's log no more once it missed another rank.

    Where the console is a file, which the launcher would write over, the log of the lost rank is shown at the end.
    """
    if logs := os.environ.get("PADDLE_LOG_DIR"):
        console = f"/proc/{os.getppid()}/fd/2"
        with suppress(OSError):
            place = os.path.join(logs, f"workerlog.{lost}") if os.path.isfile(console) else console
            descriptor = os.open(place, os.O_WRONLY | os.O_APPEND)
            os.write(descriptor, text.encode())
            os.close(descriptor)


_watch: RankWatch | None = None


def start(watch: RankWatch) -> None:
    """Make a watch that of this process."""
    global _watch
    _watch = watch


def before_leaving(work: Callable[[], None]) -> None:
    """Have `work` done before this process is ended for the fault of another rank."""
    if _watch:
        _watch.before_leaving = work


def doing(what: str, patience: float = math.inf) -> AbstractContextManager[None]:
    """See `RankWatch.doing`; nothing where this process trains alone."""
    return _watch.doing(what, patience) if _watch else nullcontext()


def alive() -> None:
    """See `RankWatch.alive`."""
    if _watch:
        _watch.alive()


_OF_OTHERS = re.compile(r"gloo|nccl|tcp_?store|connection (reset|refused|closed)|broken pipe", re.IGNORECASE)


def fail(error: BaseException, code: int) -> None:
    """End all ranks for an error of this one; returns where this process trains alone.

    Args:
        error: what was raised.
        code: to exit with.
    """
    if _watch:
        effect = code == 1 and _OF_OTHERS.search(str(error))
        text = str(error) if code != 1 else f"{type(error).__name__}: {error}"
        _watch.fail(text, code, EFFECT if effect else OWN_FAULT)


def done() -> None:
    """See `RankWatch.done`."""
    if _watch:
        _watch.done()
