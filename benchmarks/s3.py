"""PUT and GET of 1 MiB with boto3: one storage node beside moto's server and s3rver, in the same run, in turns.

The storage node has every defence on and syncs each object to its disk before it answers; the other two never sync.
So all three keep their files in memory unless `--folder` says otherwise: a disk's time to sync is nobody's code.
Folders with the other servers come from `make bench-s3`. Each server is asked by one client and by four at a time.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import msgspec
import psutil
from botocore.config import Config

from straybit.runner import machine
from straybit_nodes.config import NodeConfig
from straybit_nodes.defences import GROUPS
from straybit_nodes.topology import Kind, Service

BODY = os.urandom(1024 * 1024)
KEYS = 40
ROUNDS = 3
CLIENTS = (1, 4)
START_S = 30.0
IDLE_MB = 45


def main() -> None:
    """Print operations per second beside each other; exit 1 when the storage node is slower than another server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moto", type=Path, required=True, help="moto_server's program")
    parser.add_argument("--s3rver", type=Path, required=True, help="s3rver's program")
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"), help="where the servers keep their files")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="straybit-bench-", dir=arguments.folder) as folder:
        root = Path(folder)
        servers: dict[str, Callable[[int], list[str]]] = {
            "straybit": lambda port: _node(root, port),
            "moto": lambda port: [str(arguments.moto), "-H", "127.0.0.1", "-p", str(port)],
            "s3rver": lambda port: [
                *(str(arguments.s3rver), "--silent", "-a", "127.0.0.1", "-p", str(port)),
                *("-d", tempfile.mkdtemp(dir=root)),
            ],
        }
        figures = _measure(servers)
    figures |= {"when": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine()}
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_bytes(msgspec.json.encode(figures))
    sys.exit(not _report(figures))


def _measure(servers: dict[str, Callable[[int], list[str]]]) -> dict[str, Any]:
    """Medians of rounds in which the servers take turns, so that what else the machine does falls on all alike."""
    found: dict[str, list[float]] = {}
    idle_mb = 0.0
    for _ in range(ROUNDS):
        for name, command in servers.items():
            with _running(command) as (url, process):
                if name == "straybit":
                    idle_mb = max(idle_mb, psutil.Process(process.pid).memory_info().rss / 1e6)
                for clients in CLIENTS:
                    for what, rate in _rates(url, clients).items():
                        found.setdefault(f"{name} {what} {clients}", []).append(rate)
    return {"rates": {name: statistics.median(rates) for name, rates in found.items()}, "idle_mb": idle_mb}


def _rates(url: str, clients: int) -> dict[str, float]:
    """Operations per second of `clients` at a time, PUT and then GET."""
    s3 = boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id="S3RVER",
        aws_secret_access_key="S3RVER",
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=clients),
    )
    bucket = f"bench-{clients}"
    s3.create_bucket(Bucket=bucket)

    def put(key: int) -> None:
        s3.put_object(Bucket=bucket, Key=f"k{key}", Body=BODY)

    def get(key: int) -> None:
        if s3.get_object(Bucket=bucket, Key=f"k{key}")["Body"].read() != BODY:
            raise AssertionError("another body")

    rates = {}
    with ThreadPoolExecutor(clients) as pool:
        for what, call in {"PUT": put, "GET": get}.items():
            call(0)
            began = time.monotonic()
            list(pool.map(call, range(KEYS)))
            rates[what] = KEYS / (time.monotonic() - began)
    s3.close()
    return rates


def _report(figures: dict[str, Any]) -> bool:
    rates = figures["rates"]
    held: bool = figures["idle_mb"] <= IDLE_MB
    print(f"{'1 MiB, operations/s':24}{'straybit':>10}{'moto':>10}{'s3rver':>10}")
    for clients in CLIENTS:
        for what in ("PUT", "GET"):
            ours, *others = (rates[f"{name} {what} {clients}"] for name in ("straybit", "moto", "s3rver"))
            held = held and ours >= max(others)
            print(f"{what}, {clients} at a time{ours:>17.0f}{others[0]:>10.0f}{others[1]:>10.0f}")
    print(f"memory of the idle node: {figures['idle_mb']:.0f} MB, at most {IDLE_MB}")
    print("held" if held else "NOT held")
    return held


def _node(root: Path, port: int) -> list[str]:
    service = Service("storage-1", Kind.STORAGE, "eu", 1, 1)
    config = NodeConfig(
        service=service,
        members=(Service("gossip-1", Kind.GOSSIP, "eu", 1, 1),),
        dials=(),
        listen=("127.0.0.1", port),
        control=("127.0.0.1", 0),
        token="bench",
        data_dir=tempfile.mkdtemp(dir=root),
        defences=tuple(sorted(GROUPS["all"])),
        held=False,
        log=str(root / "node.ndjson"),
    )
    path = root / "node.json"
    path.write_bytes(msgspec.json.encode(config))
    return [sys.executable, "-m", "straybit_nodes", str(path)]


@contextmanager
def _running(command: Callable[[int], list[str]]) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(command(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(port, process)
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
        process.wait()


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise SystemExit(f"{process.args!r} does not serve; run it by hand and see what it says")


if __name__ == "__main__":
    main()
