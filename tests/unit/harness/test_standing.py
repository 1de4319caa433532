"""A standing cluster's parts: its card, its keeper's door, its status."""

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import msgspec
import pytest

from straybit.backends import BackendError
from straybit.control import Control
from straybit.standing import keeper
from straybit.standing.card import Card, NoClusterError, Wanted, read_card, write_card
from straybit.standing.keeper import _Door
from straybit.standing.remote import Remote, ask, end
from straybit.standing.start import start
from straybit.standing.status import raised
from straybit_nodes.topology import Topology

CARD = Card(
    wanted=Wanted(backend="process", topology=Topology(), defences=("gossip-crc",)),
    pid=1,
    keeper=("127.0.0.1", 1),
    token="secret",
    proxy=("127.0.0.1", 2),
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
        exits = [{"t": 1.0, "service": "lb-1", "status": -9}]
        moved = ("127.0.0.1", 5)
        return {"pid": 7, "in_service": False, "exits": exits, "restart": moved}.get(asked.call)

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
    with pytest.raises(NoClusterError, match="keeper of the cluster is gone .*, and the cluster with it; `straybit"):
        ask(CARD, "exits")
    with pytest.raises(NoClusterError, match=r"is gone .*; `straybit sweep` removes its containers \(straybit-1\); `"):
        ask(msgspec.structs.replace(CARD, run="straybit-1"), "exits")


def test_a_card_of_another_straybit_is_refused_and_kept(tmp_path):
    """Its cluster may run, so it is no empty folder to start another in, and `down` does not forget it."""
    old = msgspec.json.encode(msgspec.structs.replace(CARD, schema=1))
    (tmp_path / "cluster.json").write_bytes(old)
    for call in (read_card, end, lambda folder: start(CARD.wanted, folder)):
        with pytest.raises(BackendError, match="is of schema 1, and this straybit reads 2; end that cluster") as caught:
            call(tmp_path)
        assert not isinstance(caught.value, NoClusterError)
    assert (tmp_path / "cluster.json").read_bytes() == old


def test_services_are_steered_through_the_keeper(door):
    """Each call arrives with its name, and answers and errors come back as they are."""
    card, calls, _ = door
    control = Control("gossip-1", ("127.0.0.1", 3), "secret")
    remote = Remote(card, {"gossip-1": control})
    remote.kill("gossip-1")
    remote.start("gossip-1")
    assert control.address == ("127.0.0.1", 5)
    control.close()
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


def test_a_keeper_says_where_all_is_and_what_it_could_not_end(tmp_path, monkeypatch):
    """Its card has Toxiproxy and run, it knows control ports, and who waits for the end hears what is left."""
    cluster = SimpleNamespace(
        topology=Topology.gossip_only(2),
        control=lambda _: SimpleNamespace(token="secret", address=("127.0.0.1", 3)),
        proxy=SimpleNamespace(host="127.0.0.1", port=2),
        network=SimpleNamespace(host="127.0.0.1", port=4),
        fronted=True,
        run="straybit-1",
        restart_s=5.0,
        endpoints=dict,
        restart=lambda _: None,
    )

    @contextmanager
    def stubborn(_):
        yield SimpleNamespace(start=lambda *_, **__: cluster)
        raise BackendError("`straybit sweep` removes what is left")

    monkeypatch.setattr(keeper, "open_backend", stubborn)
    monkeypatch.setattr(keeper.signal, "signal", lambda *_: None)
    found = []
    with ThreadPoolExecutor() as pool:

        def ready(_):
            card = read_card(tmp_path)
            asked = [json.loads(bytes(ask(card, *call))) for call in (("controls",), ("restart", "gossip-1"))]
            found.append((card.network, card.run, card.restart_s, *asked))
            found.append(pool.submit(end, tmp_path))

        with pytest.raises(BackendError):
            keeper.keep(CARD.wanted, tmp_path, ready)
        with pytest.raises(BackendError, match="`straybit sweep` removes what is left"):
            found[1].result(5)
    address = ["127.0.0.1", 3]
    known = {"gossip-1": address, "gossip-2": address}
    assert found[0] == (("127.0.0.1", 4), "straybit-1", 5.0, known, address)
