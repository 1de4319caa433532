"""The gossip node: one member with a port of its own, beside a storage node that asks it for places."""

from __future__ import annotations

from straybit_nodes.config import NodeConfig
from straybit_nodes.control import Ask, Routes, control_routes, member_routes
from straybit_nodes.dial import DialTable
from straybit_nodes.gossip.member import GossipMember
from straybit_nodes.logs import Log
from straybit_nodes.metrics import Metrics

__all__ = ["GossipMember", "GossipNode"]


class GossipNode:
    """A `serve.Node` of kind gossip. Raises OSError when its folder cannot be used."""

    def __init__(self, config: NodeConfig, *, log: Log, metrics: Metrics, dials: DialTable) -> None:
        self._config = config
        self.member = GossipMember(config, log=log, metrics=metrics, dials=dials)

    @property
    def port(self) -> int:
        """Where it listens, once open."""
        return self.member.port

    async def open(self) -> None:
        """Listen, and run at once unless held. Raises OSError when the port is taken."""
        await self.member.open(*self._config.listen)
        if not self._config.held:
            await self.member.resume(None)

    async def close(self) -> None:
        """End everything it began."""
        await self.member.close()

    def routes(self) -> Routes:
        """What its control port obeys."""

        async def leave(_: Ask) -> object:
            await self.member.leave()
            return {"state": self.member.state}

        own: Routes = {("POST", "/leave"): leave}
        return {**control_routes(self._config.service.name, self.member), **member_routes(self.member), **own}
