"""What one member knows of all others, and in which order it learnt it."""

from __future__ import annotations

from collections.abc import Iterable

from straybit_nodes.gossip.merge import wins
from straybit_nodes.gossip.messages import LEFT, Entry, Row

__all__ = ["View", "shown"]

_COUNT_BITS = 40
"""Of a mark: 17 years of 2,000 changes a second. The other 24 name the memory."""


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
    """Entries by owner. Its size is bounded by what fits a frame: entries beyond `LIMIT` owners are not taken.

    `mark` names the memory and counts the changes to it: what came after a mark can be told from what came before,
    and a mark of another memory (of a process that is gone) is known as such.
    `summary` is equal in two views that hold the same entries, those of members that left aside.
    `memory` makes the memory's name; after a clear it is 1 again, so that cleared clusters are equal to the byte.
    """

    LIMIT = 16_384
    __slots__ = ("_changed", "_rows", "entries", "mark", "summary")

    def __init__(self, memory: int = 1) -> None:
        self.entries: dict[str, Entry] = {}
        self.summary = 0
        self.mark = (memory % (1 << 24) or 1) << _COUNT_BITS
        self._changed: dict[str, int] = {}
        self._rows: tuple[Row, ...] | None = None

    def put(self, entry: Entry) -> None:
        """Hold this entry, whatever was held before."""
        owner = entry.owner
        held = self.entries.get(owner)
        if held is not None:
            self.summary ^= _share(held)
            del self._changed[owner]
        self.entries[owner] = entry
        self.summary ^= _share(entry)
        self.mark += 1
        self._changed[owner] = self.mark
        self._rows = None

    def drop(self, owner: str) -> None:
        """Hold nothing of that owner."""
        self._forget(owner)
        self.entries.pop(owner, None)
        self._rows = None

    def better(self, entry: Entry) -> bool:
        """Whether the rules prefer this entry to what is held; the tombstone of a stranger is nobody's concern."""
        held = self.entries.get(entry.owner)
        if held is None:
            return len(self.entries) < self.LIMIT and entry.status != LEFT
        return held.row is not entry.row and wins(entry, held)

    def clear(self) -> None:
        """Forget everything, as if nothing had ever been known."""
        self.entries.clear()
        self._changed.clear()
        self._rows = None
        self.summary = 0
        self.mark = 1 << _COUNT_BITS

    def rows(self) -> tuple[Row, ...]:
        """A digest's rows of everything held."""
        if self._rows is None:
            self._rows = tuple([entry.row for entry in self.entries.values()])
        return self._rows

    def since(self, mark: int) -> list[Entry] | None:
        """Entries that changed after `mark`, the latest first; None when it is no mark of this memory."""
        if not same_memory(mark, self.mark) or mark > self.mark:
            return None
        entries = self.entries
        if self.mark - mark > len(entries):  # long ago: nearly all of them, so that stopping early is worth nothing
            return [entries[owner] for owner, at in reversed(self._changed.items()) if at > mark]
        found = []
        for owner, at in reversed(self._changed.items()):
            if at <= mark:
                break
            found.append(entries[owner])
        return found

    def pick(self, owners: Iterable[str], own: str) -> tuple[Entry, ...]:
        """Entries of those owners that are held, and always the own one."""
        wanted = {*owners, own}
        return tuple([self.entries[owner] for owner in sorted(wanted) if owner in self.entries])

    def _forget(self, owner: str) -> None:
        held = self.entries.get(owner)
        if held is not None:
            self.summary ^= _share(held)
            self._changed.pop(owner, None)


def same_memory(one: int, other: int) -> bool:
    """Whether two marks are of one memory."""
    return one >> _COUNT_BITS == other >> _COUNT_BITS


def _share(entry: Entry) -> int:
    return 0 if entry.status == LEFT else entry.row.hash
