"""What is said on connections, dialled or accepted, and what is believed of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random

from straybit_nodes.gossip import effects as fx
from straybit_nodes.gossip.bounds import Bounds
from straybit_nodes.gossip.codec import Bad
from straybit_nodes.gossip.jobs import Jobs, Origin
from straybit_nodes.gossip.messages import Digest, Entry, Failed, Message, Ok, Place, Release, Row, State, Subscribe
from straybit_nodes.gossip.places import Job
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.gossip.seal import Seals
from straybit_nodes.gossip.timers import Due

__all__ = ["ANSWER_FACTOR", "IDLE_FACTOR", "Talks"]

ANSWER_FACTOR = 2
"""A connected peer may take so many connect time-outs to answer: it is alive, if slow or paused.

Higher is kinder to a machine that is short of processor time; lower finds paused servers sooner.
"""
IDLE_FACTOR = 4
"""An inbound connection may be silent for so many connect time-outs."""


class Talks(Jobs):
    """The inbound half of a member, and both halves' talk; `Core` says what holds for all of it.

    Inbound work takes no place: answering others never waits for what this member does by itself.
    """

    def __init__(
        self,
        origin: Origin,
        members: Mapping[str, int],
        rules: Rules,
        defences: frozenset[str],
        rng: Random,
        now: float,
    ) -> None:
        super().__init__(origin, members, rules, defences, rng)
        self.address, self.status, self.generation = origin.address, origin.status, origin.generation
        self.heartbeats = origin.heartbeats
        age_s = max(origin.age_s, origin.heartbeats * rules.heartbeat_interval_s)
        bounded = "value-bounds" in defences
        self._bounds = Bounds(origin.generation, age_s, now, rules.heartbeat_interval_s) if bounded else None
        self._seals = Seals(origin.key) if "entry-digest" in defences else None
        self._ticks = False
        self._inbound: dict[int, str | None] = {}
        self._subscribers: set[int] = set()
        self._dirty: dict[str, None] = {}
        kept = origin.kept_generation
        self._adopt_own(self._originated(max(kept, origin.generation) if kept is not None else origin.generation))

    def accepted(self, now: float) -> int:
        """Somebody connected; the number of the connection."""
        conn = self.new_id()
        if self.running:
            self._inbound[conn] = None
            self._timers.add(now + IDLE_FACTOR * self.rules.connect_timeout_s, Due.IDLE, conn)
        else:
            self._effects.append(fx.Close(conn))
        return conn

    def connected(self, conn: int, now: float) -> None:
        """The dialled connection is up."""
        job = self.places.busy.get(conn)
        if job is None:
            self._effects.append(fx.Close(conn))
            return
        job.connected = True
        self._timers.add(now + ANSWER_FACTOR * self.rules.connect_timeout_s, Due.ANSWER, conn)
        if job.about is not None:
            self._send(conn, Failed(*job.about))
        else:
            self._send(conn, Digest(self.view.rows(), everything=len(self.view.entries) == 1))

    def lost(self, conn: int, now: float, why: str) -> None:
        """A connection ended, or could not be made."""
        job = self.places.busy.get(conn)
        if job is not None:
            if not job.granted:
                self._failed(job, now, why)
            return
        self._inbound.pop(conn, None)
        if conn in self._subscribers:
            self._subscribers.discard(conn)
            for _, number in [ticket for ticket in self._tickets if ticket[0] == conn]:
                self.release(number, now, conn)

    def refused(self, conn: int, bad: Bad, now: float) -> None:
        """A frame was not taken: it is counted and logged, and its connection closes."""
        self.detections[bad.by] += 1
        if bad.by == "parse":
            fields: dict[str, object] = {"from": bad.sender, "crc": bad.crc, "why": bad.why}
            self._effects.append(fx.Log("parse-error", fields))
        else:
            self._log_refused(bad.by, bad.sender, bad.kind, bad.crc, bad.why)
        self._effects.append(fx.Close(conn))
        self.lost(conn, now, f"refused by {bad.by}: {bad.why}")

    def received(self, conn: int, sender: str, message: Message, now: float, crc: int = 0) -> None:
        """A message came; `crc` is its raw frame's, for the log."""
        job = self.places.busy.get(conn)
        if job is not None:
            self._reply(job, sender, message, now, crc)
        elif conn in self._subscribers:
            self._asked(conn, message, now)
        elif conn in self._inbound:
            self._inbound[conn] = sender
            if self.suspicion.contact(sender):
                self._reopen(sender, now)
            self._opened(conn, sender, message, now, crc)

    def _reply(self, job: Job, sender: str, message: Message, now: float, crc: int) -> None:
        match message:
            case State() if job.about is None and not job.granted:
                self._merge(message.entries, sender, now, crc)
                self._send(job.id, State(self.view.pick(message.wanted, self.name)))
                self._effects.append(fx.Close(job.id))
                self._succeeded(job, now)
            case Ok() if job.about is not None:
                self._effects.append(fx.Close(job.id))
                self._leave(job, now)
            case _:
                self._effects.append(fx.Close(job.id))
                self._failed(job, now, f"answered with {type(message).__name__}")

    def _opened(self, conn: int, sender: str, message: Message, now: float, crc: int) -> None:
        match message:
            case Digest():
                rows = tuple([row for row in message.rows if not self._impossible(row, sender, "digest", now, crc)])
                entries, wanted = self.view.compare(Digest(rows, message.everything), self.name)
                self._send(conn, State(tuple(entries), tuple(wanted)))
            case State():
                self._merge(message.entries, sender, now, crc)
                self._finish(conn)
            case Failed(owner, _, _):
                self._send(conn, Ok())
                self._finish(conn)
                self._told(owner, now)
            case Subscribe():
                self._subscribers.add(conn)
                self._send(conn, State(tuple(self.view.entries.values()), (), replace=True))
            case _:
                self._finish(conn)

    def _asked(self, conn: int, message: Message, now: float) -> None:
        match message:
            case Place(number, peer):
                self.request(number, peer, now, conn)
            case Release(number):
                self.release(number, now, conn)
            case _:
                self._effects.append(fx.Close(conn))
                self.lost(conn, now, "not a subscriber's message")

    def _finish(self, conn: int) -> None:
        self._inbound.pop(conn, None)
        self._effects.append(fx.Close(conn))

    # Merging

    def _merge(self, entries: Iterable[Entry], sender: str, now: float, crc: int) -> None:
        urgent = False
        for entry in entries:
            owner = entry.owner
            held = self.view.entries.get(owner)
            if held is entry or self._damaged(entry, sender, crc) or self._impossible(entry, sender, "state", now, crc):
                continue
            if not self.view.better(entry):
                continue
            if owner == self.name:
                self._adopt_own(entry)
            else:
                self.view.put(entry)
                self._dirty[owner] = None
                if held is None:
                    self.peers.changed()
                if self.suspicion.news(entry):
                    self._reopen(owner, now)
            urgent = urgent or held is None or (held.address, held.status) != (entry.address, entry.status)
        self._push(urgent=urgent or not self._ticks)

    def _damaged(self, entry: Entry, sender: str, crc: int) -> bool:
        why = self._seals.check(entry) if self._seals is not None else None
        if why is not None:
            self.detections["entry-digest"] += 1
            self._log_refused("entry-digest", sender, "state", crc, f"{entry.owner}: {why}")
        return why is not None

    def _impossible(self, value: Entry | Row, sender: str, kind: str, now: float, crc: int) -> bool:
        why = self._bounds.check(value, now) if self._bounds is not None else None
        if why is None:
            return False
        self.detections["value-bounds"] += 1
        self._log_refused("value-bounds", sender, kind, crc, f"{value.owner}: {why}")
        return True

    def _originated(self, generation: int) -> Entry:
        return self._made(Entry(self.name, self.address, self.status, 0, generation, 0))

    def _made(self, entry: Entry) -> Entry:
        """An entry about oneself as it may go out."""
        return entry if self._seals is None else self._seals.sealed(entry)

    def _adopt_own(self, entry: Entry) -> None:
        """Hold this entry about oneself: believed like any other, unless owners refute."""
        held = self.view.entries.get(self.name)
        mine = (self.address, self.status)
        if self.rules.owner_refutes and (entry.address, entry.status) != mine:
            self.heartbeats += 1
            version = min(entry.version + 1, (1 << 64) - 1)
            entry = self._made(Entry(self.name, *mine, entry.load, entry.generation, version))
            self._effects.append(fx.Beat(self.heartbeats))
        self.view.put(entry)
        self._dirty[self.name] = None
        if held is None or held.generation != entry.generation:
            self._effects.append(fx.Keep(entry.generation))

    def _push(self, *, urgent: bool, replace: bool = False) -> None:
        """Hand changes to subscribers: at once when places or statuses changed, else with the next round."""
        if not urgent or not self._dirty:
            return
        if self._subscribers:
            changed = State(tuple([self.view.entries[owner] for owner in self._dirty]), (), replace)
            for conn in sorted(self._subscribers):
                self._send(conn, changed)
        self._dirty.clear()

    def _log_refused(self, defence: str, sender: str, kind: str, crc: int, why: str) -> None:
        fields: dict[str, object] = {"defence": defence, "from": sender, "kind": kind, "crc": crc, "why": why}
        self._effects.append(fx.Log("refused", fields))

    def _live(self, due: Due, number: int) -> bool:
        if due is Due.IDLE:
            return number in self._inbound and number not in self._subscribers
        return super()._live(due, number)
