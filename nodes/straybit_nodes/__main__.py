"""`python -m straybit_nodes CONFIG.json|SERVICE`: one node, until SIGTERM; `links`: what straybit's proxy is told."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from pathlib import Path

import msgspec

from straybit_nodes.config import NodeConfig
from straybit_nodes.contained import DATA, layout_from, node_config
from straybit_nodes.serve import run_node

USAGE = """usage: python -m straybit_nodes CONFIG.json   the node that a file describes
       python -m straybit_nodes SERVICE       a service of the cluster in containers, as the environment describes it
       python -m straybit_nodes links         its links, for the proxy's --config
"""


def main(arguments: list[str]) -> int:
    """Run the node that the one argument names; 2 with one line on standard error when that cannot be."""
    if len(arguments) != 1:
        sys.stderr.write(USAGE)
        return 2
    (what,) = arguments
    try:
        if what == "links":
            sys.stdout.write(_links())
        else:
            run_node(_config(what))
    except (OSError, ValueError) as error:  # msgspec's errors are among them
        sys.stderr.write(f"straybit_nodes: cannot start from {what}: {error}\n")
        return 2
    return 0


def _config(what: str) -> NodeConfig:
    if not what.endswith(".json"):
        return node_config(what, os.environ, token=os.environ.get("STRAYBIT_TOKEN") or shared_token(Path(DATA)))
    return msgspec.json.Decoder(NodeConfig).decode(Path(what).read_bytes())


def shared_token(folder: Path) -> str:
    """The token that all who share `folder` agree on: whoever comes first draws it. Raises OSError."""
    path, mine = folder / "token", folder / f"token.{secrets.token_hex(8)}"
    if not path.exists():
        mine.touch(mode=0o600)
        mine.write_text(secrets.token_hex(16))
        with contextlib.suppress(FileExistsError):  # somebody was faster
            os.link(mine, path)
        mine.unlink()
    return path.read_text()


def _links() -> str:
    keys = ("name", "listen", "upstream")
    return msgspec.json.encode(
        [dict(zip(keys, link, strict=True)) for link in layout_from(os.environ).behind()]
    ).decode()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
