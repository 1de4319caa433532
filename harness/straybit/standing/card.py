"""`cluster.json`: where a standing cluster is reached, and what it was started with."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from straybit.backends import BackendError
from straybit.cluster import Cluster
from straybit_nodes.topology import Topology

__all__ = ["FOLDER", "Card", "NoClusterError", "Wanted", "card_of", "read_card", "write_card"]

FOLDER = Path("straybit-out/cluster")
NAME = "cluster.json"
KEYS = ("straybit", "straybit-secret")
"""What clients of a standing cluster sign with: access and secret key."""


class NoClusterError(BackendError):
    """There is no cluster in that folder, or it is gone."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What to start."""

    backend: str
    topology: Topology
    defences: tuple[str, ...]
    seed: int = 0


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """`keeper` is the address of the process that keeps the cluster, and `token` opens it and every control port."""

    schema: int = 1
    wanted: Wanted
    pid: int
    keeper: tuple[str, int]
    token: str
    proxy: tuple[str, int]
    controls: dict[str, tuple[str, int]]
    endpoints: dict[str, str]
    access_key: str = KEYS[0]
    secret_key: str = KEYS[1]


def card_of(cluster: Cluster, wanted: Wanted, keeper: tuple[str, int], token: str) -> Card:
    """The card of a running cluster."""
    names = [service.name for service in cluster.topology.services()]
    return Card(
        wanted=wanted,
        pid=os.getpid(),
        keeper=keeper,
        token=token,
        proxy=(cluster.proxy.host, cluster.proxy.port),
        controls={name: cluster.control(name).address for name in names},
        endpoints=cluster.endpoints(),
    )


def write_card(folder: Path, card: Card) -> None:
    """Keep it, for its owner's eyes only. Raises OSError."""
    fresh = folder / f"{NAME}.new"
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(card), indent=2))
    fresh.replace(folder / NAME)


def read_card(folder: Path) -> Card:
    """The card in `folder`. Raises NoClusterError."""
    try:
        return msgspec.json.decode((folder / NAME).read_bytes(), type=Card)
    except OSError:
        why = f"there is no cluster in {folder}; `straybit cluster up` starts one, --cluster names another folder"
        raise NoClusterError(why) from None
    except msgspec.MsgspecError as error:
        why = f"{folder / NAME} cannot be read: {error}; end what is left of it by hand and remove the file"
        raise NoClusterError(why) from None


def remove_card(folder: Path) -> None:
    """There is no cluster any more."""
    (folder / NAME).unlink(missing_ok=True)
