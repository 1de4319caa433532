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
SCHEMA = 2
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
    """`keeper` is the address of the process that keeps the cluster, and `token` opens it and every control port.

    Those are asked of the keeper, since they move when a container is started again.
    `network` is real Toxiproxy where it stands before `proxy`, and `run` the label of containers where there are any.
    """

    schema: int = SCHEMA
    wanted: Wanted
    pid: int
    keeper: tuple[str, int]
    token: str
    proxy: tuple[str, int]
    network: tuple[str, int] | None = None
    run: str = ""
    restart_s: float = Cluster.restart_s
    endpoints: dict[str, str]
    access_key: str = KEYS[0]
    secret_key: str = KEYS[1]


class _Dated(msgspec.Struct, frozen=True):
    schema: int


_DATED = msgspec.json.Decoder(_Dated)
_CARD = msgspec.json.Decoder(Card)


def card_of(cluster: Cluster, wanted: Wanted, keeper: tuple[str, int], token: str) -> Card:
    """The card of a running cluster."""
    return Card(
        wanted=wanted,
        pid=os.getpid(),
        keeper=keeper,
        token=token,
        proxy=(cluster.proxy.host, cluster.proxy.port),
        network=(cluster.network.host, cluster.network.port) if cluster.fronted else None,
        run=cluster.run,
        restart_s=cluster.restart_s,
        endpoints=cluster.endpoints(),
    )


def write_card(folder: Path, card: Card) -> None:
    """Keep it, for its owner's eyes only. Raises OSError."""
    fresh = folder / f"{NAME}.new"
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(card), indent=2))
    fresh.replace(folder / NAME)


def read_card(folder: Path) -> Card:
    """The card in `folder`. Raises NoClusterError, and BackendError for one of another schema: its cluster may run."""
    try:
        written = (folder / NAME).read_bytes()
    except OSError:
        why = f"there is no cluster in {folder}; `straybit cluster up` starts one, --cluster names another folder"
        raise NoClusterError(why) from None
    try:
        schema = _DATED.decode(written).schema
        if schema == SCHEMA:
            return _CARD.decode(written)
    except msgspec.MsgspecError as error:
        why = f"{folder / NAME} cannot be read: {error}; end what is left of it by hand and remove the file"
        raise NoClusterError(why) from None
    why = f"{folder / NAME} is of schema {schema}, and this straybit reads {SCHEMA}"
    raise BackendError(f"{why}; end that cluster with the straybit that started it, or remove the file if it is gone")


def remove_card(folder: Path) -> None:
    """There is no cluster any more."""
    (folder / NAME).unlink(missing_ok=True)
