"""Where a simulated request goes: the holders of its key, in the order in which one would talk to them, and the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from straybit.sim.net import SimNet
from straybit_nodes.gossip.messages import UP
from straybit_nodes.storage.placement import holders
from straybit_nodes.storage.suspects import Suspects

__all__ = ["Placing", "Server"]

SERVICE_S = 0.002
"""What a storage node takes to answer."""
HOLDERS_KEPT = 65_536
"""Keys whose holders are remembered; more than any run has, and a bound all the same."""


class Server(Protocol):
    """A storage node as those see it who connect to it."""

    name: str
    up: bool
    paused: bool


class Placing:
    """Holders of keys among `nodes`, storage nodes named by their gossip nodes, as every member of `net` sees them."""

    def __init__(self, net: SimNet, nodes: Mapping[str, Server]) -> None:
        self.suspects = {s.name: Suspects(lambda: net.now) for s in net.topology.members()}
        self.regions = {s.name: s.region for s in net.topology.members()}
        self._net = net
        self._nodes = nodes
        self._members = {node.name: member for member, node in nodes.items()}
        self._near = {
            region.name: tuple(node.name for member, node in nodes.items() if self.regions[member] == region.name)
            for region in net.topology.regions
        }
        self._holders: dict[tuple[str, str, str], tuple[str, ...]] = {}

    def holders(self, region: str, bucket: str, key: str) -> tuple[str, ...]:
        """Those that hold a key in a region, best first."""
        where = (region, bucket, key)
        found = self._holders.get(where)
        if found is None:
            found = tuple(self._members[name] for name in holders(self._near[region], bucket, key))
            if len(self._holders) >= HOLDERS_KEPT:
                self._holders.clear()
            self._holders[where] = found
        return found

    def order(self, member: str, names: Iterable[str]) -> Sequence[str]:
        """Nodes as `member` would talk to them: those up, unmarked ones first, late failures last."""
        core = self._net.hosts[member].core
        entries = core.view.entries
        known = [each for each in names if each not in entries or entries[each].status == UP]
        ordered = self.suspects[member].order(known)
        return sorted(ordered, key=lambda each: each in core.marks or each not in entries)

    def reach(
        self,
        address: int,
        lost: Callable[[], None],
        there: Callable[[str], None],
        sending: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Connect to the storage node at `address`, and have the reply on its way back.

        `sending` is told its name as soon as the connection stands, `there` when it has done its part.
        """
        target = self._net.server_at(address)
        node = self._nodes.get(target) if target is not None else None
        rules = self._net.rules
        if target is None or node is None or node.paused:
            self._net.after(rules.connect_timeout_s if rules.slow_failure else self._net.latency_s, lost)
        elif not node.up:
            self._net.after(self._net.latency_s, lost)
        else:
            sending(target)
            self._net.after(2 * self._net.latency_s + SERVICE_S, lambda: there(target))
