"""The defences there are: each has a name, an owner, a kind, and can be switched off."""

from __future__ import annotations

from enum import StrEnum

import msgspec

__all__ = ["DEFENCES", "GROUPS", "Defence", "DefenceKind", "parse_defences"]


class DefenceKind(StrEnum):
    """What a defence does when it notices: refuse (the trial is DETECTED), raise an alarm, or bound a rate."""

    REFUSES = "refuses"
    ALARMS = "alarms"
    LIMITS = "limits"


class Defence(msgspec.Struct, frozen=True):
    """One thing that ought to notice or to limit."""

    name: str
    of: str
    kind: DefenceKind
    what: str


DEFENCES: dict[str, Defence] = {
    d.name: d
    for d in (
        Defence("content-checksum", "storage", DefenceKind.REFUSES, "the client's digests against the body"),
        Defence("read-verify", "storage", DefenceKind.REFUSES, "stored bytes against their checksum on every read"),
        Defence("scrub", "storage", DefenceKind.REFUSES, "stored bytes against their checksum, all the time"),
        Defence("replica-compare", "coordinator", DefenceKind.REFUSES, "two holders' copies on every read"),
        Defence("gossip-crc", "gossip", DefenceKind.REFUSES, "a CRC32C over every gossip message (July's action d)"),
        Defence("entry-digest", "gossip", DefenceKind.REFUSES, "the owner's own keyed digest of its entry, end to end"),
        Defence("value-bounds", "gossip", DefenceKind.REFUSES, "an impossible jump of generation or version"),
        Defence("bad-digest-alarm", "cluster", DefenceKind.ALARMS, "one balancer's rate of 400s against the others'"),
        Defence("gossip-alarm", "gossip", DefenceKind.ALARMS, "the share of failed exchanges (July's action c)"),
        Defence("failed-peer-damping", "gossip", DefenceKind.LIMITS, "talk about failed servers (July's action b)"),
    )
}

GROUPS: dict[str, frozenset[str]] = {
    "none": frozenset(),
    "2008": frozenset({"content-checksum", "bad-digest-alarm", "gossip-crc", "gossip-alarm", "failed-peer-damping"}),
    "all": frozenset(DEFENCES),
}


def parse_defences(text: str) -> frozenset[str]:
    """Names behind `none`, `2008`, `all` or `NAME,NAME`. Raises ValueError, naming those there are."""
    if text in GROUPS:
        return GROUPS[text]
    names = frozenset(name for name in text.split(",") if name)
    unknown = sorted(names - DEFENCES.keys())
    if unknown or not names:
        known = ", ".join([*GROUPS, *DEFENCES])
        raise ValueError(f"unknown defence {', '.join(unknown) or repr(text)}; choose from {known}")
    return names
