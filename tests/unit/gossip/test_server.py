"""Gossip nodes on real sockets, in one loop: exchanges, places, defences, control."""

import asyncio
import json
import socket
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from straybit_nodes.config import Dial, NodeConfig
from straybit_nodes.control import ControlError
from straybit_nodes.dial import DialTable
from straybit_nodes.gossip import connection, member, ring
from straybit_nodes.gossip import messages as m
from straybit_nodes.gossip.codec import encode
from straybit_nodes.gossip.damping import PERIOD_S
from straybit_nodes.gossip.layout import HEADER
from straybit_nodes.gossip.member import GossipMember
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.gossip.seal import Seals, key_of
from straybit_nodes.gossip.server import GossipNode
from straybit_nodes.gossip.sibling import Sibling
from straybit_nodes.gossip.wire import WIRE
from straybit_nodes.logs import Log
from straybit_nodes.metrics import Metrics
from straybit_nodes.topology import Role, Topology

TOPOLOGY = Topology.gossip_only(3)
SERVICES = TOPOLOGY.services()
BLACK_HOLE = 0x0A0100FE


class Table(DialTable):
    """A dial table whose rows can be set once ports are known."""

    def __init__(self, rules):
        super().__init__((), connect_timeout_s=rules.connect_timeout_s, slow_failure=rules.slow_failure)
        self.rows = {}

    def find(self, address, role):
        return self.rows.get((address, role))


class Cluster:
    """Three gossip nodes on ports of their own, stepped unless `ticks`."""

    def __init__(self, folder, *, defences=(), rules=None, ticks=False):
        self.folder = folder
        self.defences = defences
        self.rules = rules = rules or Rules()
        self.ticks = ticks
        self.nodes: dict[str, GossipMember] = {}
        self.metrics: dict[str, Metrics] = {}
        self.table = Table(rules)

    def config(self, service, name=None):
        return NodeConfig(
            service=service,
            members=SERVICES,
            dials=tuple(Dial(a, r, *p) for (a, r), p in self.table.rows.items()),
            listen=("127.0.0.1", 0),
            control=("127.0.0.1", 0),
            token="t",
            data_dir=str(self.folder / (name or service.name)),
            defences=tuple(self.defences),
            rules=self.rules,
            ticks=self.ticks,
            log=str(self.folder / f"{name or service.name}.log"),
        )

    async def start(self, service):
        config = self.config(service)
        metrics = self.metrics[service.name] = Metrics()
        member = GossipMember(config, log=Log(service.name, config.log), metrics=metrics, dials=self.table)
        await member.open("127.0.0.1", 0)
        self.table.rows[service.address, Role.GOSSIP] = ("127.0.0.1", member.port)
        self.nodes[service.name] = member
        return member

    def log(self, name):
        path = Path(self.folder / f"{name}.log")
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def count(self, name, defence):
        return self.metrics[name].registry.get_sample_value("straybit_detections_total", {"defence": defence}) or 0.0


@asynccontextmanager
async def cluster(folder, **how):
    made = Cluster(folder, **how)
    try:
        for service in SERVICES:
            await made.start(service)
        for node in made.nodes.values():
            await node.resume(None)
        yield made
    finally:
        for node in made.nodes.values():
            await node.close()


async def until(what, within_s=5.0):
    async with asyncio.timeout(within_s):
        while not what():  # noqa: ASYNC110 - the condition lives in several nodes
            await asyncio.sleep(0.005)


