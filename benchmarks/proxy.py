"""The proxy beside Toxiproxy, HAProxy and no proxy at all: `python benchmarks/proxy.py [--rounds N] [--json FILE]`.

Every sample is one short run of a compiled load generator (load.c, built here);
in each round the targets come in random order, with a direct sample among them,
and a figure is the median over rounds of the ratio within one round.
Toxiproxy 2.12.0 is looked for in STRAYBIT_TOXIPROXY and on the path, HAProxy on the path.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests

HERE = Path(__file__).parent
MIB = 1 << 20
BULK = ("up", "down", "framed-flip", "offset-flip")
GOALS = {
    "up": ("bulk up, 64 MiB", ">=", 3.0),
    "down": ("bulk down, 64 MiB", ">=", 3.0),
    "framed-flip": ("bulk up, a flip armed by message and field", ">=", 2.0),
    "offset-flip": ("bulk up, a flip armed by stream offset", ">=", 2.7),
    "connect": ("new connections/s, 4 clients", ">=", 1.9),
    "busy": ("requests/s on 1,000 busy connections", ">=", 1.3),
    "rtt": ("64 B round trip on one CPU, added p50", "<=", 0.9),
}
SMALL = {
    "idle_kb": ("memory per idle connection, kB", 2.0),
    "stalled_kb": ("memory per stalled connection, kB", 100.0),
    "crowd": ("round trip beside an idle crowd / alone", 1.1),
    "disturbed": ("p99 beside stuck and deaf peers / alone", 2.0),
    "p50_ms": ("latency of 100 ms: error p50, ms", None),
    "p99_ms": ("latency of 100 ms: error p99, ms", None),
    "rate_percent": ("bandwidth of 1,000 KB/s: error, %", None),
}
"""What is the better the smaller it is: title, and the goal; None: no worse than Toxiproxy."""


class Bench:
    """The far side, and each target as (name -> port by service)."""

    def __init__(self, stack: contextlib.ExitStack, folder: Path) -> None:
        self.stack = stack
        self.load = folder / "load"
        subprocess.run(["cc", "-O2", "-o", self.load, HERE / "load.c"], check=True)
        far = stack.enter_context(running([str(self.load), "serve"]))
        assert far.stdout is not None
        self.far = dict(zip(("echo", "sink", "source"), map(int, far.stdout.readline().split()), strict=True))
        self.targets = {"direct": self.far}
        self.apis: dict[str, int] = {}
        self.cpu_s: dict[str, dict[str, float]] = {}
        """Seconds of processor time by work and proxy: what it costs, however busy the machine is."""
        self.pids: dict[str, int] = {"far": far.pid}

    def add_api(self, name: str, command: list[str]) -> None:
        """A server with Toxiproxy's API: one proxy for each service."""
        port = free_port()
        server = self.stack.enter_context(running([*command, str(port)], subprocess.DEVNULL))
        self.pids[name] = server.pid
        self.apis[name] = port
        wait_for(port)
        self.targets[name] = {service: self.proxy(name, service, far) for service, far in self.far.items()}

    def proxy(self, name: str, service: str, far: int) -> int:
        """One more proxy to a far port; answers its own."""
        body = [
            {"name": f"{service}-{far}-{time.monotonic_ns()}", "listen": "127.0.0.1:0", "upstream": f"127.0.0.1:{far}"}
        ]
        made = self.call(name, "POST", "/populate", body)["proxies"][0]
        return int(made["listen"].rpartition(":")[2])

    def flipped(self, name: str, attributes: dict[str, Any]) -> int:
        """A proxy to the sink with one flip armed."""
        title = f"flip-{time.monotonic_ns()}"
        toxic = {"type": "bitflip", "stream": "upstream", "attributes": attributes}
        body = [
            {"name": title, "listen": "127.0.0.1:0", "upstream": f"127.0.0.1:{self.far['sink']}", "toxics": [toxic]}
        ]
        made = self.call(name, "POST", "/populate", body)["proxies"][0]
        return int(made["listen"].rpartition(":")[2])

    def call(self, name: str, method: str, path: str, body: object = None) -> dict[str, Any]:
        """One API call."""
        answer = requests.request(method, f"http://127.0.0.1:{self.apis[name]}{path}", json=body, timeout=10)
        answer.raise_for_status()
        decoded: dict[str, Any] = answer.json() if answer.content else {}
        return decoded

    def add_haproxy(self, folder: Path) -> None:
        """HAProxy with its defaults, in TCP mode."""
        ports = {service: free_port() for service in self.far}
        lines = ["defaults", " mode tcp", " timeout connect 5s", " timeout client 60s", " timeout server 60s"]
        for service, port in ports.items():
            lines += [f"listen {service}", f" bind 127.0.0.1:{port}", f" server far 127.0.0.1:{self.far[service]}"]
        config = folder / "haproxy.cfg"
        config.write_text("\n".join(lines) + "\n")
        self.pids["haproxy"] = self.stack.enter_context(
            running(["haproxy", "-db", "-f", str(config)], subprocess.DEVNULL)
        ).pid
        wait_for(ports["echo"])
        self.targets["haproxy"] = ports

    def run(self, what: str, port: int, *arguments: int | float, one_cpu: bool = False) -> list[float]:
        """The figures of one run of the load generator."""
        pin = ["taskset", "-c", "0"] if one_cpu else []
        command = [*pin, str(self.load), what, "127.0.0.1", str(port), *map(str, arguments)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        return [float(text) for text in answer.stdout.split()]


@contextlib.contextmanager
def running(command: list[str], output: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """A process that is gone afterwards; one that nobody reads from needs another `output` than a pipe."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.DEVNULL, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def free_port() -> int:
    """A port that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as spare:
        return int(spare.getsockname()[1])


def wait_for(port: int) -> None:
    """Until somebody listens."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
    raise SystemExit(f"nobody listens on port {port} after 10 s")


def processor_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rounds(
    bench: Bench, work: str, count: int, sample: Callable[[str], float], names: list[str]
) -> dict[str, list[float]]:
    """One sample of each target in each round, in random order."""
    order = random.Random(count)
    figures: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(count):
        for name in order.sample(names, len(names)):
            pid = bench.pids.get(name)
            before = processor_s(pid) if pid is not None else 0.0
            figures[name].append(sample(name))
            if pid is not None:
                spent = (processor_s(pid) - before) / (1 if work in BULK else figures[name][-1])
                bench.cpu_s.setdefault(work, {}).setdefault(name, 0.0)
                bench.cpu_s[work][name] += spent
    return figures


def throughput(bench: Bench, count: int) -> dict[str, dict[str, list[float]]]:
    """Bulk, flips, connections and busy connections."""
    names = list(bench.targets)
    found = {}
    if "toxiproxy" in names:
        flips = {
            "framed-flip": {"wire": "framed", "message": "frame", "ordinal": 10**9, "field": "payload", "bit": 3},
            "offset-flip": {"offset": 48 * MIB, "bit": 3},
        }
        for title, attributes in flips.items():
            ports = {"direct": bench.far["sink"], "toxiproxy": bench.targets["toxiproxy"]["sink"]}
            ports["ours"] = bench.flipped("ours", attributes)
            found[title] = rounds(
                bench, title, count, lambda n, p=ports: bench.run("up", p[n], 64 * MIB, 65536)[0], list(ports)
            )
    at = bench.targets
    found["up"] = rounds(bench, "up", count, lambda n: bench.run("up", at[n]["sink"], 64 * MIB, 65536)[0], names)
    found["down"] = rounds(bench, "down", count, lambda n: bench.run("down", at[n]["source"], 64 * MIB)[0], names)
    found["connect"] = rounds(bench, "connect", count, lambda n: bench.run("connect", at[n]["echo"], 4, 0.5)[0], names)
    found["busy"] = rounds(bench, "busy", count, lambda n: bench.run("busy", at[n]["echo"], 1000, 0.5)[0], names)
    return found


def pin(bench: Bench, cpus: set[int]) -> None:
    """Every process of the run, and each of its threads, on these CPUs."""
    for pid in bench.pids.values():
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                os.sched_setaffinity(int(task.name), cpus)


def round_trips(bench: Bench, count: int) -> dict[str, list[float]]:
    """64 B round trips with everything on one CPU: p50 in microseconds."""
    cpus = os.sched_getaffinity(0)
    pin(bench, {0})
    figures = rounds(
        bench,
        "rtt",
        count,
        lambda n: bench.run("rtt", bench.targets[n]["echo"], 3000, one_cpu=True)[0],
        list(bench.targets),
    )
    pin(bench, cpus)
    return figures


def rss_kb(pid: int) -> int:
    """Resident memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS")))


def memory(bench: Bench, name: str, what: str, service: str, connections: int) -> float:
    """Kilobytes of resident memory per connection that idles or is stalled."""
    port = bench.targets[name][service]
    before = rss_kb(bench.pids[name])
    command = [str(bench.load), what, "127.0.0.1", str(port), str(connections)]
    with running(command) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        time.sleep(1)
        return (rss_kb(bench.pids[name]) - before) / connections


def idle_crowd(bench: Bench, connections: int, count: int) -> dict[str, Any]:
    """The 64 B round trip with and without a crowd of idle connections, as many as descriptors allow."""
    connections = min(connections, (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 200) // 2)
    port = bench.targets["ours"]["echo"]
    alone = [bench.run("rtt", port, 3000)[0] for _ in range(count)]
    with running([str(bench.load), "hold", "127.0.0.1", str(port), str(connections)]) as holder:
        assert holder.stdout is not None
        held = holder.stdout.readline() == "held\n"
        crowded = [bench.run("rtt", port, 3000)[0] for _ in range(count)]
    return {"connections": connections, "held": held, "alone": alone, "beside": crowded}


def disturbed(bench: Bench, count: int) -> dict[str, Any]:
    """The p99 of a round trip on one link alone, and beside stuck peers, a dead upstream and deaf API clients."""
    port = bench.targets["ours"]["echo"]
    alone = [bench.run("rtt", port, 3000)[1] for _ in range(count)]
    dead = bench.proxy("ours", "dead", free_port())
    with contextlib.ExitStack() as stack:
        stalled = [str(bench.load), "stall", "127.0.0.1", str(bench.targets["ours"]["source"]), "50"]
        holder = stack.enter_context(running(stalled))
        assert holder.stdout is not None
        holder.stdout.readline()
        for _ in range(50):
            deaf = stack.enter_context(socket.create_connection(("127.0.0.1", bench.apis["ours"])))
            deaf.sendall(b"GET /proxies HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        for _ in range(200):
            stack.enter_context(socket.create_connection(("127.0.0.1", dead)))
        beside = [bench.run("rtt", port, 3000)[1] for _ in range(count)]
    return {"alone": alone, "beside": beside}


def toxic_errors(bench: Bench, names: list[str], count: int) -> dict[str, dict[str, float]]:
    """How far a latency of 100 ms and a bandwidth of 1,000 KB/s are off; the servers take turns."""
    socks = {name: slowed(bench, name) for name in names}
    errors_ms: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(count):
        for name, sock in socks.items():
            start = time.perf_counter()
            sock.sendall(b"x")
            sock.recv(1)
            errors_ms[name].append((time.perf_counter() - start - 0.1) * 1e3)
    found = {}
    for name, errors in errors_ms.items():
        socks[name].close()
        errors.sort()
        found[name] = {"p50_ms": errors[count // 2], "p99_ms": errors[count * 99 // 100]}
        found[name]["rate_percent"] = 100 * abs(bench.run("up", thinned(bench, name), MIB, 65536)[0] - 1)
    return found


def toxic_port(bench: Bench, name: str, service: str, toxic: dict[str, Any]) -> int:
    """A proxy with one toxic, on any server."""
    title = f"{toxic['type']}-{time.monotonic_ns()}"
    body = [{"name": title, "listen": "127.0.0.1:0", "upstream": f"127.0.0.1:{bench.far[service]}"}]
    made = bench.call(name, "POST", "/populate", body)["proxies"][0]
    bench.call(name, "POST", f"/proxies/{title}/toxics", toxic)
    return int(made["listen"].rpartition(":")[2])


def slowed(bench: Bench, name: str) -> socket.socket:
    """A connection to the echo with 100 ms of latency."""
    port = toxic_port(bench, name, "echo", {"type": "latency", "attributes": {"latency": 100}})
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def thinned(bench: Bench, name: str) -> int:
    """A proxy to the sink with 1,000 KB/s."""
    toxic = {"type": "bandwidth", "stream": "upstream", "attributes": {"rate": 1000}}
    return toxic_port(bench, name, "sink", toxic)


def ratio(figures: dict[str, list[float]], name: str, base: str) -> tuple[float, float, float]:
    """Median, first and third quartile of the ratios within a round."""
    ratios = sorted(a / b for a, b in zip(figures[name], figures[base], strict=True))
    low, middle, high = statistics.quantiles(ratios, n=4)
    return middle, low, high


def added(figures: dict[str, list[float]]) -> dict[str, list[float]]:
    """What each proxy adds to the direct round trip."""
    return {
        name: [a - b for a, b in zip(values, figures["direct"], strict=True)]
        for name, values in figures.items()
        if name != "direct"
    }


def report(results: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each work; printed, and answered."""
    rows = []
    works = {**results["throughput"], "rtt": added(results["rtt"])}
    print(f"{'work':46} {'goal':>7} {'ours/toxiproxy':>22} {'haproxy/toxiproxy':>18} {'ours/direct':>12} {'CPU':>19}")
    for key, (title, sign, goal) in GOALS.items():
        figures = works.get(key)
        if figures is None or "toxiproxy" not in figures:
            continue
        middle, low, high = ratio(figures, "ours", "toxiproxy")
        other = f"{ratio(figures, 'haproxy', 'toxiproxy')[0]:.2f}" if "haproxy" in figures else "-"
        direct = f"{ratio(figures, 'ours', 'direct')[0]:.2f}" if "direct" in figures else "-"
        spent = results["cpu_s"][key]
        cpu = f"{spent['ours'] / spent['toxiproxy']:.2f}" if spent.get("toxiproxy") else "-"
        met = middle >= goal if sign == ">=" else middle <= goal
        mark = "met" if met else "MISSED"
        figure = f"{middle:7.2f} ({low:.2f}-{high:.2f}) {mark:6}"
        print(f"{title:46} {sign}{goal:>5} {figure} {other:>11} {direct:>12} {cpu:>19}")
        rows.append({"work": key, "goal": goal, "median": middle, "q1": low, "q3": high, "met": met})
    return rows


def small_figures(results: dict[str, Any], key: str) -> tuple[list[float], float | None]:
    """Ours, as many samples as were taken, and Toxiproxy's one where it was measured."""
    if key in ("crowd", "disturbed"):
        middle = statistics.median(results[key]["alone"])
        return [sample / middle for sample in results[key]["beside"]], None
    both = results[key] if key.endswith("_kb") else {name: found[key] for name, found in results["toxics"].items()}
    return [both["ours"]], both.get("toxiproxy")


def report_small(results: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each of what is the better the smaller; printed, and answered."""
    rows = []
    print(f"{'what':46} {'goal':>7} {'ours':>22} {'toxiproxy':>18}")
    for key, (title, limit) in SMALL.items():
        ours, theirs = small_figures(results, key)
        goal = theirs if limit is None else limit
        middle = statistics.median(ours)
        low, high = min(ours), max(ours)
        held = key != "crowd" or results[key]["held"]
        met = None if goal is None else held and middle <= goal
        mark = "" if met is None else "met" if met else "MISSED"
        spread = f"({low:.2f}-{high:.2f})" if len(ours) > 1 else ""
        wanted = "-" if goal is None else f"<={goal:.4g}"
        other = "-" if theirs is None else f"{theirs:.2f}"
        print(f"{title:46} {wanted:>7} {f'{middle:7.2f} {spread} {mark}':>22} {other:>18}")
        rows.append({"work": key, "goal": goal, "median": middle, "least": low, "most": high, "met": met})
    return rows


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="straybit-bench-")))
        bench = Bench(stack, folder)
        bench.add_api("ours", [sys.executable, "-m", "straybit_faults.proxy", "--port"])
        toxiproxy = os.environ.get("STRAYBIT_TOXIPROXY") or shutil.which("toxiproxy-server")
        if toxiproxy:
            bench.add_api("toxiproxy", [toxiproxy, "-host", "127.0.0.1", "-port"])
        if shutil.which("haproxy"):
            bench.add_haproxy(folder)
        results: dict[str, Any] = {
            "machine": {"cpus": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()},
            "date": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
            "load_average": os.getloadavg(),
            "rounds": options.rounds,
        }
        proxies = list(bench.apis)
        results["idle_kb"] = {name: memory(bench, name, "hold", "echo", 2000) for name in proxies}
        results["stalled_kb"] = {name: memory(bench, name, "stall", "source", 300) for name in proxies}
        results["throughput"] = throughput(bench, options.rounds)
        results["rtt"] = round_trips(bench, options.rounds)
        results["cpu_s"] = bench.cpu_s
        results["rows"] = report(results)
        results["toxics"] = toxic_errors(bench, proxies, 100)
        results["crowd"] = idle_crowd(bench, options.crowd, 5)
        results["disturbed"] = disturbed(bench, 5)
        results["rows"] += report_small(results)
        return results


def main() -> int:
    """Measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--crowd", type=int, default=10_000, help="idle connections; twice as many descriptors")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = measure(options)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
