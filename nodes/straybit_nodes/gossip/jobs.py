"""What a member starts by itself: jobs that need a place, and what follows from their failing."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping
from random import Random
from zlib import crc32

import msgspec

from straybit_nodes.gossip import effects as fx
from straybit_nodes.gossip.messages import UP, Denied, Granted, Message, Reason
from straybit_nodes.gossip.peers import Peers
from straybit_nodes.gossip.places import Job, Places, Work
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.gossip.suspicion import Suspicion
from straybit_nodes.gossip.timers import Due, Timers
from straybit_nodes.gossip.view import View

__all__ = ["Jobs", "Origin"]


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What a member is by itself, kept apart from what is gossiped about it.

    `heartbeats` is its own count so far and `generation` its configured one;
    `kept_generation` is what it held when it last ran, and `age_s` how long ago it first started.
    `key` is the cluster's, for `entry-digest`.
    """

    name: str
    address: int
    generation: int
    balancer: bool = False
    status: int = UP
    heartbeats: int = 0
    kept_generation: int | None = None
    age_s: float = 0.0
    key: bytes = b""


class Jobs:
    """The outbound half of a member; `Core` says what holds for all of it.

    A job that got a slot is dialled under its own number;
    `_succeeded` or `_failed` ends it, or `release` where somebody asked for its place.
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
        self.name = origin.name
        self.balancer = origin.balancer
        self.rules = rules
        self.running = False
        self.view = View(_memory(origin, now))
        self.peers = Peers(origin.name, members, self.view, rng)
        self.places = Places(rules.slots, rules.queue)
        self.suspicion = Suspicion(rules, defences)
        self.exchanges = {"ok": 0, "failed": 0}
        self.detections: Counter[str] = Counter()
        self._timers = Timers(self._live)
        self._effects: list[fx.Effect] = []
        self._ids = 0
        self._tickets: dict[tuple[int | None, int], Job] = {}
        self._verifications: dict[int, tuple[str, int]] = {}

    def drain(self) -> list[fx.Effect]:
        """What to do now, in order; empty until something else happens."""
        effects, self._effects = self._effects, []
        return effects

    @property
    def marks(self) -> dict[str, tuple[int, int]]:
        """Failed peers, each at the (generation, version) it was known by."""
        return self.suspicion.marks

    def new_id(self) -> int:
        """A number for a connection or a job."""
        self._ids += 1
        return self._ids

    def round(self, now: float, peer: str | None = None, done: int | None = None) -> None:
        """One exchange with `peer`, or a random member; `Done` says when it is over, if a number was given."""
        peer = peer if peer is not None else self.peers.partner(self.marks)
        if peer is None:
            self._done(done, "there is nobody to gossip with")
        else:
            self._enter(Job(self.new_id(), Work.GOSSIP, peer, self.rules.verify_retries, done=done), now)

    def request(self, number: int, peer: str, now: float, conn: int | None = None) -> None:
        """A place for a request leg to `peer`, after an exchange with it; `Answer` or a message says how it went."""
        ticket = (conn, number)
        address = self.peers.address(peer)
        job = Job(self.new_id(), Work.REQUEST, peer, self.rules.verify_retries, ticket=ticket)
        if not self.running or address is None or ticket in self._tickets:
            self._answer(job, Reason.STOPPED if not self.running else Reason.UNKNOWN, "unknown")
        elif not self.rules.gossip_before_request:
            self._grant(job, address)
        elif peer in self.marks and not self.balancer:
            self._answer(job, Reason.FAILED, f"{peer} is marked as failed")
        else:
            self._tickets[ticket] = job
            self._enter(job, now)

    def release(self, number: int, now: float, conn: int | None = None) -> None:
        """Give up a place, had or waited for."""
        job = self._tickets.pop((conn, number), None)
        if job is None:
            return
        if job.id in self.places.busy and not job.granted:
            self._effects.append(fx.Close(job.id))
        self._leave(job, now)

    # Failures, marks, and what reopens them

    def _succeeded(self, job: Job, now: float) -> None:
        self.exchanges["ok"] += 1
        self._record(job.peer, ok=True)
        self._unmark(job.peer)
        self._close_case(job.peer)
        if job.ticket is not None:
            self._grant(job, self.peers.address(job.peer) or 0)
        else:
            self._done(job.done, None)
            self._leave(job, now)

    def _failed(self, job: Job, now: float, why: str) -> None:
        self._leave(job, now)
        if job.work is Work.TELL:
            return
        self.exchanges["failed"] += 1
        self._record(job.peer, ok=False)
        self._answer(job, Reason.FAILED, why)
        held = self.view.entries.get(job.peer)
        known = (held.generation, held.version) if held is not None else (0, 0)
        if job.peer not in self.marks:
            self._effects.append(fx.Log("marked", {"peer": job.peer, "why": why}))
        self.marks[job.peer] = known
        if self.balancer:
            return
        if self.rules.tell_count and self.suspicion.may("tell", job.peer, now):
            for target in self.peers.audience(job.peer, self.rules.tell_count, self.marks):
                self._enter(Job(self.new_id(), Work.TELL, target, about=(job.peer, *known)), now)
        if job.retries > 0 and len(self._verifications) < self.places.queue:
            number = self.new_id()
            self._verifications[number] = (job.peer, job.retries - 1)
            self._timers.add(now + self.rules.verify_after_s, Due.VERIFY, number)

    def _told(self, peer: str, now: float) -> None:
        if self.balancer or peer == self.name or peer in self.marks or self.peers.address(peer) is None:
            return
        self._verify(peer, self.rules.verify_retries, now)

    def _reopen(self, peer: str, now: float) -> None:
        if not self.suspicion.may("reopen", peer, now):
            return
        self._unmark(peer)
        if not self.balancer:
            self._verify(peer, self.rules.verify_retries, now)

    def _verify(self, peer: str, retries: int, now: float) -> None:
        if self.running and self.suspicion.may("verify", peer, now):
            self._enter(Job(self.new_id(), Work.VERIFY, peer, retries), now)

    def _close_case(self, peer: str) -> None:
        """It answered: what was still to be verified about it is settled."""
        for number in [each for each, (about, _) in self._verifications.items() if about == peer]:
            del self._verifications[number]
        self.places.drop(Work.VERIFY, peer)

    def _unmark(self, peer: str) -> None:
        if self.marks.pop(peer, None) is not None:
            self._effects.append(fx.Log("unmarked", {"peer": peer}))

    def _record(self, peer: str, *, ok: bool) -> None:
        alarm = self.suspicion.record(peer, ok=ok)
        if alarm is not None:
            self.detections["gossip-alarm"] += 1
            self._effects.append(fx.Log("alarm", {"defence": "gossip-alarm", **msgspec.structs.asdict(alarm)}))

    # Jobs

    def _enter(self, job: Job, now: float) -> None:
        if self.peers.address(job.peer) is None or not self.running:
            self._answer(job, Reason.UNKNOWN, f"{job.peer} is not known or this member is not running")
        elif not self.places.enter(job, now):
            self._answer(job, Reason.FULL, "the queue is full")
        elif job.id in self.places.busy:
            self._begin(job, now)

    def _begin(self, job: Job, now: float) -> None:
        self._effects.append(fx.Dial(job.id, self.peers.address(job.peer) or 0))
        self._timers.add(now + self.rules.connect_timeout_s, Due.CONNECT, job.id)

    def _leave(self, job: Job, now: float) -> None:
        following = self.places.leave(job, now)
        if following is not None:
            self._begin(following, now)

    def _grant(self, job: Job, address: int) -> None:
        assert job.ticket is not None
        job.granted = True
        conn, number = job.ticket
        if conn is None:
            self._effects.append(fx.Answer(number, address))
        else:
            self._send(conn, Granted(number, address))

    def _answer(self, job: Job, reason: Reason, why: str) -> None:
        """Tell whoever waits for this job that nothing came of it."""
        self._done(job.done, why)
        if job.ticket is None or job.granted:
            return
        self._tickets.pop(job.ticket, None)
        conn, number = job.ticket
        if conn is None:
            self._effects.append(fx.Answer(number, None, reason))
        else:
            self._send(conn, Denied(number, reason))

    def _done(self, number: int | None, error: str | None) -> None:
        if number is not None:
            self._effects.append(fx.Done(number, error))

    def _send(self, conn: int, message: Message) -> None:
        self._effects.append(fx.Send(conn, message))

    def _live(self, due: Due, number: int) -> bool:
        """Whether that time still matters."""
        if due is Due.VERIFY:
            return number in self._verifications
        job = self.places.busy.get(number)
        return job is not None and not job.granted and job.connected == (due is Due.ANSWER)


def _memory(origin: Origin, now: float) -> int:
    """The name of a member's memory: always the same for a first start, so that runs are equal, another after it."""
    return 1 if origin.kept_generation is None else 2 + crc32(struct.pack(">d", now))
