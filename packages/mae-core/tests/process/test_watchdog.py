"""Which rank is taken for hung, and which error for the cause."""

import math
import socket
import threading
from contextlib import suppress

import pytest
from until import until

from mae_core.process import watchdog
from mae_core.process.heartbeat import EFFECT, GONE, OWN_FAULT, TIMEOUT_SECONDS, Connection, Heartbeat, hung
from mae_core.process.watchdog import RankWatch

LATE = TIMEOUT_SECONDS + 1


def heartbeat(rank, **facts):
    return Heartbeat(
        f"rank {rank} on node (pid {rank})", **{"received": 100.0, "moved": 100.0, "patience": 0.0, **facts}
    )


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"received": 100.0 - LATE}, "rank 1 on node (pid 1) sent no heartbeat for 46 seconds"),
        ({"received": 100.0 - LATE, "done": True}, None),
        ({"place": 6, "moved": 100.0 - LATE, "doing": "reading data"}, "hangs: reading data for 46 seconds"),
        ({"place": 6, "moved": 100.0 - LATE, "patience": math.inf}, None),  # it may take that long
        ({"place": 6, "moved": 99.0}, None),  # it gets on
        ({"place": 7, "moved": 100.0 - LATE}, None),  # as far as the others: nobody waits for it
    ],
)
def test_a_rank_hangs_that_is_silent_or_that_all_others_wait_for(other, words):
    found = hung({0: heartbeat(0, place=7), 1: heartbeat(1, **{"place": 7, **other})}, 100.0)
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
        for connection in self._connections.values():
            with suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)
        if len(found) == 2:
            over.set()

    monkeypatch.setattr(RankWatch, "_leave", leave)
    monkeypatch.setattr(watchdog, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(watchdog, "TIMEOUT_SECONDS", 10.0**6)  # `fail` ends the process after it
    before = threads()
    main, other = RankWatch(0, 2), RankWatch(1, 2)
    other.join("127.0.0.1", main.open("127.0.0.1", "5"), "5")
    until(lambda: 1 in main._ranks)
    yield main, other, found, over
    # Their threads live on: later on, with the true `_leave`, they would end the process that runs the tests.
    other.done()
    main.done()
    main._ranks[1].done = True
    for connection in (*main._connections.values(), *other._connections.values()):
        with suppress(OSError):
            connection.socket.shutdown(socket.SHUT_RDWR)
    until(lambda: threads() <= before + 2)  # all but those that accept and judge


def test_the_cause_ends_all_ranks_whoever_reports_first(ended):
    main, other, found, over = ended
    in_background(main.fail, "Connection reset by peer", 1, EFFECT)
    until(lambda: main._causes)
    in_background(other.fail, "list.txt:5: cannot decode", 3, OWN_FAULT)
    assert over.wait(10)
    assert found[1] == ("", 3)  # rank 0 prints it
    text, code = found[0]
    assert code == 3
    assert text.startswith("rank 1 on ")
    assert text.endswith(": list.txt:5: cannot decode")


def test_a_rank_that_ends_without_a_word_is_named_and_one_that_is_done_is_not_missed(ended):
    main, other, found, _ = ended
    other.done()
    until(lambda: main._ranks[1].done)
    assert not found
    main._ranks[1].done = False
    other._connections[0].socket.shutdown(socket.SHUT_RDWR)
    until(lambda: 0 in found)
    assert "rank 1 on" in found[0][0]
    assert "ended without a word" in found[0][0]


def test_a_stranger_is_not_heard(ended):
    main, other, found, _ = ended
    port = other._connections[0].socket.getpeername()[1]
    stranger = Connection(socket.create_connection(("127.0.0.1", port)))
    stranger.send({"rank": 1, "secret": "6", "name": "me"})
    stranger.send({"text": "stop", "code": 3, "belief": OWN_FAULT})
    assert stranger.socket.recv(1) == b""  # the door is shut
    assert not found
    assert "me" not in main._ranks[1].name


def threads():
    return sum(thread.name == "rank watch" for thread in threading.enumerate())


def in_background(work, *args):
    threading.Thread(target=work, args=args, daemon=True).start()


def test_what_a_rank_does_is_noted_within_and_what_failed_stays_noted():
    watch = RankWatch(0, 2)
    outer, places = watch.own.doing, []
    with watch.doing("computing", 7.0):
        places.append((watch.own.place, watch.own.doing, watch.own.patience))
        with watch.doing("computing gradients", 9.0):
            places.append((watch.own.place, watch.own.doing, watch.own.patience))
        places.append((watch.own.place, watch.own.doing, watch.own.patience))
    # A rank that waits within is ahead of one that has not got there: the places tell which of them hangs.
    assert places == [(1, "computing", 7.0), (2, "computing gradients", 9.0), (3, "computing", 7.0)]
    assert (watch.own.place, watch.own.doing, watch.own.patience) == (4, outer, math.inf)
    with pytest.raises(RuntimeError), watch.doing("reading data", 3.0):
        raise RuntimeError
    assert (watch.own.place, watch.own.doing) == (5, "reading data")