async def spoken(port, data):
    """What a listener answers to these bytes until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
    return answer


async def say(node, *entries, sender="gossip-3"):
    """A state message from outside."""
    await spoken(node.port, encode(m.State(entries), sender, sealed=False))


def poisoned(owner, **values):
    service = TOPOLOGY.service(owner)
    entry = {"address": service.address, "status": m.UP, "load": 0, "generation": 1_216_540_800, "version": 5}
    return m.Entry(owner, **(entry | values))


@pytest.mark.parametrize("defences", [(), ("gossip-crc",)])
def test_two_exchanges_bring_everybody_level(tmp_path, defences):
    """After stepped exchanges each node's view holds all entries, and every frame is in the receivers' rings."""

    async def run():
        async with cluster(tmp_path, defences=defences) as made:
            one, two, three = made.nodes.values()
            await two.heartbeat()
            assert await one.exchange("gossip-2") is None
            assert await one.exchange("gossip-3") is None
            await until(lambda: len(three.entries()) == 3)
            assert one.entries() == three.entries()
            assert three.entries()["gossip-2"]["version"] == 1
            assert [frame["kind"] for frame in one.frames(0)["frames"]] == ["state", "state"]
            assert [frame["kind"] for frame in three.frames(0)["frames"]] == ["digest", "state"]
            assert three.frames(1)["frames"][0]["seq"] == 1
            assert one.view()["exchanges"] == {"ok": 2, "failed": 0}

    asyncio.run(run())


def test_with_ticks_news_travels_by_itself(tmp_path):
    """A status that its owner sets reaches every view without a word from the control port."""

    async def run():
        async with cluster(tmp_path, ticks=True) as made:
            one, *_ = made.nodes.values()
            await one.originate(7)
            await until(
                lambda: all(node.entries().get("gossip-1", {}).get("status") == 7 for node in made.nodes.values())
            )
            assert one.view()["originated"]["status"] == 7

    asyncio.run(run())


def test_a_black_hole_costs_the_time_out_and_marks_the_peer(tmp_path):
    """An address outside the dial table is never dialled; the exchange fails after the connect time-out."""

    async def run():
        rules = Rules(connect_timeout_s=0.3, tell_count=0, verify_retries=0)
        async with cluster(tmp_path, rules=rules) as made:
            one, two, _ = made.nodes.values()
            assert await one.exchange("gossip-2") is None
            await say(one, poisoned("gossip-2", address=BLACK_HOLE))
            began = time.monotonic()
            assert "nobody there" in await one.exchange("gossip-2")
            assert 0.29 < time.monotonic() - began < 5.0
            assert one.marked() == {"gossip-2"}
            assert two.frames(0)["next"] == 2
            assert one.view()["entries"]["gossip-2"]["address"] == BLACK_HOLE

    asyncio.run(run())


def test_refused_at_once_when_failure_is_fast(tmp_path):
    """With `slow_failure` off the same address fails without waiting."""

    async def run():
        async with cluster(tmp_path, rules=Rules(connect_timeout_s=5, slow_failure=False, tell_count=0)) as made:
            one, *_ = made.nodes.values()
            await spoken(
                one.port, encode(m.State((poisoned("gossip-2", address=BLACK_HOLE),)), "gossip-3", sealed=False)
            )
            began = time.monotonic()
            assert "nobody" in await one.exchange("gossip-2")
            assert time.monotonic() - began < 2.0

    asyncio.run(run())


@pytest.mark.parametrize("on", [True, False])
def test_gossip_crc_refuses_a_flipped_version(tmp_path, on):
    """On: refused, counted once, logged by name, nothing adopted. Off: believed."""

    async def run():
        async with cluster(tmp_path, defences=("gossip-crc",) if on else ()) as made:
            one, *_ = made.nodes.values()
            frame = bytearray(encode(m.State((poisoned("gossip-3"),)), "gossip-2", sealed=on))
            frame[-16] ^= 0x40
            await spoken(one.port, bytes(frame))
            known = one.entries().get("gossip-3")
            assert (known is None) == on
            assert made.count("gossip-1", "gossip-crc") == on
            refused = [line for line in made.log("gossip-1") if line["event"] == "refused"]
            assert len(refused) == on
            if on:
                assert (refused[0]["defence"], refused[0]["from"], refused[0]["kind"]) == (
                    "gossip-crc",
                    "gossip-2",
                    "state",
                )
                assert refused[0]["crc"] == one.frames(0)["frames"][0]["crc"]
            else:
                assert known["version"] == 5 ^ 1 << 62

    asyncio.run(run())


def sealed_entry(owner, **values):
    return Seals(key_of(0)).sealed(poisoned(owner, **values))


@pytest.mark.parametrize("on", [True, False])
def test_entry_digest_refuses_what_was_damaged_before_its_checksum(tmp_path, on):
    """On: refused though its frame's checksum is right, counted once, logged; the rest is taken. Off: believed."""

    async def run():
        defences = ("gossip-crc", "entry-digest") if on else ("gossip-crc",)
        async with cluster(tmp_path, defences=defences) as made:
            one, *_ = made.nodes.values()
            frame = bytearray(
                encode(m.State((sealed_entry("gossip-2"), sealed_entry("gossip-3"))), "gossip-2", sealed=True)
            )
            frame[-16] ^= 0x40
            assert WIRE.reseal(frame)
            await spoken(one.port, bytes(frame))
            assert one.entries().keys() == ({"gossip-1", "gossip-2"} if on else {"gossip-1", "gossip-2", "gossip-3"})
            assert (made.count("gossip-1", "entry-digest"), made.count("gossip-1", "gossip-crc")) == (on, 0)
            refused = [line for line in made.log("gossip-1") if line["event"] == "refused"]
            assert [(line["defence"], line["from"], line["kind"]) for line in refused] == [
                ("entry-digest", "gossip-2", "state")
            ] * on
            assert all(line["crc"] == one.frames(0)["frames"][0]["crc"] for line in refused)

    asyncio.run(run())


