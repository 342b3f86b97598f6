"""What the ranks of a run know of each other by their heartbeats, what carries these, and which rank is hung."""

import json
import math
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

# Longest time without a heartbeat, and longest wait of all others for one rank. Raise it where steps take minutes.
TIMEOUT_SECONDS = float(os.environ.get("MAE_RANK_TIMEOUT") or 45)
OWN_FAULT, GONE, EFFECT = 0, 1, 2  # in the order in which they are believed


@dataclass
class Cause:
    """Why a run ends.

    Args:
        belief: OWN_FAULT for what a rank found wrong itself, GONE for a rank that sends nothing, EFFECT for an error
            that another rank's end may have caused.
        rank: the rank that failed.
    """

    belief: int
    rank: int
    text: str
    code: int


@dataclass
class Heartbeat:
    """What is known of one rank by its last heartbeat.

    Attributes:
        name: rank, host and process, for people.
        place: how often `RankWatch.doing` was entered or left; all ranks do so alike.
        doing: what it has done since.
        life: a number that grows as long as its main thread gets on.
        patience: seconds that this may take.
        received, moved: when its last heartbeat came and when `life` grew.
        done: whether it has nothing left to do.
    """

    name: str
    place: int = 0
    doing: str = "starting"
    life: int = 0
    patience: float = math.inf
    received: float = field(default_factory=time.monotonic)
    moved: float = field(default_factory=time.monotonic)
    done: bool = False

    def update(self, message: dict[str, Any]) -> None:
        """Take over a message of the rank."""
        self.received = time.monotonic()
        if message.get("life", self.life) != self.life:
            self.moved = self.received
        for key in ("place", "doing", "life", "patience", "done"):
            setattr(self, key, message.get(key, getattr(self, key)))

    def message(self) -> dict[str, Any]:
        """Return the message to send."""
        return {"place": self.place, "doing": self.doing, "life": self.life, "patience": self.patience}

    def vanished(self) -> str:
        """Return a line for people on a rank whose connection closed before it was done."""
        return f"{self.name} ended without a word: it was killed (out of memory?), or crashed"


def hung(ranks: dict[int, Heartbeat], now: float) -> Cause | None:
    """Find a rank that sends no heartbeat, or that all others wait for in vain."""
    for rank, beat in ranks.items():
        silent = now - beat.received
        if silent > TIMEOUT_SECONDS and not beat.done:
            text = f"{beat.name} sent no heartbeat for {silent:.0f} seconds: it is stopped, or its machine is cut off"
            return Cause(GONE, rank, text, 1)
    last = min(ranks, key=lambda rank: ranks[rank].place)
    beat, first = ranks[last], max(other.place for other in ranks.values())
    waits = now - beat.moved
    if beat.place < first and waits > max(TIMEOUT_SECONDS, beat.patience) and not beat.done:
        text = f"{beat.name} hangs: {beat.doing} for {waits:.0f} seconds, while others wait for it"
        return Cause(GONE, last, text, 1)
    return None


class Connection:
    """A socket that carries JSON objects, one a line."""

    def __init__(self, socket: socket.socket) -> None:
        self.socket = socket
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; where the other side is gone, it is dropped."""
        with self._lock, suppress(OSError):
            self.socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, handle: Callable[[dict[str, Any]], None]) -> None:
        """Call `handle` with each message until the other side is gone."""
        with suppress(OSError, ValueError), self.socket.makefile("r", encoding="utf-8") as lines:
            for line in lines:
                handle(json.loads(line))
        with suppress(OSError):
            self.socket.close()
