"""`straybit proxy`: the proxy alone."""

from __future__ import annotations

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
def command(host: str, port: int, config: Path | None, seed: int) -> None:
    """Run straybit's proxy, which speaks Toxiproxy's HTTP API and flips bits as well. Ctrl-C ends it."""
    from straybit_faults.proxy.serve import ProxyStartError, run_proxy  # noqa: PLC0415 - what this command is for

    try:
        run_proxy(host, port, seed=seed, config=config)
    except ProxyStartError as error:
        raise click.ClickException(str(error)) from None
