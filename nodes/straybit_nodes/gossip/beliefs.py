"""What a member believes of what it is told, itself included, and what it says of itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import TypeVar

from straybit_nodes.gossip import effects as fx
from straybit_nodes.gossip.bounds import Bounds
from straybit_nodes.gossip.jobs import Jobs, Origin
from straybit_nodes.gossip.merge import Event, after
from straybit_nodes.gossip.messages import LEFT, Entry, Row, State
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.gossip.seal import Seals
from straybit_nodes.gossip.silence import Silence
from straybit_nodes.gossip.sync import Sync

__all__ = ["Beliefs"]

V = TypeVar("V", Entry, Row)


class Beliefs(Jobs):
    """A member's view and how it changes; `Core` says what holds for all of it."""

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
        self.address, self.status, self.generation = origin.address, origin.status, origin.generation
        self.heartbeats = origin.heartbeats
        age_s = max(origin.age_s, origin.heartbeats * rules.heartbeat_interval_s)
        bounded = "value-bounds" in defences
        calendar = (origin.generation, age_s, now, rules.heartbeat_interval_s)
        self._bounds = Bounds(*calendar, members=len(members) + 1) if bounded else None
        self._seals = Seals(origin.key) if "entry-digest" in defences else None
        self._ticks = False
        self._subscribers: set[int] = set()
        self._dirty: dict[str, None] = {}
        self._sync = Sync(origin.name, self.view)
        self._silence, self._tombstones = Silence(), Silence()
        kept = origin.kept_generation
        self._adopt_own(self._originated("start" if kept is None else "restart", kept))

    def _merge(self, entries: Iterable[Entry], sender: str, now: float, crc: int) -> bool:
        """Believe what the rules prefer; whether no entry was refused."""
        urgent, whole = False, True
        view, marks, heard = self.view, self.suspicion.marks, self._silence.heard
        known = view.entries
        if self._seals is not None or self._bounds is not None:
            entries = [entry for entry in entries if known.get(entry.owner) is not entry]
            sound = self._sound(entries, sender, now, crc)
            entries, whole = sound, len(sound) == len(entries)
        for entry in entries:
            owner = entry.owner
            held = known.get(owner)
            if held is entry or not view.better(entry):
                continue
            if owner == self.name:
                self._adopt_own(entry)
            elif held is None or LEFT in (held.status, entry.status):
                self._learn(entry, held)
            else:  # as `_learn`, without what only matters when somebody joins or leaves
                view.put(entry)
                self._dirty[owner] = None
                heard(owner)
            if owner in marks and entry.status != LEFT and self.suspicion.news(entry):
                self._reopen(owner, now)
            urgent = urgent or held is None or held.address != entry.address or held.status != entry.status
        self._push(urgent=urgent or not self._ticks)
        return whole

    def _learn(self, entry: Entry, held: Entry | None) -> None:
        owner = entry.owner
        left = entry.status == LEFT
        self.view.put(entry)
        self._dirty[owner] = None
        if held is None or left or held.status == LEFT:
            self.peers.changed()
        if left:
            self._tombstones.heard(owner)
            self._silence.forget(owner)
            self._sync.forget(owner)
            self._unmark(owner)
            self._close_case(owner)
        else:
            self._tombstones.forget(owner)
            self._silence.heard(owner)

    def _sound(self, entries: Iterable[Entry], sender: str, now: float, crc: int) -> list[Entry]:
        """Those that no defence refuses."""
        whole = [entry for entry in entries if not self._damaged(entry, sender, crc)]
        bad = self._impossible(whole, sender, "state", now, crc)
        return [entry for entry in whole if entry.owner not in bad] if bad else whole

    def _damaged(self, entry: Entry, sender: str, crc: int) -> bool:
        why = self._seals.check(entry) if self._seals is not None else None
        if why is not None:
            self.detections["entry-digest"] += 1
            self._log_refused("entry-digest", sender, "state", crc, f"{entry.owner}: {why}")
        return why is not None

    def _impossible(self, values: Sequence[V], sender: str, kind: str, now: float, crc: int) -> set[str]:
        """The owners of those values that cannot be; each is counted and logged."""
        if self._bounds is None:
            return set()
        found = list(self._bounds.sift(values, now))
        for value, why in found:
            self.detections["value-bounds"] += 1
            self._log_refused("value-bounds", sender, kind, crc, f"{value.owner}: {why}")
        return {value.owner for value, _ in found}

    def _originated(self, event: Event, kept: int | None = None) -> Entry:
        """The own entry as it begins: address, status and generation are the owner's, whatever anybody says."""
        generation, version = after(event, configured=self.generation, kept=kept)
        return self._made(Entry(self.name, self.address, self.status, 0, generation, version))

    def _said(self, event: Event, *, status: int, load: int) -> Entry:
        """The own entry as it goes on: its address as stored, true or not."""
        held = self.view.entries[self.name]
        generation, version = after(event, configured=self.generation, held=held)
        return self._made(Entry(self.name, held.address, status, load, generation, version))

    def _made(self, entry: Entry) -> Entry:
        return entry if self._seals is None else self._seals.sealed(entry)

    def _adopt_own(self, entry: Entry) -> None:
        """Hold this entry about oneself: believed like any other, unless owners refute."""
        held = self.view.entries.get(self.name)
        mine = (self.address, self.status)
        if self.rules.owner_refutes and (entry.address, entry.status) != mine:
            self.heartbeats += 1
            generation, version = after("heartbeat", configured=self.generation, held=entry)
            entry = self._made(Entry(self.name, *mine, entry.load, generation, version))
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
