"""Which containers run and how they ended: events late, twice, out of order, and of a start that is over."""

import threading
import time

import pytest

from straybit.backends._ends import KILLED, Ends

PROXY = "toxiproxy"


@pytest.fixture
def told():
    """Ends that were handed on."""
    return []


@pytest.fixture
def ends(told):
    made = Ends(["gossip-1", "gossip-2", PROXY], harness=[PROXY])
    made.on_exit = told.append
    return made


def now():
    return time.monotonic()


def test_an_end_that_nobody_asked_for_is_told_once(ends, told):
    """The event and a look of our own may both tell of it."""
    ends.died("gossip-1", KILLED, now())
    ends.died("gossip-1", KILLED, now())
    assert [(exit.service, exit.status, exit.host) for exit in told] == [("gossip-1", -9, "")]
    assert ends.exits() == tuple(told)
    assert not ends.running("gossip-1")
    assert ends.running("gossip-2")


def test_an_end_that_was_asked_for_is_no_news(ends, told):
    """It is known all the same."""
    ends.asked("gossip-1")
    ends.died("gossip-1", 143, now())
    assert ends.ended("gossip-1").status == -15
    assert told == []


def test_the_end_of_a_start_that_is_over_is_not_heard(ends, told):
    """An engine at work tells of an end after the container was started again: that is no crash of the new start."""
    before = now()
    ends.asked("gossip-1")
    ends.died("gossip-1", KILLED, before)
    ends.started("gossip-1")
    ends.died("gossip-1", KILLED, before)
    ends.short_of_memory("gossip-1", before)
    assert ends.running("gossip-1")
    ends.died("gossip-1", KILLED, now())
    assert [exit.host for exit in told] == [""]


@pytest.mark.parametrize(
    ("code", "event", "looked", "host"),
    [
        (KILLED, True, False, "killed for memory"),
        (KILLED, False, True, "killed for memory"),
        (KILLED, False, False, ""),
        (1, True, False, ""),
    ],
    ids=["event before the end", "seen when looked at", "killed by somebody", "another process of it"],
)
def test_want_of_memory_is_the_hosts_doing(ends, told, code, event, looked, host):
    """Only where the kernel's kill ended it: another process of it may have been the victim, and it crashed later."""
    if event:
        ends.short_of_memory("gossip-1", now())
    ends.died("gossip-1", code, now(), oom=looked)
    assert [exit.host for exit in told] == [host]


def test_the_harness_own_containers_are_not_under_test(ends, told):
    """A proxy that ends by itself proves nothing of a flip."""
    ends.died(PROXY, 2, now())
    assert [exit.host for exit in told] == ["the harness's own, and it ended by itself"]


def test_a_pause_ends_with_the_start_it_was_in(ends):
    """A container that was killed while it was paused runs after its next start."""
    assert ends.paused("gossip-1", True) is False
    assert not ends.running("gossip-1")
    ends.died("gossip-1", KILLED, now())
    ends.started("gossip-1")
    assert ends.running("gossip-1")
    assert ends.paused("gossip-1", False) is False


def test_news_are_ends_of_the_last_start_that_nobody_asked_for(ends):
    """Only those are worth another question to the engine."""
    assert ends.news("gossip-1", now())
    assert not ends.news("somebody-else", now())
    ends.asked("gossip-1")
    assert not ends.news("gossip-1", now())
    ends.started("gossip-1")
    assert not ends.news("gossip-1", now() - 60)


def test_an_engine_that_goes_away_is_told_once_and_ends_all_waiting(ends, told):
    """Nothing counts as running any more, as nobody can know."""
    waited = []
    waiter = threading.Thread(target=lambda: waited.append(ends.wait(["gossip-1"], 30)))
    waiter.start()
    ends.lose_engine("it closed the connection")
    ends.lose_engine("again")
    waiter.join(10)
    assert waited == [True]
    assert [(exit.service, exit.host) for exit in told] == [
        ("docker", "the Docker engine is gone (it closed the connection)")
    ]
    assert not ends.running("gossip-1")


def test_an_engine_that_goes_away_while_all_is_ended_is_no_news(ends, told):
    """As when the stream of events is closed."""
    ends.closing()
    ends.lose_engine("closed")
    assert told == []
    assert not ends.lost


def test_waiting_gives_up_when_its_time_is_over(ends):
    """And comes true when all have ended, not some."""
    ends.died("gossip-1", 0, now())
    assert not ends.wait(["gossip-1", "gossip-2"], 0.01)
    ends.died("gossip-2", 0, now())
    assert ends.wait(["gossip-1", "gossip-2"], 0)


@pytest.mark.parametrize("over", ["ended", "started again", "all ends"])
def test_a_start_is_past_when_it_ended_or_nobody_minds(ends, over):
    """What a log's end is held against."""
    start = ends.starts("gossip-1")
    assert not ends.wait_past("gossip-1", start, 0.01)
    if over == "all ends":
        ends.closing()
    else:
        ends.died("gossip-1", 0, now())
    if over == "started again":
        ends.started("gossip-1")
        assert not ends.wait_past("gossip-1", ends.starts("gossip-1"), 0.01)
    assert ends.wait_past("gossip-1", start, 0)