@pytest.mark.parametrize("on", [True, False])
def test_the_storage_node_judges_entries_as_well(tmp_path, on):
    """The last hop is no exception: what its gossip node tells a storage node is held against the owner's digest."""

    async def run():
        async def tell(reader, writer):
            damaged = msgspec.structs.replace(sealed_entry("gossip-3"), address=BLACK_HOLE)
            writer.write(
                encode(m.State((sealed_entry("gossip-2"), damaged), (), replace=True), "gossip-1", sealed=False)
            )
            await reader.read()
            writer.close()

        server = await asyncio.start_server(tell, "127.0.0.1", 0)
        made = Cluster(tmp_path, defences=("entry-digest",) if on else ())
        made.table.rows[SERVICES[0].address, Role.GOSSIP] = server.sockets[0].getsockname()
        async with server, beside(made, SERVICES[0]) as line:
            await until(line.entries)
            assert line.entries().keys() == ({"gossip-2"} if on else {"gossip-2", "gossip-3"})
            assert [line["defence"] for line in made.log("storage-1") if line["event"] == "refused"] == [
                "entry-digest"
            ] * on

    asyncio.run(run())


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize(("field", "bit"), [("generation", 40), ("version", 62)])
def test_value_bounds_refuse_an_impossible_jump(tmp_path, on, field, bit):
    """On: the entry is refused and counted, and others in the same message are taken. Off: believed."""

    async def run():
        async with cluster(tmp_path, defences=("value-bounds",) if on else ()) as made:
            one, *_ = made.nodes.values()
            wild = poisoned("gossip-3", **{field: getattr(poisoned("gossip-3"), field) ^ 1 << bit})
            await say(one, wild, poisoned("gossip-2"))
            assert ("gossip-3" in one.entries()) != on
            assert "gossip-2" in one.entries()
            assert made.count("gossip-1", "value-bounds") == on

    asyncio.run(run())


@pytest.mark.parametrize("on", [True, False])
def test_gossip_alarm_fires_once_and_names_the_peer(tmp_path, on):
    """On: a peer whose exchanges fail raises one alarm with its name. Off: silence."""

    async def run():
        rules = Rules(connect_timeout_s=0.15, tell_count=0, verify_retries=0)
        async with cluster(tmp_path, rules=rules, defences=("gossip-alarm",) if on else ()) as made:
            one, *_ = made.nodes.values()
            for _ in range(10):
                assert await one.exchange("gossip-3") is None
                assert await one.exchange("gossip-2") is None
            await spoken(
                one.port, encode(m.State((poisoned("gossip-2", address=BLACK_HOLE),)), "gossip-3", sealed=False)
            )
            for count in range(8):
                assert await one.exchange("gossip-2") is not None
                assert made.count("gossip-1", "gossip-alarm") == (on and count >= 3)
            alarms = [line for line in made.log("gossip-1") if line["event"] == "alarm"]
            assert [(line["defence"], line["culprit"]) for line in alarms] == [("gossip-alarm", "gossip-2")] * on

    asyncio.run(run())


@pytest.mark.parametrize("on", [True, False])
def test_failed_peer_damping_bounds_what_the_metric_counts(tmp_path, on):
    """Eight failures of one peer: off, each is told of; on, one in two seconds is, and the rest counts as damped."""

    async def run():
        rules = Rules(slow_failure=False, tell_count=1, verify_retries=0)
        async with cluster(tmp_path, rules=rules, defences=("failed-peer-damping",) if on else ()) as made:
            one, *_ = made.nodes.values()
            await say(one, poisoned("gossip-2", address=BLACK_HOLE))
            began = time.monotonic()
            for _ in range(8):
                assert await one.exchange("gossip-2") is not None
            most = 1 + (time.monotonic() - began) / PERIOD_S if on else 8
            told, damped = (
                made.metrics["gossip-1"].registry.get_sample_value(
                    "straybit_failed_talk_total", {"kind": "tell", "result": result}
                )
                or 0
                for result in ("done", "damped")
            )
            assert told + damped == 8
            assert 1 <= told <= most
            assert on or told == 8
            await until(lambda: all(node.view()["inflight"] == 0 for node in made.nodes.values()))

    asyncio.run(run())


