"""One member of the gossip, without sockets or a clock: fed messages, connections and times, it answers with effects.

Theory of operation.
Everything this member starts is a job that needs a place: rounds, tells, verifications and request legs share
a few slots and one queue.
A job's exchange fails when its peer cannot be reached, does not answer in time, or answers what is refused.
A failure marks the peer at the generation and version it was known by,
tells a few random members, and is verified again a few times.
A member that is told verifies for itself, unless it has marked the peer already.
A newer entry of a marked peer, or a word from it, is good news: the mark goes, and the news is verified.

A peer of whom nothing newer was heard for many of the own heartbeats is asked directly, and fails if it must.

For a crashed peer this settles: it says nothing, so its mark holds.
For a peer whose address was poisoned it never does:
it goes on talking, every word of it reopens the case, and every verification goes to an address where nobody answers.
The slots fill with that, and request legs wait behind it for longer than any client does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random

from straybit_nodes.gossip import effects as fx
from straybit_nodes.gossip.jobs import Origin
from straybit_nodes.gossip.merge import Event
from straybit_nodes.gossip.messages import LEFT, UP, Reason, State
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.gossip.talks import Talks
from straybit_nodes.gossip.timers import Due

__all__ = ["LEAVE_FANOUT", "TOMBSTONE_BEATS", "Core", "Origin"]

LEAVE_FANOUT = 3
"""Others that a leaving member tells itself; one is enough while none of them fails."""
TOMBSTONE_BEATS = 172_800
"""Own heartbeats for which the entry of one that left is kept: a day. Somebody cut off for longer may bring it back."""


class Core(Talks):
    """A gossip member. Every method takes `now` in seconds of one monotonic clock; `drain` gives what to do about it.

    `members` are the configured addresses of all others.
    """

    def __init__(
        self, origin: Origin, members: Mapping[str, int], rules: Rules, defences: Iterable[str], rng: Random, now: float
    ) -> None:
        self._era = 0
        self._rng = rng
        super().__init__(origin, members, rules, frozenset(defences), rng, now)

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
        if self.status == LEFT:
            self.status, self.generation = UP, self.generation + 1
            self._adopt_own(self._originated("return"))
        self.peers.limit(contacts)
        self.suspicion.begin()
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
        self._pending.clear()
        self._verifications.clear()
        self._timers.clear()

    def clear(self) -> None:
        """Forget every entry and mark, and originate the own entry anew. Only while not running."""
        if self.running:
            raise ValueError(f"{self.name} is running; stop it before its state is cleared")
        for each in (self.view, self.suspicion, self._dirty, self._sync, self._silence, self._tombstones):
            each.clear()
        self.peers.changed()
        self._adopt_own(self._originated("clear"))
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
                    self._listen(now)
                case Due.CONNECT | Due.ANSWER:
                    self._effects.append(fx.Close(number))
                    self.lost(number, now, "nobody there" if what is Due.CONNECT else "no answer in time")
                case Due.VERIFY:
                    peer, retries = self._verifications.pop(number)
                    self._verify(peer, retries, now)
                case Due.IDLE:
                    self._effects.append(fx.Close(number))
                    self.lost(number, now, "silent")

    # What the owner may ask

    def heartbeat(self) -> None:
        """Raise the own version; the load is what is under way. Address and status stay as stored, true or not."""
        self._speak("heartbeat", self.view.entries[self.name].status)

    def originate(self, status: int) -> None:
        """Set the own status, as its owner, and say so."""
        self.status = status
        self._speak("status", status)
        self._push(urgent=True)

    def leave(self) -> list[str]:
        """Say that this member leaves; a few random others, to exchange with before it is stopped.

        Raises ValueError unless it is running.
        """
        if not self.running:
            raise ValueError(f"{self.name} is not running; resume it before it leaves")
        self.status = LEFT
        self._effects.append(fx.Left())
        self._speak("leave", LEFT)
        self._push(urgent=True)
        return self.peers.audience(self.name, LEAVE_FANOUT, self.marks)

    def _speak(self, event: Event, status: int) -> None:
        self.heartbeats += 1
        load = min(len(self.places.busy) + len(self.places.waiting), 0xFFFF)
        self._adopt_own(self._said(event, status=status, load=load))
        self._effects.append(fx.Beat(self.heartbeats))

    def _listen(self, now: float) -> None:
        """Ask after those who have been silent for too long, and forget those who left long ago."""
        self._silence.beat += 1
        self._tombstones.beat += 1
        for peer in self._silence.overdue(self.rules.silent_after):
            if peer not in self.marks:
                self._effects.append(fx.Log("silent", {"peer": peer}))
                self.round(now, peer)
        for owner in self._tombstones.overdue(TOMBSTONE_BEATS):
            self._tombstones.forget(owner)
            self.view.drop(owner)
            self.peers.bury(owner)

    def _live(self, due: Due, number: int) -> bool:
        if due is Due.ROUND or due is Due.BEAT:
            return self._ticks and self.running and number == self._era
        return super()._live(due, number)
