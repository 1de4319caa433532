"""Following logs: every whole line once, in order, whatever state the file is in."""

import json

import pytest

from straybit.observe import Follower


@pytest.fixture
def log(tmp_path):
    return tmp_path / "gossip-1.ndjson"


@pytest.fixture
def follower(log):
    return Follower({"gossip-1": log})


def line(**fields) -> str:
    return json.dumps({"t": 1.5, "service": "gossip-1", **fields}) + "\n"


def append(path, text):
    with path.open("a") as file:
        file.write(text)


def test_missing_file_is_followed_once_it_is_there(follower, log):
    """A log may come into being after its follower."""
    assert list(follower.look()) == []
    append(log, line(event="started"))
    assert [seen.event for seen in follower.look()] == ["started"]


def test_line_keeps_its_time_and_fields(follower, log):
    """A line's time, service, event and other fields arrive as they were written."""
    append(log, line(event="refused", defence="gossip-crc", crc=7))
    (seen,) = follower.look()
    assert (seen.t, seen.service, seen.event, seen.fields) == (
        1.5,
        "gossip-1",
        "refused",
        {"defence": "gossip-crc", "crc": 7},
    )


def test_each_line_comes_once_and_half_a_line_waits(follower, log):
    """A line that is half written comes whole, with a later look, and none comes twice."""
    whole = line(event="two")
    append(log, line(event="one") + whole[:9])
    assert [seen.event for seen in follower.look()] == ["one"]
    assert list(follower.look()) == []
    append(log, whole[9:])
    assert [seen.event for seen in follower.look()] == ["two"]


def test_what_is_there_already_is_no_news(log):
    """Who asks for news hears nothing of lines before; a log that is not there yet is all news."""
    append(log, line(event="one"))
    follower = Follower({"gossip-1": log, "gossip-2": log.with_name("gossip-2.ndjson")}, news=True)
    append(log, line(event="two"))
    append(log.with_name("gossip-2.ndjson"), line(event="three"))
    assert [seen.event for seen in follower.look()] == ["two", "three"]


@pytest.mark.parametrize("rubbish", ["not json\n", "[1]\n", '{"event": "x"}\n', '{"t": "x", "event": "y"}\n', "\n"])
def test_unreadable_line_is_said_and_the_next_one_read(follower, log, rubbish):
    """A line that is no log line becomes an `unreadable` one and spoils no other."""
    append(log, rubbish + line(event="next"))
    assert [seen.event for seen in follower.look()] == ["unreadable", "next"]
