"""One member of the gossip, without sockets or a clock: fed messages, connections and times, it answers with effects.

Theory of operation.
Everything this member starts is a job that needs a place: rounds, tells, verifications and request legs share
a few slots and one queue.
A job's exchange fails when its peer cannot be reached, does not answer in time, or answers what is refused.
A failure marks the peer at the generation and version it was known by,
tells a few random members, and is verified again a few times.
A member that is told verifies for itself, unless it has marked the peer already.
A newer entry of a marked peer, or a word from it, is good news: the mark goes, and the news is verified.

For a crashed peer this settles: it says nothing, so its mark holds.
For a peer whose address was poisoned it never does:
it goes on talking, every word of it reopens the case, and every verification goes to an address where nobody answers.
The slots fill with that, and request legs wait behind it for longer than any client does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from random import Random

import msgspec

from straybit_nodes.gossip import effects as fx
from straybit_nodes.gossip.alarm import FailureAlarm
from straybit_nodes.gossip.bounds import Bounds
from straybit_nodes.gossip.codec import Bad
from straybit_nodes.gossip.damping import Damping
from straybit_nodes.gossip.messages import (
    UP,
    Denied,
    Digest,
    Entry,
    Failed,
    Granted,
    Message,
    Ok,
    Place,
    Reason,
    Release,
    Row,
    State,
    Subscribe,
)
from straybit_nodes.gossip.places import Job, Places, Work
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.gossip.timers import Due, Timers
from straybit_nodes.gossip.view import View

__all__ = ["Core", "Origin"]

PROBE_EVERY = 10
"""Every so many rounds one goes to a marked member, so that one that came back is found."""
IDLE_FACTOR = 4
"""An inbound connection may be silent for so many connect time-outs."""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What a member is by itself, kept apart from what is gossiped about it.

    `heartbeats` is its own count so far and `generation` its configured one;
    `kept_generation` is what it held when it last ran, and `age_s` how long ago it first started.
    """

    name: str
    address: int
    generation: int
    balancer: bool = False
    status: int = UP
    heartbeats: int = 0
    kept_generation: int | None = None
    age_s: float = 0.0


