"""`python -m straybit_faults.proxy --port N --host 127.0.0.1`."""

import argparse
import sys
from pathlib import Path

from straybit_faults.proxy.serve import ProxyStartError, run_proxy
from straybit_faults.wires import UnknownWireError, add_wire


def main() -> int:
    """Run the proxy; 2 when it cannot start."""
    parser = argparse.ArgumentParser(prog="straybit proxy", description="A drop-in Toxiproxy that flips bits.")
    parser.add_argument("--host", default="127.0.0.1", help="address of the API (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8474, help="port of the API, 0 for a free one (default: 8474)")
    parser.add_argument("--ready-fd", type=int, help="descriptor that is told the API's address once it answers")
    parser.add_argument("--seed", type=int, default=0, help="of toxicity and jitter (default: 0)")
    parser.add_argument("--config", type=Path, help="JSON file of proxies to make at start, as POST /populate takes")
    parser.add_argument("--wire", action="append", default=[], help="a wire as MODULE:ATTR; may be given again")
    options = parser.parse_args()
    try:
        for where in options.wire:
            add_wire(where)
        run_proxy(options.host, options.port, ready_fd=options.ready_fd, seed=options.seed, config=options.config)
    except (ProxyStartError, UnknownWireError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - the one line of a failed start
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
