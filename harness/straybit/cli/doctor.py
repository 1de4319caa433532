"""`straybit doctor`: what this machine can do."""

from __future__ import annotations

import sys

import click
import msgspec

from straybit.backends.choose import BACKENDS

__all__ = ["command"]


@click.command("doctor")
@click.option("--backend", type=click.Choice(list(BACKENDS)), help="Only what this one needs [every one].")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of findings.")
def command(backend: str | None, as_json: bool) -> None:
    """Say which backends can run here, what is missing, and what to do about it.

    Exits 2 when something is missing that the backend named needs; without a name, when no backend can run.
    """
    from straybit.doctor import examine  # noqa: PLC0415 - `straybit --help` needs none of it

    found = [finding for finding in examine() if backend in (None, finding.backend)]
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    for finding in [] if as_json else found:
        line = f"{'ok' if finding.ok else 'missing':8}{finding.backend}: {finding.what}: {finding.seen}"
        click.echo(f"{line}; {finding.help}" if finding.help else line)
    ready = {name for name in BACKENDS if all(finding.ok for finding in found if finding.backend == name)}
    sys.exit(0 if (backend or "process") in ready else 2)
