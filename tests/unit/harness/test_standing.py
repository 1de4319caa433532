"""A standing cluster's parts: its card, its keeper's door, its status."""

import json
import socket
import threading

import msgspec
import pytest

from straybit.backends import BackendError
from straybit.standing.card import Card, NoClusterError, Wanted, read_card, write_card
from straybit.standing.keeper import _Door
from straybit.standing.remote import Remote, ask
from straybit.standing.status import raised
from straybit_nodes.topology import Topology

CARD = Card(
    wanted=Wanted(backend="process", topology=Topology(), defences=("gossip-crc",)),
    pid=1,
    keeper=("127.0.0.1", 1),
    token="secret",
    proxy=("127.0.0.1", 2),
    controls={"gossip-1": ("127.0.0.1", 3)},
    endpoints={"lb-1": "http://127.0.0.1:4"},
)


@pytest.fixture
def door():
    """A keeper's door before a made-up cluster, and a card that leads to it."""
    calls, over = [], threading.Event()

    def answer(asked):
        calls.append((asked.call, asked.names))
        if asked.names == ("broken",):
            raise BackendError("broken did not end")
        return {"pid": 7, "in_service": False, "exits": [{"t": 1.0, "service": "lb-1", "status": -9}]}.get(asked.call)

    with _Door("secret", answer, over) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield msgspec.structs.replace(CARD, keeper=made.server_address), calls, over
        made.shutdown()
        thread.join()


def test_a_card_is_for_its_owners_eyes_and_comes_back(tmp_path):
    """What is written is read again, and nobody else may read the token."""
    write_card(tmp_path, CARD)
    assert read_card(tmp_path) == CARD
    assert (tmp_path / "cluster.json").stat().st_mode & 0o077 == 0


def test_no_cluster_is_said_in_one_line(tmp_path):
    """No folder, or a damaged card, or a keeper that is gone."""
    with pytest.raises(NoClusterError, match="`straybit cluster up` starts one"):
        read_card(tmp_path / "nowhere")
    (tmp_path / "cluster.json").write_text("{")
    with pytest.raises(NoClusterError, match="cannot be read"):
        read_card(tmp_path)
    with pytest.raises(NoClusterError, match="keeper of the cluster is gone"):
        ask(CARD, "exits")


def test_services_are_steered_through_the_keeper(door):
    """Each call arrives with its name, and answers and errors come back as they are."""
    card, calls, _ = door
    remote = Remote(card)
    remote.kill("gossip-1")
    remote.start("gossip-1")
    assert (remote.pid("lb-1"), remote.running("lb-1")) == (7, False)
    assert [(exit_.service, exit_.status) for exit_ in remote.exits()] == [("lb-1", -9)]
    with pytest.raises(BackendError, match="broken did not end"):
        remote.pause("broken")
    assert calls[:2] == [("kill", ("gossip-1",)), ("restart", ("gossip-1",))]
    remote.end()
    remote.clean(keep=False)
    assert len(calls) == 6


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"rubbish\n", "not understood"),
        (json.dumps({"token": "other", "call": "kill", "names": ["gossip-1"]}).encode() + b"\n", "token is wrong"),
        (json.dumps({"token": "secret", "call": "close", "names": []}).encode() + b"\n", "there is no call"),
    ],
)
def test_the_door_opens_to_its_token_and_its_calls_alone(door, line, why):
    """Rubbish, a wrong token and a call that is not offered are answered with an error, and nothing is done."""
    card, calls, over = door
    with socket.create_connection(card.keeper, 5) as caller:
        caller.sendall(line)
        assert why in json.loads(caller.makefile().readline())["error"]
    assert calls == []
    assert not over.is_set()


def test_end_is_heard_by_the_keeper(door):
    """The keeper is told that it is over, and the caller's line stays until it is gone."""
    card, _, over = door
    with socket.create_connection(card.keeper, 5) as caller:
        caller.sendall(json.dumps({"token": "secret", "call": "end"}).encode() + b"\n")
        assert over.wait(5)


def test_alarms_are_read_from_the_ends_of_logs(tmp_path):
    """Each name and culprit once, with who raised it and how long ago; other lines and broken ones are passed over."""
    alarm = {"service": "x", "event": "alarm", "defence": "gossip-alarm", "culprit": "gossip-3"}
    for name, times in (("gossip-1", (5.0, 8.0)), ("gossip-2", (6.0,))):
        lines = [json.dumps({**alarm, "t": t}) for t in times]
        (tmp_path / f"{name}.ndjson").write_text("\n".join(['half"}', *lines, '{"event": "state"}', ""]))
    (found,) = raised(tmp_path, ["gossip-1", "gossip-2", "gossip-9"], 10.0)
    assert (found.name, found.culprit, found.by, found.ago_s) == (
        "gossip-alarm",
        "gossip-3",
        ("gossip-1", "gossip-2"),
        2.0,
    )
