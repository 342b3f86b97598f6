"""What the ranks of a run know of each other, and which of them is taken for hung."""

import math
import os
import time
from dataclasses import dataclass, field
from typing import Any

# Longest silence of a rank, and longest time that all others wait for one. Raise it where steps take minutes.
LIMIT_SECONDS = float(os.environ.get("MAE_RANK_TIMEOUT") or 45)
OWN_FAULT, GONE, EFFECT = 0, 1, 2  # in the order in which they are believed


@dataclass
class Cause:
    """Why a run ends.

    Args:
        belief: OWN_FAULT for what a rank found wrong itself, GONE for a rank that says nothing, EFFECT for an error
            that another rank's end may have caused.
        rank: whose fault it is.
    """

    belief: int
    rank: int
    text: str
    code: int


@dataclass
class Signs:
    """What is known of one rank.

    Attributes:
        name: rank, host and process, for people.
        place: how often `RankWatch.doing` was entered or left; all ranks do so alike.
        doing: what it does since.
        life: grows as long as its main thread gets on.
        patience: seconds that this may take.
        heard, moved: when it gave its last sign, and when `life` grew.
    """

    name: str
    place: int = 0
    doing: str = "starting"
    life: int = 0
    patience: float = math.inf
    heard: float = field(default_factory=time.monotonic)
    moved: float = field(default_factory=time.monotonic)
    done: bool = False

    def note(self, message: dict[str, Any]) -> None:
        """Take over what the rank says of itself."""
        self.heard = time.monotonic()
        if message.get("life", self.life) != self.life:
            self.moved = self.heard
        for key in ("place", "doing", "life", "patience", "done"):
            setattr(self, key, message.get(key, getattr(self, key)))

    def said(self) -> dict[str, Any]:
        """Return the sign to give."""
        return {"place": self.place, "doing": self.doing, "life": self.life, "patience": self.patience}


def hung(ranks: dict[int, Signs], now: float) -> Cause | None:
    """Find a rank that gives no sign, or that all others wait for in vain."""
    for rank, signs in ranks.items():
        silent = now - signs.heard
        if silent > LIMIT_SECONDS and not signs.done:
            text = f"{signs.name} gave no sign of life for {silent:.0f} seconds: it is stopped, or its machine cut off"
            return Cause(GONE, rank, text, 1)
    last = min(ranks, key=lambda rank: ranks[rank].place)
    signs, first = ranks[last], max(other.place for other in ranks.values())
    waits = now - signs.moved
    if signs.place < first and waits > max(LIMIT_SECONDS, signs.patience) and not signs.done:
        text = f"{signs.name} hangs: {signs.doing} for {waits:.0f} seconds, while others wait for it"
        return Cause(GONE, last, text, 1)
    return None
