"""How services run: a backend starts a topology with every link through a proxy, and answers with a cluster."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # the warm parent imports this package and must stay small
    from straybit.cluster import Cluster
    from straybit.driver import Driver
    from straybit_nodes.gossip.rules import Rules
    from straybit_nodes.topology import Topology

__all__ = ["DISAGREED", "Backend", "BackendError"]

DISAGREED = "the cluster did not come to agree"
"""How it begins where every service runs and answers, and views stay behind: often a host that is too slow for it."""


class BackendError(RuntimeError):
    """A service could not be started, steered or ended; says which, why, and its last words.

    `left` names what may be there still, where taking down failed.
    """

    left = ""


class Backend(Protocol):
    """One way of running services."""

    @property
    def name(self) -> str:
        """As in `--backend`."""

    @property
    def driver(self) -> Driver:
        """Time, clients and concurrency as its clusters have them."""

    def start(
        self,
        topology: Topology,
        *,
        defences: Iterable[str] = (),
        rules: Rules | None = None,
        seed: int = 0,
        ticks: bool = True,
        folder: Path | None = None,
        keep: bool = False,
        keys: tuple[str, str] = ("", ""),
    ) -> Cluster:
        """Start every service and return when all control ports answer and every view lists all members.

        `folder` gets the logs, and the data, which is removed on close unless `keep`;
        None makes a temporary folder that is removed as a whole.
        `ticks` False turns the members' timers off: rounds are stepped.
        `keys` are the access and the secret key that clients must sign with; without them any will do.
        Raises BackendError with everything taken down again.
        """

    def close(self) -> None:
        """End every cluster that this backend started."""
