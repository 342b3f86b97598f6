"""Ranks that end together: one that fails, is killed or hangs is named, and all exit with its code.

Where one rank is lost, collectives of the others wait or fail of "connection reset", which names no cause. So each rank
holds a connection of its own to rank 0. A thread at either end sends a heartbeat each second and ends its process when
rank 0 decides it, even while the main thread waits for another rank in compiled code.
"""

import math
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from typing import Any

from mae_core.process import stdio
from mae_core.process.heartbeat import EFFECT, GONE, OWN_FAULT, TIMEOUT_SECONDS, Cause, Connection, Heartbeat, hung

BEAT_SECONDS = 1.0
SETTLE_SECONDS = 1.5  # one failure causes others: its effects may be reported before it


class RankWatch:
    """This rank's part in it.

    Args:
        rank, world_size: this process and how many there are.
    """

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size
        self.before_leaving: Callable[[], None] = lambda: None  # called once where another thread ends the process
        self.own = Heartbeat(f"rank {rank} on {socket.gethostname()} (pid {os.getpid()})")
        self._ranks = {rank: self.own}
        self._connections: dict[int, Connection] = {}
        self._causes: list[Cause] = []
        self._ended = threading.Event()  # the run ends, well or not, and no rank is missed any more
        self._news = threading.Event()

    @contextmanager
    def doing(self, what: str, patience: float = math.inf) -> Iterator[None]:
        """Note what this rank does within; all ranks do the same things in the same order.

        After an error the note stays, as it names what failed.

        Args:
            what: as in "computing".
            patience: seconds that others may wait for it; at least TIMEOUT_SECONDS.
        """
        outer = self.own.doing, self.own.patience
        self._note(what, patience)
        yield
        self._note(*outer)

    def _note(self, what: str, patience: float) -> None:
        self.own.place += 1
        self.own.doing, self.own.patience = what, patience
        self.own.life += 1
        self.own.moved = time.monotonic()

    # --- rank 0 ---

    def open(self, host: str, secret: str) -> int:
        """Wait for the other ranks in the background; return the port."""
        try:
            listener = socket.create_server((host, 0), backlog=self.world_size)
        except OSError:  # the name is another machine's view of this one
            listener = socket.create_server(("", 0), backlog=self.world_size)
        self._in_background(lambda: self._accept(listener, secret))
        self._in_background(self._judge)
        return int(listener.getsockname()[1])

    def _accept(self, listener: socket.socket, secret: str) -> None:
        while True:
            connection = Connection(listener.accept()[0])
            self._in_background(partial(self._receive_from_rank, connection, secret))

    def _receive_from_rank(self, connection: Connection, secret: str) -> None:
        rank: int | None = None

        def handle(message: dict[str, Any]) -> None:
            nonlocal rank
            if rank is None:
                if message.get("secret") != secret:
                    raise ValueError("a stranger")
                rank = int(message["rank"])
                self._ranks[rank], self._connections[rank] = Heartbeat(message["name"]), connection
            elif "text" in message:
                self._learn(
                    Cause(message["belief"], rank, f"{self._ranks[rank].name}: {message['text']}", message["code"])
                )
            else:
                self._ranks[rank].update(message)

        connection.receive(handle)
        if rank is not None and not self._ranks[rank].done:
            self._learn(Cause(GONE, rank, self._ranks[rank].vanished(), 1))

    def _learn(self, cause: Cause) -> None:
        self._causes.append(cause)
        self._news.set()

    def _judge(self) -> None:
        """Send heartbeats, look for silent ranks, and end the run by the cause that is believed most."""
        before = time.monotonic()
        while not self._news.wait(BEAT_SECONDS):
            now = time.monotonic()
            if now - before > TIMEOUT_SECONDS / 2:  # this process was stopped itself: wait for what the others sent
                for beat in self._ranks.values():
                    beat.received = beat.moved = now
            before = now
            self.own.received = now
            for connection in self._connections.values():
                connection.send({"name": self.own.name})
            if not self._ended.is_set() and (cause := hung(self._ranks, now)):
                self._learn(cause)
        time.sleep(SETTLE_SECONDS if self._causes[0].belief == EFFECT else 0.2)
        cause = min(self._causes, key=lambda cause: (cause.belief, cause.rank))
        for connection in self._connections.values():
            connection.send({"end": cause.text, "code": cause.code})
        self._leave(cause.text, cause.code, cause.rank if cause.belief == GONE else None)

    # --- the other ranks ---

    def join(self, host: str, port: int, secret: str) -> None:
        """Connect to rank 0."""
        connection = Connection(socket.create_connection((host, port), timeout=TIMEOUT_SECONDS))
        connection.socket.settimeout(None)
        connection.send({"rank": self.rank, "secret": secret, "name": self.own.name})
        self._connections[0] = connection
        self._ranks[0] = Heartbeat(f"rank 0 on {host}")
        self._in_background(lambda: self._receive_from_main(connection))
        self._in_background(lambda: self._send_heartbeats(connection))

    def _send_heartbeats(self, connection: Connection) -> None:
        before = time.monotonic()
        while not self._ended.is_set():
            connection.send(self.own.message())
            time.sleep(BEAT_SECONDS)
            now, main = time.monotonic(), self._ranks[0]
            if now - before > TIMEOUT_SECONDS / 2:  # this process was stopped itself
                main.received = now
            before = now
            if now - main.received > TIMEOUT_SECONDS + 5:  # rank 0 judges first
                lost = f"{main.name} sent no heartbeat for {now - main.received:.0f} seconds"
                self._leave(lost, 1, 0 if self.rank == 1 else None)

    def _receive_from_main(self, connection: Connection) -> None:
        verdict: dict[str, Any] = {}

        def handle(message: dict[str, Any]) -> None:
            self._ranks[0].received = time.monotonic()
            self._ranks[0].name = message.get("name", self._ranks[0].name)
            if message.get("done"):
                self._ended.set()
            elif "end" in message:
                verdict.update(message)

        connection.receive(handle)
        if verdict:  # rank 0 has printed why, and is gone now, so that the launcher takes its code
            self._leave("", verdict["code"])
        if not self._ended.is_set():
            self._leave(self._ranks[0].vanished(), 1, 0 if self.rank == 1 else None)

    # --- the end ---

    def fail(self, text: str, code: int, belief: int) -> None:
        """Report why this rank fails, and end the process once all ranks know it. Does not return."""
        if self.rank == 0:
            self._learn(Cause(belief, 0, text, code))
        else:
            print(f"error: {text}", file=sys.stderr, flush=True)
            self._connections[0].send({"text": text, "code": code, "belief": belief})
        time.sleep(TIMEOUT_SECONDS)  # the other thread ends the process long before
        os._exit(code)

    def done(self) -> None:
        """Report that this rank has nothing left to do, so that its end is no failure."""
        self._ended.set()
        self.own.done = True
        for connection in list(self._connections.values()):
            connection.send({"done": True})

    def _leave(self, text: str, code: int, lost: int | None = None) -> None:
        """End this process from any thread.

        Args:
            lost: the rank that ended first; see `stdio.write_to_launcher`.
        """
        saver = threading.Thread(target=self.before_leaving, daemon=True)
        saver.start()
        saver.join(TIMEOUT_SECONDS)
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            if text:
                print(f"error: {text}", file=sys.stderr, flush=True)
            if lost is not None:
                stdio.write_to_launcher(f"error: {text}\n", lost)
        os._exit(code)

    def _in_background(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, daemon=True, name="rank watch").start()


_watch: RankWatch | None = None


def install(watch: RankWatch) -> None:
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
