"""`python -m straybit_nodes CONFIG.json`: one node, until SIGTERM."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from straybit_nodes.config import NodeConfig
from straybit_nodes.serve import run_node


def main(arguments: list[str]) -> int:
    """Run the node that the one argument describes; 2 with one line on standard error when that cannot be."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m straybit_nodes CONFIG.json\n")
        return 2
    try:
        config = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=NodeConfig)
        run_node(config)
    except (OSError, msgspec.MsgspecError) as error:
        sys.stderr.write(f"straybit_nodes: cannot start from {arguments[0]}: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