@pytest.mark.parametrize("defences", [(), ("gossip-crc",)])
def test_rubbish_harms_nobody(tmp_path, defences):
    """Bytes that are no frame close their own connection at most; exchanges go on."""

    async def run():
        async with cluster(tmp_path, defences=defences, rules=Rules(connect_timeout_s=0.25)) as made:
            one, *_ = made.nodes.values()
            sealed = bool(defences)
            huge = bytearray(encode(m.Ok(), "x", sealed=sealed))
            huge[HEADER.offset("length")] = 0xFF
            half = encode(m.State((poisoned("gossip-2"),)), "gossip-2", sealed=sealed)[:-1]
            for rubbish in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 100, b"sb", bytes(huge), half, b"\xff" * 9):
                assert await spoken(one.port, rubbish) == b""
            for message in (m.Ok(), m.Granted(1, 2), m.Release(9), m.Place(1, "gossip-2")):
                assert await spoken(one.port, encode(message, "gossip-9", sealed=sealed)) == b""
            assert await one.exchange("gossip-2") is None
            assert set(one.entries()) == {"gossip-1", "gossip-2"}

    asyncio.run(run())


@asynccontextmanager
async def beside(made, service):
    """A storage node's line to the gossip node of `service`."""
    config = made.config(service, f"storage-{service.number}")
    line = Sibling(config, log=Log("storage", config.log), metrics=Metrics(), dials=made.table)
    await line.start()
    try:
        yield line
    finally:
        await line.stop()


def test_a_sibling_knows_what_its_gossip_node_knows(tmp_path):
    """A storage node's view follows its gossip node's, through a clear as well."""

    async def run():
        async with cluster(tmp_path, defences=("gossip-crc",)) as made, beside(made, SERVICES[0]) as line:
            one, *_ = made.nodes.values()
            await until(lambda: line.entries() == one.entries() != {})
            await one.exchange("gossip-2")
            await until(lambda: set(line.entries()) == {"gossip-1", "gossip-2"})
            assert [frame["kind"] for frame in line.frames(0)["frames"]][:2] == ["state", "state"]
            await one.stop()
            await one.clear()
            await until(lambda: set(line.entries()) == {"gossip-1"})

    asyncio.run(run())


def test_a_place_comes_after_an_exchange_and_is_bounded(tmp_path):
    """Each place is preceded by an exchange; with all slots held the next waits, and a full queue denies."""

    async def run():
        async with cluster(tmp_path, rules=Rules(slots=2, queue=1)) as made, beside(made, SERVICES[0]) as line:
            one, two, _ = made.nodes.values()
            await until(lambda: line.connected and line.entries())
            async with line.place("gossip-2") as address, line.place("gossip-2") as _:
                assert address == SERVICES[1].address
                assert one.view()["exchanges"]["ok"] == 2
                assert one.view()["busy"] == 2
                third = asyncio.ensure_future(line.place("gossip-2").__aenter__())
                await until(lambda: one.view()["queued"] == 1)
                with pytest.raises(ConnectionError, match="full"):
                    await line.place("gossip-2").__aenter__()
                third.cancel()
                await until(lambda: one.view()["queued"] == 0)
            await until(lambda: one.view()["busy"] == 0)
            with pytest.raises(ConnectionError, match="unknown"):
                await line.place("gossip-7").__aenter__()
            assert two.entries().keys() >= {"gossip-1"}

    asyncio.run(run())


def test_places_are_given_back_when_the_storage_node_dies(tmp_path):
    """A broken line frees the slots it held, and denies those that wait on it."""

    async def run():
        async with cluster(tmp_path) as made, beside(made, SERVICES[0]) as line:
            one, *_ = made.nodes.values()
            await until(lambda: line.connected)
            held = line.place("gossip-2")
            await held.__aenter__()
            assert one.view()["busy"] == 1
            await line.stop()
            await until(lambda: one.view()["busy"] == 0)
            with pytest.raises(ConnectionError):
                await line.place("gossip-2").__aenter__()
            await held.__aexit__(None, None, None)

    asyncio.run(run())


