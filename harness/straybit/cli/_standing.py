"""What people read of a standing cluster: how it is reached, and how it is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from straybit.standing.card import FOLDER, Card
from straybit.standing.status import Status

__all__ = ["print_status", "welcome"]

SHOWN = 10
"""Lines of disagreement for people; `--json` has all of them."""


def welcome(card: Card, folder: Path) -> Iterator[str]:
    """Endpoint, credentials, and commands to try."""
    counts = Counter(str(s.kind) for s in card.wanted.topology.services())
    url, *others = card.endpoints.values()
    proxy = "http://{}:{}".format(*card.proxy)
    yield f"The cluster is up: {', '.join(f'{n} {kind}' for kind, n in counts.items())}, each link through a proxy."
    yield f"  endpoint    {url}{''.join(f', {other}' for other in others)}"
    yield f"  access key  {card.access_key}"
    yield f"  secret key  {card.secret_key}"
    yield f"  proxy       {proxy}"
    if card.network is not None:
        yield "  network     http://{}:{}, Toxiproxy, for toxics of the network".format(*card.network)
    yield f"  defences    {', '.join(card.wanted.defences) or 'none'}"
    yield f"  logs        {folder / 'logs'}"
    yield "Try:"
    yield f"  export AWS_ACCESS_KEY_ID={card.access_key} AWS_SECRET_ACCESS_KEY={card.secret_key} AWS_REGION=us-east-1"
    yield f"  aws --endpoint-url {url} s3 mb s3://photos"
    yield f"  aws --endpoint-url {url} s3 cp README.md s3://photos/"
    yield f"  curl -d '{_FLIP}' {proxy}/proxies/gossip-1:gossip-2/toxics"
    option = "" if folder == FOLDER else f" --cluster {folder}"
    yield f"  straybit cluster status{option}"
    yield f"  straybit restore{option} --plan"
    yield f"  straybit cluster down{option}"


_FLIP = json.dumps(
    {
        "name": "one-bit",
        "type": "bitflip",
        "stream": "upstream",
        "attributes": {"wire": "gossip", "message": "state", "ordinal": 0, "field": "version", "bits": [62]},
    }
)


def print_status(status: Status, console: Console | None = None) -> None:
    """The table of nodes, then what disagrees, then alarms."""
    console = console or Console(highlight=False)
    table = Table("node", "region", "state", "knows", "wrong", "queued", "marked as failed")
    for node in status.nodes:
        style = None if node.state == "running" and not node.wrong else "bold red"
        cells = (node.name, node.region, node.state, str(node.knows), str(node.wrong), str(node.queued))
        table.add_row(*cells, ", ".join(node.marked), style=style)
    console.print(table)
    for line in status.disagreements[:SHOWN]:
        console.print(line, markup=False)
    if len(status.disagreements) > SHOWN:
        console.print(f"and {len(status.disagreements) - SHOWN} more: `--json` has all of them")
    for alarm in status.alarms:
        who = ", ".join(alarm.by)
        console.print(f"alarm {alarm.name}: {alarm.culprit}, raised by {who}, {alarm.ago_s:.0f} s ago", markup=False)
    console.print("All is well." if status.ok else "Not all is well; `straybit restore` brings a cluster back.")
