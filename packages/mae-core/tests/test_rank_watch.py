"""Which rank is taken for hung, and which error for the cause."""

import math
import socket
import threading
import time
from contextlib import suppress

import pytest

from mae_core.process import watchdog
from mae_core.process.heartbeat import EFFECT, GONE, LIMIT_SECONDS, OWN_FAULT, Signs, hung
from mae_core.process.watchdog import Line, RankWatch

LATE = LIMIT_SECONDS + 1


def signs(rank, **facts):
    return Signs(f"rank {rank} on node (pid {rank})", **{"heard": 100.0, "moved": 100.0, "patience": 0.0, **facts})


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"heard": 100.0 - LATE}, "rank 1 on node (pid 1) gave no sign of life for 46 seconds"),
        ({"heard": 100.0 - LATE, "done": True}, None),
        ({"place": 6, "moved": 100.0 - LATE, "doing": "reading data"}, "hangs: reading data for 46 seconds"),
        ({"place": 6, "moved": 100.0 - LATE, "patience": math.inf}, None),  # it may take that long
        ({"place": 6, "moved": 99.0}, None),  # it gets on
        ({"place": 7, "moved": 100.0 - LATE}, None),  # as far as the others: nobody waits for it
    ],
)
def test_a_rank_hangs_that_is_silent_or_that_all_others_wait_for(other, words):
    found = hung({0: signs(0, place=7), 1: signs(1, **{"place": 7, **other})}, 100.0)
    if words is None:
        assert found is None
    else:
        assert (found.rank, found.belief) == (1, GONE)
        assert words in found.text


@pytest.fixture
def ended(monkeypatch):
    """Ranks 0 and 1 in this process; returns them and how each would have ended."""
    found = {}
    over = threading.Event()

    def leave(self, text, code, lost=None):
        found.setdefault(self.rank, (text, code))
        for line in self._lines.values():
            with suppress(OSError):
                line.connection.shutdown(socket.SHUT_RDWR)
        if len(found) == 2:
            over.set()

    monkeypatch.setattr(RankWatch, "_leave", leave)
    monkeypatch.setattr(watchdog, "SIGN_SECONDS", 0.05)
    monkeypatch.setattr(watchdog, "LIMIT_SECONDS", 10.0**6)  # `fail` ends the process after it
    main, other = RankWatch(0, 2), RankWatch(1, 2)
    other.join("127.0.0.1", main.open("127.0.0.1", "5"), "5")
    while 1 not in main._ranks:
        time.sleep(0.01)
    yield main, other, found, over
    # Their threads live on: later on, with the true `_leave`, they would end the process that runs the tests.
    other.done()
    main.done()
    main._ranks[1].done = True
    time.sleep(0.3)


def test_the_cause_ends_all_ranks_whoever_tells_first(ended):
    main, other, found, over = ended
    in_background(main.fail, "Connection reset by peer", 1, EFFECT)
    time.sleep(0.1)
    in_background(other.fail, "list.txt:5: cannot decode", 3, OWN_FAULT)
    assert over.wait(10)
    assert found[1] == ("", 3)  # rank 0 says it
    text, code = found[0]
    assert code == 3
    assert text.startswith("rank 1 on ")
    assert text.endswith(": list.txt:5: cannot decode")


def test_a_rank_that_ends_without_a_word_is_named_and_one_that_is_done_is_not_missed(ended):
    main, other, found, _ = ended
    other.done()
    time.sleep(0.2)
    assert not found
    assert main._ranks[1].done
    main._ranks[1].done = False
    other._lines[0].connection.shutdown(socket.SHUT_RDWR)
    deadline = time.monotonic() + 10
    while 0 not in found and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "rank 1 on" in found[0][0]
    assert "ended without a word" in found[0][0]


def test_a_stranger_is_not_heard(ended):
    main, other, found, _ = ended
    port = other._lines[0].connection.getpeername()[1]
    stranger = Line(socket.create_connection(("127.0.0.1", port)))
    stranger.send({"rank": 1, "token": "6", "name": "me"})
    stranger.send({"text": "stop", "code": 3, "belief": OWN_FAULT})
    assert stranger.connection.recv(1) == b""  # the door is shut
    time.sleep(0.2)
    assert not found
    assert "me" not in main._ranks[1].name


def in_background(work, *args):
    threading.Thread(target=work, args=args, daemon=True).start()
