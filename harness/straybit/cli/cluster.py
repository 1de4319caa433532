"""`straybit cluster`: the reference cluster, to play with."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from straybit.backends.choose import BACKENDS
from straybit.cli._options import defences_option, read_size, size_options
from straybit.standing.card import FOLDER, Card, Wanted

__all__ = ["cluster_option", "command"]


STANDING = [name for name in BACKENDS if name != "sim"]
"""Backends whose clusters other processes can reach: virtual time stands still when nobody waits for it."""

cluster_option = click.option(
    "--cluster", "folder", type=click.Path(path_type=Path), default=FOLDER, show_default=True, help="Its folder."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and nothing else.")


@click.group("cluster")
def command() -> None:
    """The reference cluster, to play with: it stays until `down`."""


@command.command("up")
@cluster_option
@defences_option
@size_options
@click.option("--backend", type=click.Choice(STANDING), default="process", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Decides all that is drawn.")
@json_option
def up(
    folder: Path,
    defences: tuple[str, frozenset[str]],
    servers: tuple[int, int],
    balancers: tuple[int, int],
    backend: str,
    seed: int,
    as_json: bool,
) -> None:
    """Start it, leave it running, and say how it is reached."""
    from straybit.standing import start  # noqa: PLC0415 - `straybit --help` needs none of it

    names = tuple(sorted(defences[1]))
    wanted = Wanted(backend=backend, topology=read_size(servers, balancers), defences=names, seed=seed)
    card = start(wanted, folder)
    if as_json:
        click.echo(json.dumps(_shown(card, folder), indent=2))
        return
    _show(card, folder)


@command.command("down")
@cluster_option
@json_option
def down(folder: Path, as_json: bool) -> None:
    """End it, with its data; its logs stay."""
    from straybit.standing import end  # noqa: PLC0415 - `straybit --help` needs none of it

    end(folder)
    if as_json:
        click.echo(json.dumps({"folder": str(folder), "ended": True}))
    else:
        click.echo(f"The cluster is gone, and its data with it; its logs are in {folder / 'logs'}.")


@command.command("status")
@cluster_option
@json_option
def status(folder: Path, as_json: bool) -> None:
    """Every node, views that disagree, alarms. Exits 0 when all is well, 1 when not, 2 when there is no cluster."""
    import msgspec  # noqa: PLC0415 - `straybit --help` needs none of it

    from straybit.standing import attach  # noqa: PLC0415 - as above
    from straybit.standing.status import status_of  # noqa: PLC0415 - as above

    with attach(folder) as cluster:
        found = status_of(cluster)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        from straybit.cli._standing import print_status  # noqa: PLC0415 - as above

        print_status(found)
    sys.exit(0 if found.ok else 1)


def _shown(card: Card, folder: Path) -> dict[str, object]:
    services = card.wanted.topology.services()
    return {
        "endpoint": next(iter(card.endpoints.values()), ""),
        "endpoints": card.endpoints,
        "access_key": card.access_key,
        "secret_key": card.secret_key,
        "nodes": [{"name": s.name, "kind": str(s.kind), "region": s.region} for s in services],
        "proxy": "http://{}:{}".format(*card.proxy),
        "network": "http://{}:{}".format(*(card.network or card.proxy)),
        "backend": card.wanted.backend,
        "defences": list(card.wanted.defences),
        "folder": str(folder),
    }


def _show(card: Card, folder: Path) -> None:
    from straybit.cli._standing import welcome  # noqa: PLC0415 - `straybit --help` needs none of it

    for line in welcome(card, folder):
        click.echo(line)
