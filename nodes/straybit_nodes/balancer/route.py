"""Which storage nodes a balancer tries for a request, in which order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from straybit_nodes.gossip.messages import UP
from straybit_nodes.storage.errors import S3Error
from straybit_nodes.storage.placement import holders
from straybit_nodes.storage.request import parse_request
from straybit_nodes.topology import Kind, Service

__all__ = ["TRIES", "Router"]

TRIES = 3


class Router:
    """Chooses coordinators among the storage nodes of one region.

    For an object they are the holders of its key, for anything else all in turn.
    Those that gossip says are not up are left out; unmarked ones come before marked ones, and those unknown,
    and within these `order` puts the ones that failed lately last.
    """

    def __init__(
        self, own: Service, members: Collection[Service], order: Callable[[Sequence[str]], Sequence[str]]
    ) -> None:
        near = [m for m in members if m.kind is Kind.GOSSIP and m.region == own.region]
        self._members = {f"storage-{member.number}": member.name for member in near}
        self._nodes = tuple(sorted(self._members))
        self._order = order
        self._turn = 0

    def member(self, node: str) -> str:
        """The gossip member that speaks for a storage node."""
        return self._members[node]

    def candidates(
        self, method: str, target: str, statuses: Mapping[str, int], marked: Collection[str]
    ) -> tuple[str, ...]:
        """Up to three storage nodes for a request; `statuses` of members as gossip has them."""
        names = [name for name in self._holders(method, target) if statuses.get(self._members[name], UP) == UP]

        def doubt(name: str) -> bool:
            member = self._members[name]
            return member in marked or member not in statuses

        return tuple(sorted(self._order(names), key=doubt)[:TRIES])

    def _holders(self, method: str, target: str) -> Sequence[str]:
        try:
            request = parse_request(method, target)
        except S3Error:
            request = None  # a storage node says what is wrong with it
        if request is not None and request.key:
            return holders(self._nodes, request.bucket, request.key)
        self._turn += 1
        at = self._turn % len(self._nodes) if self._nodes else 0
        return self._nodes[at:] + self._nodes[:at]
