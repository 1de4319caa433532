"""Legs to another storage node, which is played by a script."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from straybit_nodes.config import Dial
from straybit_nodes.dial import DialTable
from straybit_nodes.storage.legs import RECORD_HEADER, RemoteReplica, leg_crc, pack_record, target_of
from straybit_nodes.storage.record import Record, make_stamp
from straybit_nodes.storage.replica import ReplicaError
from straybit_nodes.storage.suspects import Suspects
from straybit_nodes.topology import Role

RECORD = Record(bucket="photos", key="k", stamp=make_stamp(1, "storage-2"), size=4)
PACKED = pack_record(RECORD)


class Places:
    """Grants every place until told otherwise, and knows how many are held."""

    def __init__(self, *, denied=False):
        self.denied = denied
        self.held = 0
        self.most = 0

    @asynccontextmanager
    async def place(self, peer):
        if self.denied:
            raise ConnectionError("no place for talking: failed")
        self.held += 1
        self.most = max(self.most, self.held)
        try:
            yield 7
        finally:
            self.held -= 1


def reply(status=200, record=PACKED, body=b"data", crc=None, subject="GET /photos/k"):
    crc = leg_crc(f"{status} {subject}", record, body) if crc is None else crc
    lines = [
        f"HTTP/1.1 {status} X",
        f"{RECORD_HEADER}: {record}",
        f"x-straybit-crc32c: {crc}",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Played:
    """What a leg did: its result or error, what was reported, what went over the wire."""

    def __init__(self):
        self.failures = []
        self.damage = []
        self.heard = b""
        self.places = Places()
        self.result = None


def play(answer, call, *, checksums=True, denied=False):
    """Make one leg with `call`; the other side answers `answer`, None meaning never."""
    played = Played()
    played.places.denied = denied
    serving = []

    async def serve(reader, writer):
        serving.append(asyncio.current_task())
        played.heard = await reader.readuntil(b"\r\n\r\n")
        if answer is None:
            with suppress(ConnectionError):
                await reader.read()
        else:
            writer.write(answer)
        writer.close()

    async def run():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        replica = RemoteReplica(
            "storage-2",
            "gossip-2",
            places=played.places,
            dials=DialTable([Dial(7, Role.STORAGE, "127.0.0.1", port)]),
            token="t",
            checksums=checksums,
            on_failure=lambda node, why: played.failures.append((node, why)),
            on_damage=lambda method, target, why: played.damage.append((method, target, why)),
        )
        try:
            played.result = await call(replica)
        except (ReplicaError, TimeoutError) as error:
            played.result = type(error)
        server.close()
        await asyncio.gather(*serving)

    asyncio.run(run())
    assert played.places.held == 0, "a place was not given back"
    return played


def fetch(replica):
    return replica.fetch("photos", "k")


def test_a_leg_holds_a_place_for_as_long_as_it_lasts():
    """A place is taken for the leg and given back; the answer is record and data."""
    played = play(reply(), fetch)
    assert played.result == (RECORD, b"data")
    assert played.places.most == 1
    assert not played.failures
    assert played.heard.startswith(b"GET /photos/k HTTP/1.1\r\n")
    assert b"x-straybit-replica: t\r\n" in played.heard


def test_absent_is_an_answer():
    """404 says that the replica has no such key; it is no failure."""
    assert play(reply(404, "", b""), fetch).result is None


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"rubbish\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n",
        reply(record="AAAA"),
        reply(record="?"),
        reply(record=pack_record(Record(bucket="photos", key="j", stamp=RECORD.stamp))),
        reply(record=pack_record(Record(bucket="photos", key="k", stamp="soon"))),
    ],
)
def test_what_cannot_be_used_is_a_failed_leg(answer):
    """No reply, a broken one and an error are failures that name the node, once each."""
    played = play(answer, fetch)
    assert played.result is ReplicaError
    assert [node for node, _ in played.failures] == ["storage-2"]


def test_a_denied_place_is_a_failed_leg():
    """Without a place nothing is dialled."""
    played = play(reply(), fetch, denied=True)
    assert (played.result, played.heard) == (ReplicaError, b"")
    assert played.failures == [("storage-2", "no place for talking: failed")]


def test_a_leg_without_an_answer_is_reported_when_it_is_given_up():
    """Whoever stops waiting for a leg has it reported as failed, and the place is free again."""

    async def impatient(replica):
        async with asyncio.timeout(0.05):
            return await fetch(replica)

    played = play(None, impatient)
    assert played.result is TimeoutError
    assert played.failures == [("storage-2", "no answer in time")]


@pytest.mark.parametrize(
    "answer",
    [
        reply(crc=""),
        reply(crc="00000000"),
        reply(404, "", b"", crc=leg_crc("200 GET /photos/k", "", b"")),
        reply(subject="GET /photos/j"),
    ],
)
def test_a_damaged_answer_is_refused(answer):
    """With `content-checksum` an answer without its checksum is damage, reported as such."""
    played = play(answer, fetch)
    assert played.result is ReplicaError
    assert [(method, target) for method, target, _ in played.damage] == [("GET", "/photos/k")]


def test_a_damaged_answer_is_believed_without_the_defence():
    """Without it the bytes are taken as they come."""
    played = play(reply(crc="00000000"), fetch, checksums=False)
    assert (played.result, played.damage) == ((RECORD, b"data"), [])


def test_a_write_names_the_object_as_a_client_would():
    """Put and delete are legs of those methods on the object's own target."""

    async def put(replica):
        await replica.put(RECORD, b"data")

    async def delete(replica):
        await replica.put(Record(bucket="photos", key="a ü/..", stamp=RECORD.stamp, deleted=True), b"")

    empty = reply(record="", body=b"", subject="PUT /photos/k")
    assert play(empty, put).heard.startswith(b"PUT /photos/k HTTP/1.1\r\n")
    assert play(empty, delete).heard.startswith(b"DELETE /photos/a%20%C3%BC/.. HTTP/1.1\r\n")
    assert target_of("photos", "") == "/photos"


@pytest.mark.parametrize("body", [b"{}", b"[1]", b"nothing"])
def test_a_list_that_cannot_be_read_is_a_failed_leg(body):
    """A replica's list must be one."""

    async def scan(replica):
        return await replica.scan("photos", "a/", "a/b c", 10)

    played = play(reply(record="", body=body), scan)
    assert played.result is ReplicaError
    assert b"GET /photos?list-type=2&prefix=a%2F&start-after=a%2Fb%20c&max-keys=10 " in played.heard


def test_who_failed_is_asked_last_for_two_seconds():
    """A suspect moves behind the others and comes back by itself."""
    now = [0.0]
    suspects = Suspects(lambda: now[0])
    suspects.failed("b")
    assert suspects.order(["b", "a", "c"]) == ("a", "c", "b")
    now[0] = 2.1
    assert suspects.order(["b", "a", "c"]) == ("b", "a", "c")
