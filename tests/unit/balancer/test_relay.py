"""The balancer between a client and storage nodes that are played by a script."""

import asyncio
from contextlib import asynccontextmanager

import msgspec
import pytest

from straybit_nodes.balancer import relay as relay_module
from straybit_nodes.balancer import server as server_module
from straybit_nodes.balancer.server import BalancerNode
from straybit_nodes.config import Dial, NodeConfig
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.serve import Edges
from straybit_nodes.storage.placement import holders
from straybit_nodes.topology import Role, Topology

TOPOLOGY = Topology.sized()
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: "x"\r\nX-Odd-Case: 1\r\n\r\nok'


class Member:
    """A gossip member that knows everybody and grants every place."""

    state = "held"

    def __init__(self, denied=()):
        self.denied = denied
        self.placed = []

    def entries(self):
        return {m.name: {"address": m.address, "status": 1} for m in TOPOLOGY.members()}

    def marked(self):
        return frozenset()

    def view(self):
        return {"inflight": 0}

    async def open(self, host, port):
        return None

    async def close(self):
        return None

    async def resume(self, contacts):
        self.state = "running"

    async def stop(self):
        self.state = "stopped"

    def __getattr__(self, name):
        async def nothing(*_):
            return None

        return nothing

    @asynccontextmanager
    async def place(self, peer):
        self.placed.append(peer)
        if peer in self.denied:
            raise ConnectionError("denied")
        yield TOPOLOGY.service(peer).address


