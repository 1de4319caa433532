"""What one member knows of all others, and what it takes to bring another's knowledge level with it."""

from __future__ import annotations

from collections.abc import Iterable

from straybit_nodes.gossip.merge import wins
from straybit_nodes.gossip.messages import Digest, Entry, Row

__all__ = ["View", "shown"]


def shown(entry: Entry) -> dict[str, int]:
    """An entry as /view shows it."""
    return {
        "address": entry.address,
        "status": entry.status,
        "load": entry.load,
        "generation": entry.generation,
        "version": entry.version,
    }


class View:
    """Entries by owner. Its size is bounded by what fits a frame: entries beyond `LIMIT` owners are not taken."""

    LIMIT = 16_384
    __slots__ = ("_rows", "entries")

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self._rows: tuple[Row, ...] | None = None

    def put(self, entry: Entry) -> None:
        """Hold this entry, whatever was held before."""
        self.entries[entry.owner] = entry
        self._rows = None

    def better(self, entry: Entry) -> bool:
        """Whether the merge rule prefers this entry to what is held."""
        held = self.entries.get(entry.owner)
        if held is None:
            return len(self.entries) < self.LIMIT
        return held.row is not entry.row and wins(entry, held)

    def clear(self) -> None:
        """Forget everything."""
        self.entries.clear()
        self._rows = None

    def rows(self) -> tuple[Row, ...]:
        """A digest's rows of everything held."""
        if self._rows is None:
            self._rows = tuple([entry.row for entry in self.entries.values()])
        return self._rows

    def compare(self, digest: Digest, own: str) -> tuple[list[Entry], list[str]]:
        """The callee's half of an exchange: entries that the caller lacks, and owners whose entries are wanted.

        The entry of `own` always goes. Where versions tie and hashes differ, it goes and is wanted.
        """
        entries = self.entries
        send: list[Entry] = []
        want: list[str] = []
        told = set()
        for row in digest.rows:
            owner = row.owner
            held = entries.get(owner)
            if held is None:
                want.append(owner)
                continue
            told.add(owner)
            mine = held.row
            if row is mine or row == mine:
                continue
            ours, theirs = (mine.generation, mine.version), (row.generation, row.version)
            if ours >= theirs:
                send.append(held)
            if theirs >= ours:
                want.append(owner)
        if digest.everything:
            return list(entries.values()), want
        if len(told) < len(entries):
            send += [entry for owner, entry in entries.items() if owner not in told]
        if own in told and all(entry.owner != own for entry in send):
            send.append(entries[own])
        return send, want

    def pick(self, owners: Iterable[str], own: str) -> tuple[Entry, ...]:
        """Entries of those owners that are held, and always the own one."""
        wanted = {*owners, own}
        return tuple([self.entries[owner] for owner in sorted(wanted) if owner in self.entries])