def test_without_gossip_before_request_no_place_is_needed(tmp_path):
    """With that rule off, a grant comes at once, without an exchange and without a slot."""

    async def run():
        rules = Rules(gossip_before_request=False)
        async with cluster(tmp_path, rules=rules) as made, beside(made, SERVICES[0]) as line:
            one, *_ = made.nodes.values()
            await until(lambda: line.connected)
            async with line.place("gossip-2") as address, one.place("gossip-3") as own:
                assert (address, own) == (SERVICES[1].address, SERVICES[2].address)
                assert one.view()["busy"] == 0
                assert one.view()["exchanges"] == {"ok": 0, "failed": 0}

    asyncio.run(run())


def test_a_sibling_comes_back_when_its_gossip_node_does(tmp_path):
    """A restarted gossip node is found again at its new place without help."""

    async def run():
        async with cluster(tmp_path) as made, beside(made, SERVICES[0]) as line:
            await until(lambda: line.connected)
            await made.nodes["gossip-1"].close()
            await until(lambda: not line.connected)
            again = await made.start(SERVICES[0])
            await again.resume(None)
            await until(lambda: line.connected)
            async with line.place("gossip-2") as address:
                assert address == SERVICES[1].address

    asyncio.run(run())


def test_stop_is_silence_and_clear_wants_it(tmp_path):
    """A running node is not cleared; a stopped one closes what comes, denies places, and forgets on request."""

    async def run():
        async with cluster(tmp_path) as made:
            one, two, _ = made.nodes.values()
            await one.exchange("gossip-2")
            with pytest.raises(ControlError):
                await one.clear()
            await one.stop()
            assert one.state == "stopped"
            assert one.view()["inflight"] == 0
            assert await two.exchange("gossip-1") is not None
            with pytest.raises(ConnectionError, match="stopped"):
                await one.place("gossip-2").__aenter__()
            with pytest.raises(ControlError):
                await one.exchange("gossip-2")
            await one.clear()
            assert set(one.entries()) == {"gossip-1"}
            assert one.entries()["gossip-1"]["version"] == 0
            await one.resume(("gossip-3",))
            with pytest.raises(ControlError):
                await one.exchange("gossip-1")
            await one.round(None)
            await until(lambda: "gossip-3" in one.entries())

    asyncio.run(run())


def test_one_that_leaves_says_so_and_comes_back_as_another(tmp_path):
    """Its word reaches the others before it is silent; started again on the same disk it is of the next generation."""

    async def run():
        async with cluster(tmp_path) as made:
            one, two, three = made.nodes.values()
            for node in (one, two, three):
                for peer in made.nodes:
                    if peer != node.core.name:
                        assert await node.exchange(peer) is None
            await two.leave()
            assert two.state == "stopped"
            await until(lambda: {node.entries()["gossip-2"]["status"] for node in (one, three)} == {m.LEFT})
            await until(lambda: one.view()["inflight"] == three.view()["inflight"] == 0)
            with pytest.raises(ControlError, match="stopped"):
                await two.leave()
            with pytest.raises(ControlError, match="no other member"):
                await one.exchange("gossip-2")
            again = GossipMember(
                made.config(SERVICES[1]), log=Log("x", "/dev/null"), metrics=Metrics(), dials=made.table
            )
            assert again.entries()["gossip-2"]["generation"] == 1_216_540_801
            assert again.entries()["gossip-2"]["status"] == m.UP
            await again.close()

    asyncio.run(run())


def test_connections_from_others_are_bounded(tmp_path, monkeypatch):
    """At the limit one more is closed at once, and when one goes there is room again."""
    monkeypatch.setattr(member, "INBOUND_MAX", 2)

    async def run():
        async with cluster(tmp_path) as made:
            one, *_ = made.nodes.values()
            held = [await asyncio.open_connection("127.0.0.1", one.port) for _ in range(2)]
            await until(lambda: one.view()["inflight"] == 2)
            with suppress(ConnectionError):
                assert await spoken(one.port, b"") == b""
            for _, writer in held:
                writer.close()
                await writer.wait_closed()
            await until(lambda: one.view()["inflight"] == 0)
            assert await made.nodes["gossip-2"].exchange("gossip-1") is None

    asyncio.run(run())


class Deaf(asyncio.Protocol):
    """Accepts, and never reads."""

    def connection_made(self, transport):
        # Python 3.11.2 begins to read behind this call, whatever is said in it.
        asyncio.get_running_loop().call_soon(transport.pause_reading)
        self.transport = transport