class Core:
    """A gossip member. Every method takes `now` in seconds of one monotonic clock; `drain` gives what to do about it.

    `members` are the configured addresses of all others.
    """

    def __init__(
        self, origin: Origin, members: Mapping[str, int], rules: Rules, defences: Iterable[str], rng: Random, now: float
    ) -> None:
        self.name = origin.name
        self.balancer = origin.balancer
        self.rules = rules
        self.running = False
        self.address, self.status, self.generation = origin.address, origin.status, origin.generation
        self.heartbeats = origin.heartbeats
        self.view = View()
        self.places = Places(rules.slots, rules.queue)
        self.marks: dict[str, tuple[int, int]] = {}
        self.exchanges = {"ok": 0, "failed": 0}
        self.detections: Counter[str] = Counter()
        self.talk: Counter[tuple[str, str]] = Counter()
        self._members = dict(members)
        self._contacts: frozenset[str] | None = None
        self._rng = rng
        on = frozenset(defences)
        age_s = max(origin.age_s, origin.heartbeats * rules.heartbeat_interval_s)
        self._bounds = (
            Bounds(origin.generation, age_s, now, rules.heartbeat_interval_s) if "value-bounds" in on else None
        )
        self._damping = Damping() if "failed-peer-damping" in on else None
        self._alarm = FailureAlarm() if "gossip-alarm" in on else None
        self._timers = Timers(self._live)
        self._effects: list[fx.Effect] = []
        self._ids = 0
        self._rounds = 0
        self._ticks = False
        self._era = 0
        self._inbound: dict[int, str | None] = {}
        self._subscribers: set[int] = set()
        self._tickets: dict[tuple[int | None, int], Job] = {}
        self._verifications: dict[int, tuple[str, int]] = {}
        self._dirty: dict[str, None] = {}
        self._known: list[str] | None = None
        kept = origin.kept_generation
        self._adopt_own(self._originated(max(kept, origin.generation) if kept is not None else origin.generation))

    # Life

    def drain(self) -> list[fx.Effect]:
        """What to do now, in order; empty until something else happens."""
        effects, self._effects = self._effects, []
        return effects

    @property
    def wake_at(self) -> float | None:
        """When `wake` wants to be called next; may move nearer after any call."""
        return self._timers.next

    @property
    def subscribers(self) -> int:
        """How many storage nodes are connected: one, or none."""
        return len(self._subscribers)

    @property
    def inflight(self) -> int:
        """Talks with other members under way, from either side."""
        return len(self.places.busy) + len(self._inbound) - len(self._subscribers)

    def resume(self, now: float, contacts: Iterable[str] | None = None, *, ticks: bool = True) -> None:
        """Run. `contacts` are the configured members that may be spoken to before they are in the view; None: all."""
        self.running = True
        self._contacts = None if contacts is None else frozenset(contacts)
        self._known = None
        if self._alarm is not None:
            self._alarm = FailureAlarm()
        self.tick(now, on=ticks)
        for conn in self._subscribers:
            self._send(conn, State(tuple(self.view.entries.values()), (), replace=True))

    def tick(self, now: float, *, on: bool) -> None:
        """Turn rounds and heartbeats by time on or off; the first ones come at random within an interval."""
        self._era += 1
        self._ticks = on
        if on and self.running:
            self._timers.add(now + self._rng.random() * self.rules.gossip_interval_s, Due.ROUND, self._era)
            self._timers.add(now + self._rng.random() * self.rules.heartbeat_interval_s, Due.BEAT, self._era)

    def stop(self, now: float) -> None:
        """End all talk with others: connections close, whoever waits for a place is denied one."""
        self.running = False
        self._era += 1
        for job in self.places.clear(now):
            self._effects.append(fx.Close(job.id))
            self._answer(job, Reason.STOPPED, "stopped")
        self._tickets.clear()
        for conn in [each for each in self._inbound if each not in self._subscribers]:
            del self._inbound[conn]
            self._effects.append(fx.Close(conn))
        self._verifications.clear()
        self._timers.clear()

    def clear(self) -> None:
        """Forget every entry and mark, and originate the own entry anew. Only while not running."""
        if self.running:
            raise ValueError(f"{self.name} is running; stop it before its state is cleared")
        self.view.clear()
        self.marks.clear()
        self._dirty.clear()
        self._known = None
        if self._damping is not None:
            self._damping = Damping()
        self._adopt_own(self._originated(self.generation))
        self._push(urgent=True, replace=True)

    def wake(self, now: float) -> None:
        """Do what is due."""
        while (due := self._timers.pop(now)) is not None:
            what, number = due
            match what:
                case Due.ROUND:
                    self._timers.add(now + self.rules.gossip_interval_s, Due.ROUND, number)
                    self.round(now)
                    self._push(urgent=True)
                case Due.BEAT:
                    self._timers.add(now + self.rules.heartbeat_interval_s, Due.BEAT, number)
                    self.heartbeat()
                case Due.TIMEOUT:
                    self._effects.append(fx.Close(number))
                    self.lost(number, now, "no answer in time")
                case Due.VERIFY:
                    peer, retries = self._verifications.pop(number)
                    self._verify(peer, retries, now)
                case Due.IDLE:
                    self._effects.append(fx.Close(number))
                    self._inbound.pop(number, None)

    # What the owner and the control port may ask

    def heartbeat(self) -> None:
        """Raise the own version; the load is what is under way. Address and status stay as stored, true or not."""
        own = self.view.entries[self.name]
        self.heartbeats += 1
        load = min(len(self.places.busy) + len(self.places.waiting), 0xFFFF)
        version = min(own.version + 1, (1 << 64) - 1)
        self._adopt_own(Entry(self.name, own.address, own.status, load, own.generation, version))
        self._effects.append(fx.Beat(self.heartbeats))

    def originate(self, status: int) -> None:
        """Set the own status, as its owner: it goes out with a heartbeat."""
        self.status = status
        own = self.view.entries[self.name]
        self.view.put(msgspec.structs.replace(own, status=status))
        self.heartbeat()
        self._push(urgent=True)

    def round(self, now: float, peer: str | None = None, done: int | None = None) -> None:
        """One exchange with `peer`, or a random member; `Done` says when it is over, if a number was given."""
        peer = peer if peer is not None else self._partner()
        if peer is None:
            self._done(done, "there is nobody to gossip with")
        else:
            self._enter(Job(self.new_id(), Work.GOSSIP, peer, self.rules.verify_retries, done=done), now)

    def request(self, number: int, peer: str, now: float, conn: int | None = None) -> None:
        """A place for a request leg to `peer`, after an exchange with it; `Answer` or a message says how it went."""
        ticket = (conn, number)
        address = self.address_of(peer)
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

    def address_of(self, peer: str) -> int | None:
        """Where `peer` is: by its entry, else by configuration."""
        entry = self.view.entries.get(peer)
        return entry.address if entry is not None else self._members.get(peer)

    # Connections

    def new_id(self) -> int:
        """A number for a connection or a job."""
        self._ids += 1
        return self._ids

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
            self._contact(sender, now)
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
            if self._bounds is not None and self._impossible(entry, sender, "state", now, crc):
                continue
            if not self.view.better(entry):
                continue
            owner = entry.owner
            held = self.view.entries.get(owner)
            if owner == self.name:
                self._adopt_own(entry)
            else:
                self.view.put(entry)
                self._dirty[owner] = None
                if held is None:
                    self._known = None
                self._news(entry, now)
            urgent = urgent or held is None or (held.address, held.status) != (entry.address, entry.status)
        self._push(urgent=urgent or not self._ticks)

    def _impossible(self, value: Entry | Row, sender: str, kind: str, now: float, crc: int) -> bool:
        why = self._bounds.check(value, now) if self._bounds is not None else None
        if why is None:
            return False
        self.detections["value-bounds"] += 1
        self._log_refused("value-bounds", sender, kind, crc, f"{value.owner}: {why}")
        return True

    def _originated(self, generation: int) -> Entry:
        return Entry(self.name, self.address, self.status, 0, generation, 0)

    def _adopt_own(self, entry: Entry) -> None:
        """Hold this entry about oneself: believed like any other, unless owners refute."""
        held = self.view.entries.get(self.name)
        mine = (self.address, self.status)
        if self.rules.owner_refutes and (entry.address, entry.status) != mine:
            self.heartbeats += 1
            version = min(entry.version + 1, (1 << 64) - 1)
            entry = Entry(self.name, *mine, entry.load, entry.generation, version)
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

    # Failures, marks, and what reopens them

    def _succeeded(self, job: Job, now: float) -> None:
        self.exchanges["ok"] += 1
        self._record(job.peer, ok=True)
        self._unmark(job.peer)
        if job.ticket is not None:
            self._grant(job, self.address_of(job.peer) or 0)
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
        if self.rules.tell_count and self._may("tell", job.peer, now):
            for target in self._audience(job.peer):
                self._enter(Job(self.new_id(), Work.TELL, target, about=(job.peer, *known)), now)
        if job.retries > 0:
            number = self.new_id()
            self._verifications[number] = (job.peer, job.retries - 1)
            self._timers.add(now + self.rules.verify_after_s, Due.VERIFY, number)

    def _told(self, peer: str, now: float) -> None:
        if self.balancer or peer == self.name or peer in self.marks or self.address_of(peer) is None:
            return
        self._verify(peer, self.rules.verify_retries, now)

    def _news(self, entry: Entry, now: float) -> None:
        mark = self.marks.get(entry.owner)
        if mark is not None and self.rules.reopen_on_news and (entry.generation, entry.version) > mark:
            self._reopen(entry.owner, now)

    def _contact(self, peer: str, now: float) -> None:
        if peer in self.marks and self.rules.reopen_on_contact:
            self._reopen(peer, now)

    def _reopen(self, peer: str, now: float) -> None:
        if not self._may("reopen", peer, now):
            return
        self._unmark(peer)
        if not self.balancer:
            self._verify(peer, self.rules.verify_retries, now)

    def _verify(self, peer: str, retries: int, now: float) -> None:
        if self.running and self._may("verify", peer, now):
            self._enter(Job(self.new_id(), Work.VERIFY, peer, retries), now)

    def _may(self, kind: str, peer: str, now: float) -> bool:
        allowed = self._damping is None or self._damping.allows(kind, peer, now)
        self.talk[kind, "done" if allowed else "damped"] += 1
        return allowed

    def _unmark(self, peer: str) -> None:
        if self.marks.pop(peer, None) is not None:
            self._effects.append(fx.Log("unmarked", {"peer": peer}))

    def _record(self, peer: str, *, ok: bool) -> None:
        alarm = self._alarm.record(peer, ok=ok) if self._alarm is not None else None
        if alarm is not None:
            self.detections["gossip-alarm"] += 1
            self._effects.append(fx.Log("alarm", {"defence": "gossip-alarm", **msgspec.structs.asdict(alarm)}))

    # Whom to talk to

    def known(self) -> list[str]:
        """Everybody else this member may talk to: in its view, or configured and not shut out by `contacts`."""
        if self._known is None:
            contacts = self._contacts
            configured = [each for each in self._members if contacts is None or each in contacts]
            self._known = [each for each in dict.fromkeys([*configured, *self.view.entries]) if each != self.name]
        return self._known

    def _partner(self) -> str | None:
        known = self.known()
        self._rounds += 1
        marked = [each for each in self.marks if each in known] if self.marks else []
        if marked and self._rounds % PROBE_EVERY == 0:
            return self._rng.choice(marked)
        good = [each for each in known if each not in self.marks] if marked else known
        return self._rng.choice(good or known) if known else None

    def _audience(self, about: str) -> list[str]:
        others = [each for each in self.known() if each != about and each not in self.marks]
        return self._rng.sample(others, min(self.rules.tell_count, len(others)))

    # Jobs

    def _enter(self, job: Job, now: float) -> None:
        if self.address_of(job.peer) is None or not self.running:
            self._answer(job, Reason.UNKNOWN, f"{job.peer} is not known or this member is not running")
        elif not self.places.enter(job, now):
            self._answer(job, Reason.FULL, "the queue is full")
        elif job.id in self.places.busy:
            self._begin(job, now)

    def _begin(self, job: Job, now: float) -> None:
        self._effects.append(fx.Dial(job.id, self.address_of(job.peer) or 0))
        self._timers.add(now + self.rules.connect_timeout_s, Due.TIMEOUT, job.id)

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

    def _log_refused(self, defence: str, sender: str, kind: str, crc: int, why: str) -> None:
        fields: dict[str, object] = {"defence": defence, "from": sender, "kind": kind, "crc": crc, "why": why}
        self._effects.append(fx.Log("refused", fields))

    def _live(self, due: Due, number: int) -> bool:
        match due:
            case Due.ROUND | Due.BEAT:
                return self._ticks and self.running and number == self._era
            case Due.TIMEOUT:
                job = self.places.busy.get(number)
                return job is not None and not job.granted
            case Due.VERIFY:
                return number in self._verifications
            case Due.IDLE:
                return number in self._inbound and number not in self._subscribers
