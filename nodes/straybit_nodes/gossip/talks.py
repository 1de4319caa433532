"""What is said on connections, dialled or accepted."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import msgspec

from straybit_nodes.gossip import effects as fx
from straybit_nodes.gossip.beliefs import Beliefs
from straybit_nodes.gossip.codec import Bad
from straybit_nodes.gossip.jobs import Origin
from straybit_nodes.gossip.messages import Digest, Failed, Message, Ok, Place, Release, State, Subscribe
from straybit_nodes.gossip.places import Job
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.gossip.sync import Pending
from straybit_nodes.gossip.timers import Due

__all__ = ["ANSWER_FACTOR", "IDLE_FACTOR", "Talks"]

ANSWER_FACTOR = 2
"""A connected peer may take so many connect time-outs to answer: it is alive, if slow or paused.

Higher is kinder to a machine that is short of processor time; lower finds paused servers sooner.
"""
IDLE_FACTOR = 4
"""An inbound connection may be silent for so many connect time-outs."""


class Talks(Beliefs):
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
        super().__init__(origin, members, rules, defences, rng, now)
        self._inbound: dict[int, str | None] = {}
        self._pending: dict[int, Pending] = {}

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
            digest = self._sync.open(job.peer)
            job.mark = digest.upto
            self._send(conn, digest)

    def lost(self, conn: int, now: float, why: str) -> None:
        """A connection ended, or could not be made."""
        job = self.places.busy.get(conn)
        if job is not None:
            if not job.granted:
                self._failed(job, now, why)
            return
        self._inbound.pop(conn, None)
        self._pending.pop(conn, None)
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
                quiet = self.view.mark == job.mark
                whole = self._merge(message.entries, sender, now, crc)
                self._send(job.id, self._sync.reply(job.peer, job.mark, message, quiet=quiet, whole=whole))
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
                bad = self._impossible(message.rows, sender, "digest", now, crc)
                if bad:
                    rows = tuple([row for row in message.rows if row.owner not in bad])
                    message = msgspec.structs.replace(message, rows=rows)
                state, self._pending[conn] = self._sync.answer(sender, message)
                self._send(conn, state)
            case State():
                whole = self._merge(message.entries, sender, now, crc)
                if (pending := self._pending.pop(conn, None)) is not None:
                    self._sync.end(pending, message, whole=whole)
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
        self._pending.pop(conn, None)
        self._effects.append(fx.Close(conn))

    def _live(self, due: Due, number: int) -> bool:
        if due is Due.IDLE:
            return number in self._inbound and number not in self._subscribers
        return super()._live(due, number)
