"""A typed client of one node's control port: keep-alive, a time-out on every call, one-line errors."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import urllib3
from prometheus_client.parser import text_string_to_metric_families

from straybit.oracle import Entry, Originated

__all__ = [
    "Control",
    "ControlError",
    "ExchangeResult",
    "Frame",
    "Frames",
    "Health",
    "Mended",
    "NodeRefusedError",
    "NodeSilentError",
    "Sample",
    "Scrubbed",
    "StoreHealth",
    "StoredObject",
    "View",
]

CONNECT_S = 1.0
ANSWER_S = 2.0
"""For an answer that costs the node no waiting; more only delays the error when a node hangs."""
QUIESCE_S = 10.0
"""For /stop, which answers when the node's work in flight has ended, and for an exchange with a black hole."""

_T = TypeVar("_T")


class ControlError(RuntimeError):
    """A control call failed; the message is one line that names node and call."""


class NodeSilentError(ControlError):
    """No answer: the node is dead, paused or overwhelmed."""


class NodeRefusedError(ControlError):
    """The node answered with an error; `status` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Health(msgspec.Struct, frozen=True):
    """Answer of /healthz; `state` is held, running or stopped."""

    name: str
    state: str


class View(msgspec.Struct, frozen=True):
    """One node's idea of the state. `now` is on the monotonic clock; `originated` only of members.

    `busy` and `queued` count places for talking, `inflight` requests being served, `exchanges` those ok and failed.
    """

    name: str
    now: float
    state: str
    entries: dict[str, Entry]
    marked: tuple[str, ...] = ()
    originated: Originated | None = None
    busy: int = 0
    queued: int = 0
    exchanges: dict[str, int] = {}
    inflight: int = 0


class Frame(msgspec.Struct, frozen=True):
    """One gossip frame as a node received it; `crc` is the CRC32C of its raw bytes, `t` on the monotonic clock."""

    seq: int
    t: float
    sender: str = msgspec.field(name="from")
    kind: str
    crc: int


class Frames(msgspec.Struct, frozen=True):
    """Received frames, oldest first; `next` is what to ask from the next time."""

    next: int
    frames: tuple[Frame, ...]


class ExchangeResult(msgspec.Struct, frozen=True):
    """How an exchange ended."""

    ok: bool
    error: str | None = None


class StoredObject(msgspec.Struct, frozen=True):
    """An object as one storage node has it on its own disk."""

    bucket: str
    key: str
    size: int
    etag: str
    stamp: Any
    crc: int = 0


class Scrubbed(msgspec.Struct, frozen=True):
    """One pass of a scrubber: files it looked at, and those of them that it found damaged."""

    looked: int
    damaged: int


class Mended(msgspec.Struct, frozen=True):
    """`done` when nothing is left to mend, else `waiting` keys or comparisons are."""

    done: bool
    waiting: int


class StoreHealth(msgspec.Struct, frozen=True):
    """Files in quarantine whose keys are not healed yet, and keys or comparisons that wait to be mended."""

    damaged: int
    waiting: int


class Sample(msgspec.Struct, frozen=True):
    """One value of /metrics."""

    name: str
    labels: dict[str, str]
    value: float


_HEALTH = msgspec.json.Decoder(Health)
_VIEW = msgspec.json.Decoder(View)
_FRAMES = msgspec.json.Decoder(Frames)
_EXCHANGE = msgspec.json.Decoder(ExchangeResult)
_OBJECTS = msgspec.json.Decoder(list[StoredObject])
_SETTING = msgspec.json.Decoder(dict[str, Any])
_SCRUBBED = msgspec.json.Decoder(Scrubbed)
_MENDED = msgspec.json.Decoder(Mended)
_STORE_HEALTH = msgspec.json.Decoder(StoreHealth)
_JSON = msgspec.json.Decoder()


class Control:
    """The control port of the node `name`; usable from several threads. Every call raises ControlError.

    `answer_s` bounds the calls that cost the node no waiting.
    """

    def __init__(self, name: str, address: tuple[str, int], token: str, *, answer_s: float = ANSWER_S) -> None:
        self.name = name
        self.address = address
        self.token = token
        self._answer_s = answer_s
        self._token = token
        self._pool = self._new_pool()

    def move(self, address: tuple[str, int]) -> None:
        """The node was started again and listens elsewhere."""
        old, self.address = self._pool, address
        self._pool = self._new_pool()
        old.close()

    def _new_pool(self) -> urllib3.HTTPConnectionPool:
        return urllib3.HTTPConnectionPool(
            *self.address,
            maxsize=4,
            retries=False,
            headers={"Authorization": f"Bearer {self._token}"},
        )

    def healthz(self) -> Health:
        """Name and state."""
        return self._call("GET", "/healthz", _HEALTH)

    def metrics(self) -> list[Sample]:
        """Every sample of /metrics."""
        text = self._send("GET", "/metrics").decode()
        families = text_string_to_metric_families(text)
        return [Sample(s.name, s.labels, s.value) for family in families for s in family.samples]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name whose labels include `labels`; 0 when there is none."""
        return sum(s.value for s in self.metrics() if s.name == name and labels.items() <= s.labels.items())

    def view(self) -> View:
        """What the node holds of every member, and how busy it is."""
        return self._call("GET", "/view", _VIEW)

    def frames(self, since: int = 0) -> Frames:
        """The frames received from sequence number `since` on (at most the last 4,096)."""
        return self._call("GET", f"/frames?since={since}", _FRAMES)

    def exchange(self, peer: str) -> ExchangeResult:
        """One exchange with `peer` now, timers on or off."""
        return self._call("POST", "/exchange", _EXCHANGE, {"peer": peer}, QUIESCE_S)

    def round(self, peer: str | None = None) -> None:
        """One gossip round, with `peer` or one that the node draws."""
        self._send("POST", "/round", {} if peer is None else {"peer": peer}, QUIESCE_S)

    def heartbeat(self) -> None:
        """One heartbeat: the member's own version and load rise."""
        self._send("POST", "/heartbeat", {})

    def ticks(self, on: bool) -> None:
        """Timers on or off."""
        self._send("POST", "/ticks", {"on": on})

    def stop(self) -> None:
        """No more server-to-server traffic and no requests; answers when the node is silent."""
        self._send("POST", "/stop", {}, QUIESCE_S)

    def clear(self) -> None:
        """Forget all gossiped state; only of a stopped node, which else refuses with 409."""
        self._send("POST", "/clear", {})

    def resume(self, contacts: list[str] | None = None) -> None:
        """Run, with only `contacts` as first peers (None: every member)."""
        self._send("POST", "/resume", {"contacts": contacts})

    def originate(self, status: int) -> None:
        """Let the owner say another status of itself."""
        self._send("POST", "/originate", {"status": status})

    def leave(self) -> None:
        """Let a gossip node say that it leaves, and stop; answers when it is silent."""
        self._send("POST", "/leave", {}, QUIESCE_S)

    def objects(self) -> list[StoredObject]:
        """The objects on a storage node's own disk."""
        return self._call("GET", "/objects", _OBJECTS)

    def rot(self, bucket: str, key: str, offset: int, bit: int) -> dict[str, Any]:
        """Flip one bit at rest in a storage node's file; answers with the byte before and after."""
        body = {"bucket": bucket, "key": key, "offset": offset, "bit": bit}
        return self._call("POST", "/rot", _SETTING, body)

    def disk(self, *, delay_ms: int = 0, free: int = -1) -> dict[str, Any]:
        """Make a storage node's disk slower, or leave it `free` bytes (-1: enough); answers with before and after."""
        return self._call("POST", "/disk", _SETTING, {"delay_ms": delay_ms, "free": free})

    def clock(self, offset_s: int) -> dict[str, Any]:
        """Put a storage node's clock ahead or behind; answers with before and after."""
        return self._call("POST", "/clock", _SETTING, {"offset_s": offset_s})

    def scrub(self) -> Scrubbed:
        """Look at every file of a storage node now."""
        return self._call("POST", "/scrub", _SCRUBBED, wait_s=QUIESCE_S)

    def mend(self) -> Mended:
        """Bring what a storage node knows to be missing to where it is missing, now."""
        return self._call("POST", "/mend", _MENDED, wait_s=QUIESCE_S)

    def health(self) -> StoreHealth:
        """What a storage node knows of its own and of its neighbours' copies."""
        return self._call("GET", "/health", _STORE_HEALTH)

    def close(self) -> None:
        """Close the kept connections."""
        self._pool.close()

    def _call(
        self,
        method: str,
        path: str,
        answer: msgspec.json.Decoder[_T],
        body: dict[str, Any] | None = None,
        wait_s: float | None = None,
    ) -> _T:
        data = self._send(method, path, body, wait_s)
        try:
            return answer.decode(data)
        except msgspec.DecodeError as error:
            raise ControlError(f"{self.name}: {method} {path} was answered with something else: {error}") from None

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None, wait_s: float | None = None) -> bytes:
        timeout = urllib3.Timeout(connect=CONNECT_S, read=wait_s or self._answer_s)
        try:
            reply = self._pool.request(method, path, json=body, timeout=timeout)
            data = reply.data
        except urllib3.exceptions.HTTPError as error:
            raise NodeSilentError(f"{self.name}: no answer to {method} {path}: {_reason(error)}") from None
        if reply.status >= 400:
            raise NodeRefusedError(
                f"{self.name}: {method} {path} was refused with {reply.status}: {_error(data)}", reply.status
            )
        return data


def _reason(error: Exception) -> str:
    """The last, plainest part of urllib3's nested messages."""
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return "connection refused" if "refused" in str(error) else str(error).rpartition(": ")[2]
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "time-out"
    return " ".join(str(error).split())


def _error(data: bytes) -> str:
    try:
        return str(_JSON.decode(data)["error"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return " ".join(data[:200].decode(errors="replace").split()) or "no reason given"
