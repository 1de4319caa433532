"""Observers: what happens is found by waiting for it, from any moment on."""

import json
import threading
import time

import pytest

from straybit.observe import Follower, Observation, Observers


@pytest.fixture
def log(tmp_path):
    return tmp_path / "lb-1.ndjson"


@pytest.fixture
def observers(log):
    observers = Observers(Follower({"lb-1": log}))
    observers.start()
    yield observers
    observers.close()


def seen(kind, source="lb-1", t=1.0) -> Observation:
    return Observation(t, source, kind, {})


def test_line_written_while_waiting_ends_the_wait(observers, log):
    """A wait ends with the line it waits for, long before its time is over."""
    text = json.dumps({"t": 2.5, "service": "lb-1", "event": "alarm", "culprit": "lb-3"}) + "\n"
    threading.Timer(0.05, lambda: log.write_text(text)).start()
    began = time.monotonic()
    found = observers.wait_for(lambda o: o.kind == "alarm", 20)
    assert found == Observation(2.5, "lb-1", "alarm", {"culprit": "lb-3"})
    assert time.monotonic() - began < 10


def test_wait_that_is_in_vain_ends(observers):
    """A wait for what does not come ends with None after its time."""
    assert observers.wait_for(lambda _: True, 0.01) is None


def test_only_what_came_since_the_mark_counts(observers):
    """A mark hides everything before it from looks and waits."""
    observers.add(seen("before"))
    mark = observers.mark()
    observers.add(seen("after"))
    assert [o.kind for o in observers.seen(since=mark)] == ["after"]
    assert observers.wait_for(lambda o: o.kind == "before", 0.01, since=mark) is None
    assert observers.wait_for(lambda o: o.kind == "before", 0.01) == seen("before")


def test_kind_and_source_select(observers):
    """Observations can be picked by kind and by source."""
    for kind, source in (("a", "x"), ("a", "y"), ("b", "x")):
        observers.add(seen(kind, source))
    assert len(observers.seen("a")) == 2
    assert len(observers.seen(source="x")) == 2
    assert observers.seen("b", "y") == []


def test_oldest_go_first_at_the_limit(observers, monkeypatch):
    """Past the limit the oldest tenth goes, is counted, and marks stay true."""
    monkeypatch.setattr("straybit.observe.observers.LIMIT", 10)
    for number in range(11):
        observers.add(seen(str(number)))
    assert observers.dropped == 1
    assert observers.mark() == 11
    assert [o.kind for o in observers.seen(since=9)] == ["9", "10"]


def test_last_lines_are_collected_on_close(log):
    """Lines written just before the end are not lost."""
    observers = Observers(Follower({"lb-1": log}))
    observers.start()
    log.write_text('{"t": 1, "event": "stopped"}\n')
    observers.close()
    assert [o.kind for o in observers.seen()] == ["stopped"]
