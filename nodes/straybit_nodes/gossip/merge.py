"""Which of two entries about one owner is believed: the whole rule, written as one table."""

from __future__ import annotations

from straybit_nodes.gossip.messages import Entry

__all__ = ["ORDER", "wins"]

ORDER = ("generation", "version", "address", "status", "load")
"""Compared in this order; the first difference decides and the larger value wins.

The last three matter only between entries that claim the same generation and version, which honest ones never do.
Taking the larger is a deterministic tie-break, as last-writer-wins registers have:
every member ends with the same entry, whatever came first, and a flip from 0 to 1 is the one that lasts.
The rule holds for a member's entry about itself as well.
"""


def wins(theirs: Entry, ours: Entry) -> bool:
    """Whether `theirs` replaces `ours`; both are about one owner."""
    return (theirs.generation, theirs.version, theirs.address, theirs.status, theirs.load) > (
        ours.generation,
        ours.version,
        ours.address,
        ours.status,
        ours.load,
    )
