"""The client of control ports, against a node's real control server with a stand-in behind it."""

import asyncio
import socket
import threading

import pytest

from straybit.control import Control, ControlError, Frame, NodeRefusedError, NodeSilentError
from straybit.observe import felt, wait_felt
from straybit_nodes.control import ControlError as Refusal
from straybit_nodes.control import ControlServer, control_routes, member_routes
from straybit_nodes.metrics import Metrics

TOKEN = "the run's own"
ENTRY = {"address": 167837697, "status": 1, "load": 3, "generation": 7, "version": 9}


class StandIn:
    """A member that remembers what it was told."""

    state = "held"

    def __init__(self):
        self.told = []
        self.received = [{"seq": 4, "t": 1.5, "from": "gossip-2", "kind": "state", "crc": 77}]

    def view(self):
        return {
            "name": "gossip-1",
            "now": 2.5,
            "state": self.state,
            "entries": {"gossip-2": ENTRY},
            "marked": ["gossip-3"],
            "originated": {"address": 1, "status": 1, "generation": 7, "heartbeats": 4},
            "busy": 1,
            "queued": 2,
            "exchanges": {"ok": 3, "failed": 4},
            "inflight": 0,
        }

    async def stop(self):
        self.state = "stopped"

    async def clear(self):
        if self.state != "stopped":
            raise Refusal(409, "stop it first")

    async def resume(self, contacts):
        self.told.append(contacts)
        self.state = "running"

    def frames(self, since):
        frames = [frame for frame in self.received if frame["seq"] >= since]
        return {"next": self.received[-1]["seq"] + 1, "frames": frames}

    async def exchange(self, peer):
        return None if peer == "gossip-2" else "time-out"

    async def round(self, peer):
        self.told.append(peer)

    async def heartbeat(self):
        self.told.append("heartbeat")

    async def ticks(self, on):
        self.told.append(on)

    async def originate(self, status):
        self.told.append(status)


@pytest.fixture
def node():
    return StandIn()


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def address(node, metrics):
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = ControlServer(TOKEN, metrics, {**control_routes("gossip-1", node), **member_routes(node)})
    asyncio.run_coroutine_threadsafe(server.listener.open("127.0.0.1", 0), loop).result(5)
    yield "127.0.0.1", server.listener.port
    asyncio.run_coroutine_threadsafe(server.listener.close(), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def control(address):
    control = Control("gossip-1", address, TOKEN)
    yield control
    control.close()


def test_health_and_view_are_typed(control):
    """Health and view arrive as records."""
    assert (control.healthz().name, control.healthz().state) == ("gossip-1", "held")
    view = control.view()
    assert view.entries["gossip-2"].generation == 7
    assert view.originated.heartbeats == 4
    assert (view.marked, view.busy, view.queued, view.exchanges) == (("gossip-3",), 1, 2, {"ok": 3, "failed": 4})


def test_commands_reach_the_node(control, node):
    """Every command arrives with its argument."""
    control.round()
    control.round("gossip-2")
    control.heartbeat()
    control.ticks(False)
    control.originate(2)
    control.resume(["gossip-2"])
    control.resume()
    assert node.told == [None, "gossip-2", "heartbeat", False, 2, ("gossip-2",), None]
    assert control.healthz().state == "running"


def test_exchange_says_how_it_ended(control):
    """An exchange that fails is an answer, not an error of the call."""
    assert control.exchange("gossip-2").ok
    assert control.exchange("gossip-9").error == "time-out"


def test_refusal_is_one_line_with_its_reason(control):
    """What a node refuses is an error that names node, call, status and reason."""
    with pytest.raises(NodeRefusedError, match="gossip-1: POST /clear was refused with 409: stop it first") as caught:
        control.clear()
    assert caught.value.status == 409
    control.stop()
    control.clear()


def test_the_environments_proxy_is_passed_by(control, dead_http_proxy):
    """HTTP_PROXY is for other machines: a control port is on this one."""
    assert control.healthz().name == "gossip-1"


def test_wrong_token_is_refused(address):
    """Without the run's token nothing is answered."""
    stranger = Control("gossip-1", address, "another")
    with pytest.raises(NodeRefusedError, match="401"):
        stranger.view()
    stranger.close()


def test_dead_node_is_silent():
    """A port that refuses is an error at once, in one line."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
    with pytest.raises(NodeSilentError, match=r"gossip-1: no answer to GET /healthz: connection refused$"):
        Control("gossip-1", address, TOKEN).healthz()


def test_hung_node_is_silent():
    """A node that accepts and never answers is an error after the time-out."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        control = Control("gossip-1", server.getsockname(), TOKEN, answer_s=0.05)
        with pytest.raises(NodeSilentError, match=r"no answer to POST /heartbeat: time-out$"):
            control.heartbeat()
        control.close()


def test_rubbish_is_said(control, node, monkeypatch):
    """An answer of another shape is an error that says so."""
    monkeypatch.setattr(node, "view", lambda: {"name": 7})
    with pytest.raises(ControlError, match="something else"):
        control.view()


def test_metrics_are_read_and_summed(control, metrics):
    """A metric's value is the sum over the labels that were left open."""
    metrics.frames.labels(direction="in", kind="state").inc(3)
    metrics.frames.labels(direction="out", kind="state").inc(4)
    assert control.metric("straybit_frames_total") == 7
    assert control.metric("straybit_frames_total", direction="in") == 3
    assert control.metric("straybit_nothing") == 0


def test_connection_is_kept(control):
    """Two calls use one connection."""
    control.healthz()
    control.healthz()
    assert control._pool.num_connections == 1


def test_frame_is_felt_once_it_was_received(control, node):
    """A frame is felt when its checksum turns up among those received since the mark."""
    assert felt(control, 77) == Frame(4, 1.5, "gossip-2", "state", 77)
    assert felt(control, 77, since=5) is None
    late = {"seq": 5, "t": 1.6, "from": "gossip-3", "kind": "digest", "crc": 78}
    threading.Timer(0.05, lambda: node.received.append(late)).start()
    assert wait_felt(control, 78, 5, timeout_s=10).seq == 5
    assert wait_felt(control, 79, 5, timeout_s=0.01) is None
