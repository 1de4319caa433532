"""`straybit list`: what there is to name."""

from __future__ import annotations

import json

import click

from straybit.scenarios import SCENARIOS, find_scenario
from straybit_nodes.defences import DEFENCES
from straybit_nodes.topology import Topology

__all__ = ["command"]

Row = dict[str, object]


def _scenarios() -> list[Row]:
    found = [find_scenario(name) for name in SCENARIOS]
    return [{"name": s.name, "what": s.title, "incident": s.incident} for s in found]


def _defences() -> list[Row]:
    return [{"name": d.name, "of": d.of, "kind": str(d.kind), "what": d.what} for d in DEFENCES.values()]


def _links() -> list[Row]:
    return [{"name": s.name, "wire": s.wire, "role": str(s.role)} for s in Topology().links()]


def _messages() -> list[Row]:
    from straybit_faults.wires import find_wire, wire_names  # noqa: PLC0415 - wires are loaded when asked for

    return [{"name": kind, "wire": name} for name in wire_names() for kind in find_wire(name).kinds]


def _fields() -> list[Row]:
    from straybit_faults.wires import find_wire, wire_names  # noqa: PLC0415 - wires are loaded when asked for

    return [
        {"name": field, "message": kind, "wire": name, "class": str(cls), "bits": size}
        for name in wire_names()
        for kind in find_wire(name).kinds
        for field, cls, size in find_wire(name).fields(kind)
    ]


def _faults() -> list[Row]:
    from straybit_faults.toxics import TOXICS  # noqa: PLC0415 - loaded when asked for

    return [{"name": name, "what": (toxic.__doc__ or "").strip().split("\n")[0]} for name, toxic in TOXICS.items()]


LISTS = {
    "scenarios": _scenarios,
    "defences": _defences,
    "links": _links,
    "messages": _messages,
    "fields": _fields,
    "faults": _faults,
}


@click.command("list")
@click.argument("what", type=click.Choice(list(LISTS)))
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of objects.")
def command(what: str, as_json: bool) -> None:
    """Name what there is: scenarios, defences, links, messages, fields or faults."""
    rows = LISTS[what]()
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    widths = {key: max(len(str(row[key])) for row in rows) for key in rows[0]}
    for row in rows:
        click.echo(
            "  ".join(str(row[key] if row[key] is not None else "any").ljust(widths[key]) for key in row).rstrip()
        )
