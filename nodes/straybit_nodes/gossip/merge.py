"""The rules of generation and version: which of two entries is believed, and what an owner says of itself when.

Both are literal tables. The code looks every answer up in them, and the docs are printed from them.
"""

from __future__ import annotations

from itertools import product
from typing import Literal

import msgspec

from straybit_nodes.gossip.messages import Entry

__all__ = ["LIFE", "MERGE", "ORDER", "Event", "Life", "Rule", "after", "describe_life", "describe_merge", "wins"]

ORDER = ("generation", "version", "address", "status", "load")
"""Compared in this order; the last three are "the rest"."""

Compared = Literal["higher", "same", "lower", "any"]


class Rule(msgspec.Struct, frozen=True):
    """Theirs compared with ours, and whether theirs replaces it; `why` is for the docs."""

    generation: Compared
    version: Compared
    rest: Compared
    theirs: bool
    why: str


MERGE = (
    Rule("higher", "any", "any", True, "its owner began anew"),
    Rule("lower", "any", "any", False, "from before its owner began anew"),
    Rule("same", "higher", "any", True, "a later word of its owner"),
    Rule("same", "lower", "any", False, "an earlier word of its owner"),
    Rule("same", "same", "higher", True, "no honest owner says two things at once: the larger, so that all agree"),
    Rule("same", "same", "lower", False, "the same, from the other side"),
    Rule("same", "same", "same", False, "known"),
)
"""Two entries about one owner; it holds for a member's entry about itself as well.

The rules of a tie matter only between entries that claim the same generation and version.
Taking the larger is a deterministic tie-break, as last-writer-wins registers have:
every member ends with the same entry, whatever came first, and a flip from 0 to 1 is the one that lasts.
"""

_SIGN: dict[int, Compared] = {1: "higher", 0: "same", -1: "lower"}


def _decided(*signs: int) -> bool:
    words = [_SIGN[sign] for sign in signs]
    rows = [((rule.generation, rule.version, rule.rest), rule.theirs) for rule in MERGE]
    (found,) = [theirs for row, theirs in rows if all(w in ("any", x) for w, x in zip(row, words, strict=True))]
    return found


_WINS = {signs: _decided(*signs) for signs in product((1, 0, -1), repeat=3)}


def wins(theirs: Entry, ours: Entry) -> bool:
    """Whether `theirs` replaces `ours`; both are about one owner."""
    generation = (theirs.generation > ours.generation) - (theirs.generation < ours.generation)
    version = (theirs.version > ours.version) - (theirs.version < ours.version)
    if generation or version:
        return _WINS[generation, version, 0]  # the rest is compared in a tie only, and most are none
    mine = (ours.address, ours.status, ours.load)
    rest = (theirs.address, theirs.status, theirs.load)
    return _WINS[0, 0, (rest > mine) - (rest < mine)]


Event = Literal["start", "restart", "heartbeat", "status", "leave", "return", "clear"]


class Life(msgspec.Struct, frozen=True):
    """What an owner's own entry has after an event."""

    generation: Literal["configured", "kept", "same"]
    version: Literal["zero", "same", "next"]
    why: str


LIFE: dict[Event, Life] = {
    "start": Life("configured", "zero", "nothing is kept yet"),
    "restart": Life(
        "kept", "zero", "the larger of what it last held and what is configured; its peers know the version"
    ),
    "heartbeat": Life("same", "next", "address and status as held, true or not"),
    "status": Life("same", "next", "its owner says so"),
    "leave": Life("same", "next", "with the status of one that left: a tombstone"),
    "return": Life("configured", "zero", "one more than before it left, so that no tombstone holds against it"),
    "clear": Life("configured", "zero", "as if it had never run"),
}
"""`configured` is the start's generation, and one more for each time that the member left."""

_VERSION_MAX = (1 << 64) - 1


def after(event: Event, *, configured: int, kept: int | None = None, held: Entry | None = None) -> tuple[int, int]:
    """Generation and version of a member's own entry after `event`; `held` is the entry it held before."""
    life = LIFE[event]
    generation, version = configured, 0
    if life.generation == "kept" and kept is not None:
        generation = max(kept, configured)
    if held is not None:
        generation = held.generation if life.generation == "same" else generation
        version = {"zero": 0, "same": held.version, "next": min(held.version + 1, _VERSION_MAX)}[life.version]
    return generation, version


def describe_merge() -> str:
    """The rules of merging as a table of Markdown, for the docs."""
    rows = [
        f"| {r.generation} | {r.version} | {r.rest} | {'theirs' if r.theirs else 'ours'} | {r.why} |" for r in MERGE
    ]
    head = ["| their generation | version | address, status, load | believed | because |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows]) + "\n"


def describe_life() -> str:
    """What an owner says of itself, as a table of Markdown, for the docs."""
    rows = [f"| {event} | {life.generation} | {life.version} | {life.why} |" for event, life in LIFE.items()]
    return "\n".join(["| after | generation | version | |", "|---|---|---|---|", *rows]) + "\n"
