"""`straybit compose`: the reference cluster as a compose file."""

from __future__ import annotations

from pathlib import Path

import click

from straybit.cli._options import read_size, size_options
from straybit.compose import compose_yaml
from straybit_nodes.topology import Topology

__all__ = ["command"]


@click.command("compose")
@size_options
@click.option("--gossip-only", type=click.IntRange(2), metavar="N", help="Gossip nodes alone, so many of them.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write this file [standard output].")
def command(servers: tuple[int, int], balancers: tuple[int, int], gossip_only: int | None, out: Path | None) -> None:
    """Write the compose file of the reference cluster: every service in a container, each link through both proxies."""
    try:
        topology = Topology.gossip_only(gossip_only) if gossip_only else read_size(servers, balancers)
        text = compose_yaml(topology)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_text(text)
