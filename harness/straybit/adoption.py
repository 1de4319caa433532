"""Who took a wrong value from whom: traced from looks at the views between steps. Pure.

Exact where there is a look after every exchange:
whoever holds a wrong value that it did not hold before took it from the one it has just talked to.
Where more than one exchange lies between two looks the nearest known holder is named.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from straybit.oracle import Wrong

__all__ = ["Adoption", "Tracer"]


class Adoption(msgspec.Struct, frozen=True, kw_only=True):
    """`holder` came to hold a wrong value of `owner`'s `field`, from `source` (empty: from the flipped message).

    `hops` counts members between the flipped message and the holder: 0 for its receiver.
    `step` is the number of the look that found it, from 0.
    """

    holder: str
    owner: str
    field: str
    value: int
    source: str = ""
    hops: int = 0
    step: int = 0


class Tracer:
    """Fed every look since the flip; `receivers` are the members that the flipped message went to."""

    def __init__(self, receivers: Iterable[str]) -> None:
        self._receivers = frozenset(receivers)
        self._hops: dict[tuple[str, str], dict[str, int]] = {}
        self._step = 0
        self.adoptions: list[Adoption] = []

    def saw(self, wrong: Iterable[Wrong], between: tuple[str, str] | None = None) -> None:
        """Take one look: all values that are wrong now, `between` which two the last exchange was.

        A value that changed while it was wrong, as a poisoned version that its owner raises further, is no news.
        A holder that was right in between adopts anew.
        """
        now: dict[tuple[str, str], dict[str, int]] = {}
        for each in sorted(wrong):
            now.setdefault((each.owner, each.field), {})[each.holder] = each.value
        for about, holders in now.items():
            known = self._hops.get(about, {})
            fresh = [holder for holder in holders if holder not in known]
            kept = {holder: hops for holder, hops in known.items() if holder in holders}
            for holder in sorted(fresh, key=lambda name: (name not in self._receivers, name)):
                source, hops = self._source(holder, known | kept, between)
                kept[holder] = hops
                self.adoptions.append(
                    Adoption(
                        holder=holder,
                        owner=about[0],
                        field=about[1],
                        value=holders[holder],
                        source=source,
                        hops=hops,
                        step=self._step,
                    )
                )
            self._hops[about] = kept
        for about in self._hops.keys() - now.keys():
            self._hops[about] = {}
        self._step += 1

    def _source(self, holder: str, known: dict[str, int], between: tuple[str, str] | None) -> tuple[str, int]:
        partner = None
        if between is not None and holder in between:
            partner = between[1] if holder == between[0] else between[0]
        if partner in known:
            return partner, known[partner] + 1
        if holder in self._receivers or not known:
            return "", 0 if holder in self._receivers else 1
        hops, source = min((hops, name) for name, hops in known.items())
        return source, hops + 1

    @property
    def depth(self) -> int:
        """The most hops that a wrong value travelled beyond the receivers; 0 where it stayed with them."""
        return max((each.hops for each in self.adoptions), default=0)

    @property
    def spread(self) -> tuple[str, ...]:
        """Members that never received the flipped message and held a wrong value, sorted."""
        return tuple(sorted({each.holder for each in self.adoptions} - self._receivers))
