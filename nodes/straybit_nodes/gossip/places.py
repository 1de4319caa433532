"""Places for talking: a few slots for outbound work and one bounded queue in front of them, first come, first served.

Only work that this member starts takes a place: gossip, tells, verifications and request legs.
Answering others takes none.
If it did, two members that wait for each other would hold each other's slots,
and one clean crash would be enough to stop everything for good.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Job", "Places", "Work"]


class Work(StrEnum):
    """What a slot is spent on."""

    GOSSIP = "gossip"
    TELL = "tell"
    VERIFY = "verify"
    REQUEST = "request"


@dataclass(slots=True, eq=False)
class Job:
    """One piece of outbound work with `peer`; `id` is its connection's too.

    `retries` are the verifications that may follow its failure, `about` is what a tell says.
    `mark` is how far the digest that it opened with went.
    `ticket` names who waits for a leg's place: (connection or None, number); `done` who waits for its end.
    """

    id: int
    work: Work
    peer: str
    retries: int = 0
    about: tuple[str, int, int] | None = None
    ticket: tuple[int | None, int] | None = None
    done: int | None = None
    mark: int = 0
    began: float = 0.0
    connected: bool = False
    granted: bool = False


class Places:
    """Slots and queue. `slots` None lifts the bound on slots, and nothing ever waits."""

    __slots__ = ("_slots", "_spent", "busy", "queue", "waiting")

    def __init__(self, slots: int | None, queue: int) -> None:
        self._slots = slots
        self.queue = queue
        self.busy: dict[int, Job] = {}
        self.waiting: dict[int, Job] = {}
        self._spent = dict.fromkeys(Work, 0.0)

    def enter(self, job: Job, now: float) -> bool:
        """Take a slot or a place in the queue; False when the queue is full. `job.id in busy` says which.

        A job that an operator waits for (`done`) takes a slot of its own at once:
        what is commanded from outside is no part of what the member does by itself.
        """
        if self._free or job.done is not None:
            self._start(job, now)
        elif len(self.waiting) < self.queue:
            self.waiting[job.id] = job
        else:
            return False
        return True

    def leave(self, job: Job, now: float) -> Job | None:
        """Give up the slot or the place in the queue; the job that now has a slot because of it."""
        if self.waiting.pop(job.id, None) is not None or self.busy.pop(job.id, None) is None:
            return None
        self._spent[job.work] += now - job.began
        if not self.waiting or not self._free:
            return None
        following = self.waiting.pop(next(iter(self.waiting)))
        self._start(following, now)
        return following

    def drop(self, work: Work, peer: str) -> None:
        """Take jobs of that work with that peer out of the queue; those in slots go on."""
        for number in [each for each, job in self.waiting.items() if job.peer == peer and job.work is work]:
            del self.waiting[number]

    def clear(self, now: float) -> list[Job]:
        """End all work; the jobs there were, those in slots first."""
        jobs = [*self.busy.values(), *self.waiting.values()]
        for job in self.busy.values():
            self._spent[job.work] += now - job.began
        self.busy.clear()
        self.waiting.clear()
        return jobs

    def spent(self, now: float) -> dict[Work, float]:
        """Slot time by work so far, in seconds; work under way counts as far as it went."""
        spent = dict(self._spent)
        for job in self.busy.values():
            spent[job.work] += now - job.began
        return spent

    @property
    def _free(self) -> bool:
        return self._slots is None or len(self.busy) < self._slots

    def _start(self, job: Job, now: float) -> None:
        job.began = now
        self.busy[job.id] = job