class Backend:
    """Storage nodes on sockets: each connection is read whole, then answered as `script` says."""

    def __init__(self, script):
        self.script = list(script)
        self.heard = []

    async def serve(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        lower = head.lower()
        body = b""
        if b"content-length: " in lower:
            body = await reader.readexactly(int(lower.split(b"content-length: ")[1].split(b"\r\n")[0]))
        elif b"transfer-encoding: chunked" in lower:
            body = await reader.readuntil(b"0\r\n\r\n")
        self.heard.append((head, body))
        reply = self.script.pop(0)
        if reply is None:
            await reader.read()
        else:
            writer.write(reply)
        writer.close()


def talk(tmp_path, script, *requests, member=None, deadline_s=1.0):
    """Send `requests` over one connection; what came back, what storage nodes heard, log lines and metrics."""
    return asyncio.run(_talk(tmp_path, script, requests, member or Member(), Rules(deadline_s=deadline_s)))


async def _talk(tmp_path, script, requests, member, rules):
    backend = Backend(script)
    server = await asyncio.start_server(backend.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    log = tmp_path / "lb.ndjson"
    config = NodeConfig(
        service=TOPOLOGY.service("lb-2"),
        members=TOPOLOGY.members(),
        dials=tuple(Dial(m.address, Role.STORAGE, "127.0.0.1", port) for m in TOPOLOGY.members()),
        listen=("127.0.0.1", 0),
        control=("127.0.0.1", 0),
        gossip_listen=("127.0.0.1", 0),
        token="t",
        data_dir=str(tmp_path),
        held=False,
        rules=rules,
        log=str(log),
    )
    edges = Edges(config)
    node = BalancerNode(config, log=edges.log, metrics=edges.metrics, dials=edges.dials, member=member)
    await node.open()
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    for request in requests:
        writer.write(request)
    answer = await reader.read()
    writer.close()
    await node.close()
    server.close()
    edges.log.close()
    lines = [msgspec.json.decode(line) for line in log.read_bytes().splitlines()]
    return answer, backend.heard, [line for line in lines if line["event"] == "request"], edges.metrics


def count(counter):
    return counter._value.get()


PUT = (
    b"PUT /photos/a%20b/%C3%BC//..%2F?x=%20+y HTTP/1.1\r\nHost: s3.example:80\r\nX-Odd-Case: Yes\r\n"
    b"Content-MD5: abc\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"
)


def test_the_request_goes_on_byte_for_byte(tmp_path):
    """Target, headers and body reach the coordinator as the client wrote them."""
    answer, heard, (line,), metrics = talk(tmp_path, [OK], PUT)
    ((head, body),) = heard
    assert head.startswith(b"PUT /photos/a%20b/%C3%BC//..%2F?x=%20+y HTTP/1.1\r\n")
    assert b"\r\nHost: s3.example:80\r\nX-Odd-Case: Yes\r\nContent-MD5: abc\r\n" in head
    assert head.count(b"Content-Length: 4") == 1
    assert body == b"body"
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'ETag: "x"' in answer
    assert answer.endswith(b"\r\n\r\nok")
    assert (line["status"], line["tries"], line["checksum"], line["code"]) == (200, 1, "content-md5", "")
    assert (count(metrics.checksum_requests), count(metrics.checksum_rejected)) == (1, 0)


def test_a_refused_digest_is_logged_and_counted(tmp_path):
    """A 400 with an integrity code among requests that carry a digest is what the alarm lives on."""
    body = b"<Error><Code>BadDigest</Code></Error>"
    reply = b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    answer, _, (line,), metrics = talk(tmp_path, [reply], PUT)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert (line["status"], line["code"], line["tries"]) == (400, "BadDigest", 1)
    assert (count(metrics.checksum_requests), count(metrics.checksum_rejected)) == (1, 1)


def test_a_request_without_a_digest_is_not_counted(tmp_path):
    """A GET's hash of its empty body is no digest of anything."""
    get = b"GET /photos/k HTTP/1.1\r\nHost: x\r\nx-amz-content-sha256: %b\r\nConnection: close\r\n\r\n" % (b"0" * 64)
    _, _, (line,), metrics = talk(tmp_path, [OK], get)
    assert line["checksum"] == ""
    assert count(metrics.checksum_requests) == 0


def test_another_coordinator_is_tried_when_no_reply_came(tmp_path):
    """A connection that ends without a byte means the next holder; what was not answered is asked again."""
    member = Member()
    answer, heard, (line,), _ = talk(tmp_path, [b"", b"", OK], PUT, member=member)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert len(heard) == 3
    assert line["tries"] == 3
    nodes = holders([f"storage-{n}" for n in range(4, 9)], "photos", "a b/ü//../")
    assert member.placed == [name.replace("storage", "gossip") for name in nodes]
    assert line["coordinator"] == nodes[2]


def test_three_tries_are_all(tmp_path):
    """After three coordinators without a reply the client gets 503."""
    answer, heard, (line,), _ = talk(tmp_path, [b""] * 3, PUT)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"<Code>ServiceUnavailable</Code>" in answer
    assert (len(heard), line["tries"], line["code"], line["coordinator"]) == (3, 3, "ServiceUnavailable", "")


def test_a_denied_place_counts_as_no_reply(tmp_path):
    """A coordinator that gossip cannot reach is passed over without a request."""
    nodes = holders([f"storage-{n}" for n in range(4, 9)], "photos", "a b/ü//../")
    member = Member(denied={nodes[0].replace("storage", "gossip")})
    answer, heard, (line,), _ = talk(tmp_path, [OK], PUT, member=member)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert (len(heard), line["tries"]) == (1, 2)


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"rubbish\r\n\r\n",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_a_broken_reply_is_502_and_no_other_try(tmp_path, reply):
    """A reply that began and cannot be read ends the request: the write may have happened."""
    answer, heard, (line,), _ = talk(tmp_path, [reply, OK], PUT)
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert (len(heard), line["code"]) == (1, "BadGateway")


def test_an_error_of_the_coordinator_is_passed_on(tmp_path):
    """A 503 is a reply: nobody else is asked."""
    reply = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n"
    answer, heard, _, _ = talk(tmp_path, [reply, OK], PUT)
    assert answer.startswith(b"HTTP/1.1 503 Slow Down")
    assert len(heard) == 1


def test_a_coordinator_that_hangs_leaves_time_for_another(tmp_path):
    """A try is given up in time for a second one within the deadline."""
    answer, heard, (line,), _ = talk(tmp_path, [None, OK], PUT)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert (len(heard), line["tries"]) == (2, 2)


def test_without_a_retry_left_one_try_is_all(tmp_path, monkeypatch):
    """When the budget of retries is spent, a request that nobody answered is an error at once."""
    monkeypatch.setattr(relay_module.RetryBudget, "take", lambda _: False)
    answer, heard, (line,), _ = talk(tmp_path, [None, OK], PUT)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert (len(heard), line["tries"]) == (1, 1)


def test_all_tries_together_have_a_deadline(tmp_path):
    """When every coordinator hangs the client is answered within the deadline that the rules say."""
    answer, heard, (line,), _ = talk(tmp_path, [None] * 3, PUT, deadline_s=0.2)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert len(heard) == 2
    assert 0.19 <= line["seconds"] < 0.9


def test_framing_is_kept(tmp_path):
    """A chunked body stays chunked, a PUT without a length stays without, and Expect is answered here."""
    chunked = (
        b"PUT /photos/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    _, ((head, body),), _, _ = talk(tmp_path, [OK], chunked)
    assert b"Transfer-Encoding: chunked" in head
    assert b"Content-Length" not in head
    assert body == b"5\r\nabcde\r\n0\r\n\r\n"
    _, ((head, body),), _, _ = talk(tmp_path, [OK], b"PUT /photos/k HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"Content-Length" not in head
    _, ((head, body),), _, _ = talk(
        tmp_path, [OK], b"PUT /photos/k HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    assert b"Content-Length: 0" in head
    expecting = PUT.replace(b"Connection: close", b"Expect: 100-continue\r\nConnection: close")
    answer, ((head, _),), _, _ = talk(tmp_path, [OK], expecting)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
    assert b"Expect" not in head


def test_a_client_keeps_its_connection(tmp_path):
    """Several requests go over one connection of the client, each over a new one to a coordinator."""
    first = PUT.replace(b"Connection: close\r\n", b"")
    answer, heard, lines, _ = talk(tmp_path, [OK, OK], first, PUT)
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert (len(heard), len(lines)) == (2, 2)


def test_a_head_keeps_the_length_of_what_it_has_no_body_of(tmp_path):
    """The reply to HEAD says how long the object is."""
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n"
    answer, _, _, _ = talk(tmp_path, [reply], b"HEAD /photos/k HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"Content-Length: 12345" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_a_body_that_is_too_large_is_refused(tmp_path):
    """What would not fit into memory is refused before it is read."""
    huge = PUT.replace(b"Content-Length: 4", b"Content-Length: 999999999").replace(b"body", b"")
    answer, heard, (line,), _ = talk(tmp_path, [], huge)
    assert b"EntityTooLarge" in answer
    assert (heard, line["code"]) == ([], "EntityTooLarge")


def test_requests_beyond_the_bound_are_told_to_slow_down(tmp_path, monkeypatch):
    """A balancer relays so many requests at a time and answers SlowDown beyond."""
    monkeypatch.setattr(server_module, "_INFLIGHT_MAX", 0)
    answer, heard, (line,), _ = talk(tmp_path, [], PUT)
    assert b"<Code>SlowDown</Code>" in answer
    assert (heard, line["tries"], line["code"]) == ([], 0, "SlowDown")
