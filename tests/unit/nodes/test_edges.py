"""Log, metrics, dial table and control port: the edges every node has."""

import asyncio

import msgspec
import pytest
import urllib3
from prometheus_client.parser import text_string_to_metric_families

from straybit_nodes.__main__ import main
from straybit_nodes.config import Dial
from straybit_nodes.control import ControlError, ControlServer, control_routes, member_routes
from straybit_nodes.dial import DialTable
from straybit_nodes.logs import Log
from straybit_nodes.metrics import Metrics
from straybit_nodes.topology import Role


def test_a_log_line_is_one_json_object(tmp_path):
    """Lines are appended, carry clock, service and event first, and survive anything in their fields."""
    log = Log("storage-1", str(tmp_path / "log"))
    log.write("refused", target="/ü\n", code=7)
    log.close()
    log.write("late")
    again = Log("storage-1", str(tmp_path / "log"))
    again.write("started", where=object)
    again.close()
    first, second = (msgspec.json.decode(line) for line in (tmp_path / "log").read_bytes().splitlines())
    assert list(first) == ["t", "service", "event", "target", "code"]
    assert (first["service"], first["event"], first["target"]) == ("storage-1", "refused", "/ü\n")
    assert first["t"] <= second["t"]


def test_a_log_that_cannot_be_written_costs_the_line_only(tmp_path):
    """A full disk does not end a node."""
    log = Log("storage-1", "/dev/full")
    log.write("started")
    log.close()


def test_metrics_of_two_nodes_are_apart():
    """Each node counts for itself, under Prometheus' names."""
    one, other = Metrics(), Metrics()
    one.detections.labels("gossip-crc").inc(3)
    one.frames.labels("in", "state").inc()

    def samples(metrics):
        families = text_string_to_metric_families(metrics.text().decode())
        return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}

    assert samples(one)["straybit_detections_total", "gossip-crc"] == 3
    assert samples(one)["straybit_frames_total", "in", "state"] == 1
    assert ("straybit_detections_total", "gossip-crc") not in samples(other)


def dial(*rows, slow=True, timeout_s=0.05):
    async def listen_and_dial():
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        table = DialTable(
            [Dial(address, Role.STORAGE, "127.0.0.1", port) for address in rows],
            connect_timeout_s=timeout_s,
            slow_failure=slow,
        )
        began = asyncio.get_running_loop().time()
        try:
            _, writer = await table.connect(7, Role.STORAGE)
            writer.close()
            return "connected"
        except OSError as error:
            return type(error), asyncio.get_running_loop().time() - began
        finally:
            server.close()

    return asyncio.run(listen_and_dial())


def test_an_address_in_the_table_is_dialled():
    """A row leads to its listener."""
    assert dial(7) == "connected"


def test_an_address_outside_the_table_is_a_black_hole():
    """Nobody is dialled, and the whole time-out is lost; with slow failure off nothing is."""
    error, seconds = dial(8)
    assert error is TimeoutError
    assert seconds >= 0.04
    error, seconds = dial(8, slow=False, timeout_s=30)
    assert error is ConnectionRefusedError
    assert seconds < 5


class Recorder:
    """A member that notes what it was told."""

    state = "running"

    def __init__(self):
        self.told = []

    def view(self):
        return {"name": "gossip-1", "entries": {}}

    def frames(self, since):
        return {"next": since, "frames": []}

    async def exchange(self, peer):
        self.told.append(("exchange", peer))
        return "no answer" if peer == "gossip-9" else None

    async def clear(self):
        raise ControlError(409, "stop it first")

    def __getattr__(self, name):
        async def told(*arguments):
            self.told.append((name, *arguments))

        return told


def ask(*requests):
    """Answers of a control port to (method, path, body, token)."""

    async def serve():
        member = Recorder()
        server = ControlServer("s3cret", Metrics(), {**control_routes("gossip-1", member), **member_routes(member)})
        await server.listener.open("127.0.0.1", 0)
        base = f"http://127.0.0.1:{server.listener.port}"

        def send(method, path, body=None, token="s3cret"):
            with urllib3.PoolManager(retries=False) as pool:
                headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
                return pool.request(method, base + path, body=body, headers=headers)

        answers = [await asyncio.to_thread(send, *request) for request in requests]
        await server.listener.close()
        return answers, member.told

    return asyncio.run(serve())


@pytest.mark.parametrize("token", [None, "", "guess", "s3cret2", "\u00fc"])
@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/nowhere"])
def test_every_path_wants_the_token(path, token):
    """Without the run's token nothing is shown, not even which paths there are."""
    ((answer,), _) = ask(("GET", path, None, token))
    assert answer.status == 401


def test_commands_reach_the_member():
    """Each path is one method, with its arguments read from the body."""
    answers, told = ask(
        ("GET", "/healthz"),
        ("GET", "/view"),
        ("GET", "/frames?since=7"),
        ("POST", "/exchange", b'{"peer": "gossip-2"}'),
        ("POST", "/exchange", b'{"peer": "gossip-9"}'),
        ("POST", "/round"),
        ("POST", "/heartbeat"),
        ("POST", "/ticks", b'{"on": false}'),
        ("POST", "/stop"),
        ("POST", "/resume", b'{"contacts": ["gossip-3"]}'),
        ("POST", "/resume"),
        ("POST", "/originate", b'{"status": 3}'),
    )
    assert {answer.status for answer in answers} == {200}
    assert [answer.json() for answer in answers[:5]] == [
        {"name": "gossip-1", "state": "running"},
        {"name": "gossip-1", "entries": {}},
        {"next": 7, "frames": []},
        {"ok": True, "error": None},
        {"ok": False, "error": "no answer"},
    ]
    assert told == [
        ("exchange", "gossip-2"),
        ("exchange", "gossip-9"),
        ("round", None),
        ("heartbeat",),
        ("ticks", False),
        ("stop",),
        ("resume", ("gossip-3",)),
        ("resume", None),
        ("originate", 3),
    ]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nowhere", None, 404),
        ("GET", "/stop", None, 404),
        ("POST", "/clear", None, 409),
        ("POST", "/exchange", b"{}", 400),
        ("POST", "/exchange", b'{"peer": 3}', 400),
        ("POST", "/ticks", b'{"on": 1}', 400),
        ("POST", "/originate", b'{"status": "up"}', 400),
        ("POST", "/resume", b'{"contacts": "gossip-3"}', 400),
        ("POST", "/resume", b"[]", 400),
        ("POST", "/resume", b"{", 400),
        ("POST", "/resume", b" " * 70_000, 413),
        ("GET", "/frames?since=x", None, 400),
    ],
)
def test_what_cannot_be_obeyed_is_answered_in_one_line(method, path, body, status):
    """A bad command has a 4xx and says why; the member is not told."""
    ((answer,), told) = ask((method, path, body))
    assert answer.status == status
    assert "\n" not in answer.json()["error"]
    assert not told


@pytest.mark.parametrize("content", [None, b"{", b"{}"])
def test_a_node_without_a_sound_configuration_says_so(tmp_path, capsys, content):
    """A file that is missing or wrong is one line and exit code 2."""
    path = tmp_path / "node.json"
    if content is not None:
        path.write_bytes(content)
    assert main([str(path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(path) in error
    assert main([]) == 2
