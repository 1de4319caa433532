"""`straybit proxy`: the proxy alone."""

from __future__ import annotations

import sys
from pathlib import Path

import click

__all__ = ["command"]


@click.command("proxy")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the API listens.")
@click.option("--port", type=click.IntRange(0, 65535), default=8474, show_default=True, help="0 takes a free one.")
@click.option(
    "--config", type=click.Path(path_type=Path), help="JSON file of proxies to make at start, as POST /populate takes."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Decides toxicity and jitter.")
@click.option("--wire", "wires", multiple=True, metavar="MODULE:ATTR", help="A wire to read with; may be given again.")
def command(host: str, port: int, config: Path | None, seed: int, wires: tuple[str, ...]) -> None:
    """Run straybit's proxy, which speaks Toxiproxy's HTTP API and flips bits as well. Ctrl-C ends it."""
    from straybit_faults.proxy.serve import ProxyStartError, run_proxy  # noqa: PLC0415 - what this command is for
    from straybit_faults.wires import UnknownWireError, add_wire  # noqa: PLC0415 - the same

    try:
        if wires:
            sys.path.append(str(Path.cwd()))  # where somebody who writes a wire has it
        for where in wires:
            add_wire(where)
        run_proxy(host, port, seed=seed, config=config)
    except (ProxyStartError, UnknownWireError) as error:
        raise click.ClickException(str(error)) from None
