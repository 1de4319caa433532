"""Whom a member may talk to, where they are, and whom it picks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from random import Random

from straybit_nodes.gossip.messages import LEFT
from straybit_nodes.gossip.view import View

__all__ = ["PROBE_EVERY", "Peers"]

PROBE_EVERY = 10
"""Every so many rounds one goes to a marked member, so that one that came back is found."""


class Peers:
    """Everybody in the view but oneself, and the `configured` (name: address) even before they are in it."""

    __slots__ = ("_configured", "_contacts", "_known", "_own", "_rng", "_rounds", "_view")

    def __init__(self, own: str, configured: Mapping[str, int], view: View, rng: Random) -> None:
        self._own = own
        self._configured = dict(configured)
        self._view = view
        self._rng = rng
        self._contacts: frozenset[str] | None = None
        self._known: list[str] | None = None
        self._rounds = 0

    def limit(self, contacts: Iterable[str] | None) -> None:
        """From now on only these of the configured are known before they are in the view; None: all."""
        self._contacts = None if contacts is None else frozenset(contacts)
        self._known = None

    def changed(self) -> None:
        """The view has other owners than before, or one left or returned."""
        self._known = None

    def known(self) -> list[str]:
        """Everybody who may be talked to, in a fixed order."""
        if self._known is None:
            contacts = self._contacts
            configured = [each for each in self._configured if contacts is None or each in contacts]
            names = dict.fromkeys([*configured, *self._view.entries])
            self._known = [each for each in names if each != self._own and not self.left(each)]
        return self._known

    def address(self, peer: str) -> int | None:
        """Where `peer` is: by its entry, else by configuration; None when it is unknown or has left."""
        entry = self._view.entries.get(peer)
        if entry is None:
            return self._configured.get(peer)
        return entry.address if entry.status != LEFT else None

    def left(self, peer: str) -> bool:
        """Whether its tombstone is held."""
        entry = self._view.entries.get(peer)
        return entry is not None and entry.status == LEFT

    def bury(self, peer: str) -> None:
        """Its tombstone is not kept any longer: it is a stranger from now on, unless it says something anew."""
        self._configured.pop(peer, None)
        self._known = None

    def partner(self, marked: Collection[str]) -> str | None:
        """A random member for a round: one that is not marked, but for every tenth round."""
        known = self.known()
        self._rounds += 1
        bad = [each for each in marked if each in known] if marked else []
        if bad and self._rounds % PROBE_EVERY == 0:
            return self._rng.choice(bad)
        good = [each for each in known if each not in marked] if bad else known
        return self._rng.choice(good or known) if known else None

    def audience(self, about: str, count: int, marked: Collection[str]) -> list[str]:
        """Up to `count` random members to be told of `about`."""
        others = [each for each in self.known() if each != about and each not in marked]
        return self._rng.sample(others, min(count, len(others)))