class Owner:
    """Of connections, indifferent to what comes."""

    def made(self, connection):
        pass

    def heard(self, connection, frames):
        pass

    def gone(self, connection):
        pass


def test_a_peer_that_does_not_read_is_cut_off(monkeypatch):
    """What waits for a peer that never reads is bounded: beyond that its connection is closed."""
    monkeypatch.setattr(connection, "_UNREAD_MAX", 1 << 20)

    async def run():
        loop = asyncio.get_running_loop()
        deaf = Deaf()
        server = await loop.create_server(lambda: deaf, "127.0.0.1", 0)
        line = connection.Connection(Owner(), checked=False)
        await loop.create_connection(lambda: line, *server.sockets[0].getsockname())
        sent = 0
        while line.open:
            line.send(bytes(1 << 16))
            sent += 1 << 16
            assert sent < 64 << 20
            await asyncio.sleep(0)
        assert sent > 1 << 20
        deaf.transport.abort()
        server.close()

    asyncio.run(run())


def test_the_ring_of_frames_is_bounded(tmp_path, monkeypatch):
    """Only the last frames are kept; the sequence numbers go on."""
    kept = 100
    monkeypatch.setattr(ring, "FRAMES_KEPT", kept)

    async def run():
        async with cluster(tmp_path) as made:
            one, *_ = made.nodes.values()
            frames = encode(m.Ok(), "x", sealed=False) * (kept + 10)
            await spoken(one.port, frames)
            found = one.frames(0)
            assert len(found["frames"]) == kept
            assert found["frames"][0]["seq"] == 10
            assert found["next"] == kept + 10

    asyncio.run(run())


def test_generation_and_heartbeats_survive_a_crash(tmp_path):
    """What a member believed of its generation and counted of its heartbeats is there after a restart."""

    async def run():
        async with cluster(tmp_path) as made:
            one, *_ = made.nodes.values()
            for _ in range(3):
                await one.heartbeat()
            await spoken(
                one.port, encode(m.State((poisoned("gossip-1", generation=1_216_540_801),)), "x", sealed=False)
            )
            again = GossipMember(
                made.config(SERVICES[0]), log=Log("x", "/dev/null"), metrics=Metrics(), dials=made.table
            )
            assert again.entries()["gossip-1"]["generation"] == 1_216_540_801
            assert again.entries()["gossip-1"]["version"] == 0
            assert again.view()["originated"]["generation"] == 1_216_540_800
            assert again.view()["originated"]["heartbeats"] == 3
            await again.close()

    asyncio.run(run())


def test_a_damaged_generation_file_counts_as_absent(tmp_path):
    """A half-written file on disk starts the node with its configured generation instead of keeping it down."""

    async def run():
        made = Cluster(tmp_path)
        folder = tmp_path / "gossip-1"
        folder.mkdir()
        (folder / "generation.json").write_text('{"generation": 12165')
        one = await made.start(SERVICES[0])
        assert one.entries()["gossip-1"]["generation"] == 1_216_540_800
        await one.close()

    asyncio.run(run())


def test_the_node_runs_at_once_unless_held(tmp_path):
    """A gossip node obeys every route of its control port, and `held` keeps it silent."""

    async def run():
        made = Cluster(tmp_path)
        config = made.config(SERVICES[0])
        for held, state in ((True, "held"), (False, "running")):
            config = NodeConfig(**{f: getattr(config, f) for f in config.__struct_fields__} | {"held": held})
            node = GossipNode(config, log=Log("x", "/dev/null"), metrics=Metrics(), dials=made.table)
            await node.open()
            assert node.member.state == state
            assert node.port
            paths = {path for _, path in node.routes()}
            assert paths >= {
                "/view",
                "/frames",
                "/exchange",
                "/round",
                "/heartbeat",
                "/ticks",
                "/stop",
                "/clear",
                "/leave",
            }
            await node.close()

    asyncio.run(run())


@pytest.mark.parametrize("turns", range(5))
def test_who_is_accepted_while_a_member_closes_is_closed_too(tmp_path, turns):
    """However far a connection has come when the end begins: nobody is left holding an open line to nobody."""

    async def run():
        async with cluster(tmp_path) as made:
            one = made.nodes["gossip-1"]
            late = socket.create_connection(("127.0.0.1", one.port))
            late.setblocking(False)
            for _ in range(turns):
                await asyncio.sleep(0)
            await one.close()
            with late, suppress(ConnectionError):
                assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(late, 1), 5) == b""

    asyncio.run(run())
