"""A simulated cluster in the harness's hands: services, proxy, observers and views, all on virtual time."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from straybit.backends import BackendError
from straybit.cluster import Cluster, Spec
from straybit.faults import Toxic
from straybit.observe import Observation, Observers
from straybit.observe.follow import Follower, Line
from straybit.services import Exit
from straybit.sim.control import SimControl
from straybit.sim.coordinator import Storage
from straybit.sim.driver import SCHEME, SimDriver
from straybit.sim.host import Host
from straybit.sim.net import SimNet
from straybit.sim.requests import Requests
from straybit.sim.tasks import Tasks
from straybit_faults.client import ProxyError, ProxyInfo, ProxyServer, Stream, ToxicInfo
from straybit_faults.receipt import Receipt
from straybit_faults.wire import Direction
from straybit_nodes.topology import Kind, Topology

__all__ = ["SimCluster", "SimObservers", "SimProxyServer", "SimServices"]

T = TypeVar("T")

START_S = 0.2
"""From starting a service until it runs; what a forked process takes."""
BODIES = {(kind, "upstream", "request", "body") for kind in ("bitflip", "setbyte")}
"""Kind, stream, message and field of what is offered between a balancer and a storage node."""
STREAMS: dict[str, Direction] = {"upstream": Direction.UP, "downstream": Direction.DOWN}


class SimServices:
    """Implements `services.Services`. A service that is killed loses its memory and keeps its disk."""

    def __init__(self, requests: Requests, driver: SimDriver, folder: Path, temporary: Path | None) -> None:
        self._requests = requests
        self._net = requests.net
        self._driver = driver
        self._logs = folder / "logs"
        self._temporary = temporary
        self._services = {s.name: s for s in self._net.topology.services()}
        self._ended = False

    def kill(self, name: str) -> None:
        """See Services."""
        end = self._end_of(name)
        if end.up and isinstance(end, Host):
            self._net.crash(name)
            self._requests.forget(name)
        end.up = False
        end.paused = False

    def terminate(self, name: str) -> None:
        """See Services."""
        self.kill(name)

    def pause(self, name: str) -> None:
        """See Services."""
        self._end_of(name).paused = True

    def unpause(self, name: str) -> None:
        """See Services."""
        end = self._end_of(name)
        if isinstance(end, Host):
            self._net.unpause(name)
        end.paused = False

    def start(self, name: str) -> None:
        """See Services."""
        self._driver.pause(START_S)
        end = self._end_of(name)
        if isinstance(end, Host):
            self._net.restart(name)
        else:
            end.up, end.paused, end.state = True, False, "running"

    def pid(self, name: str) -> int:
        """See Services. Raises BackendError: there is none."""
        raise BackendError(f"{name} is simulated and has no process; use --backend process")

    def exits(self) -> tuple[Exit, ...]:
        """See Services."""
        return tuple(Exit(at, name, 1) for at, name, _ in self._net.exits)

    def running(self, name: str) -> bool:
        """See Services."""
        end = self._end_of(name)
        return end.up and not end.paused

    def end(self) -> None:
        """See Services: every node's log is written as the real ones write theirs."""
        if self._ended:
            return
        self._ended = True
        self._logs.mkdir(parents=True, exist_ok=True)
        lines: dict[str, list[bytes]] = {name: [] for name in self._services}
        for at, name, event, fields in self._net.log:
            lines[name].append(msgspec.json.encode({"t": at, "service": name, "event": event, **fields}) + b"\n")
        for name, written in lines.items():
            (self._logs / f"{name}.ndjson").write_bytes(b"".join(written))
        self._driver.leave()

    def clean(self, keep: bool) -> None:
        """See Services."""
        if self._temporary is not None and not keep:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _end_of(self, name: str) -> Host | Storage:
        service = self._services[name]
        return self._requests.storage[service.member] if service.kind is Kind.STORAGE else self._net.hosts[name]


class SimProxyServer(ProxyServer):
    """The proxies of a simulated net: toxics that change messages between members, or what balancers relay."""

    def __init__(self, net: SimNet) -> None:
        self.host, self.port = "sim", 0
        self._net = net
        self._members = frozenset(net.hosts)
        self._infos: dict[tuple[str, str], ToxicInfo] = {}

    def version(self) -> str:
        """See ProxyServer."""
        return "sim"

    def proxies(self) -> dict[str, ProxyInfo]:
        """See ProxyServer; links without a toxic are left out."""
        found: dict[str, list[ToxicInfo]] = {}
        for (link, _), info in self._infos.items():
            found.setdefault(link, []).append(info)
        return {link: ProxyInfo(link, f"sim:{link}", "", True, infos) for link, infos in found.items()}

    def add_toxic(
        self,
        proxy: str,
        kind: str,
        attributes: Mapping[str, Any],
        *,
        stream: Stream = "upstream",
        name: str | None = None,
        toxicity: float = 1.0,
        **options: object,
    ) -> ToxicInfo:
        """See ProxyServer."""
        aimed = kind, stream, attributes.get("message"), attributes.get("field")
        if not self._carries(proxy, aimed) or toxicity != 1 or options:
            raise ProxyError(
                f"sim flips gossip between members, and bodies of requests from a balancer to a storage node; "
                f"{kind} on {proxy} {stream} asks for something else; use --backend process"
            )
        title = name or f"{kind}_{stream}"
        self._net.proxies.add(Toxic(proxy, kind, STREAMS[stream], dict(attributes)), title)
        info = self._infos[proxy, title] = ToxicInfo(title, kind, stream, toxicity, dict(attributes))
        return info

    def _carries(self, proxy: str, aimed: tuple[str, Stream, object, object]) -> bool:
        caller, _, callee = proxy.partition(":")
        if {caller, callee} <= self._members:
            return True
        relays = caller in self._members and any(
            link.name == proxy and link.wire == "http1" for link in self._net.topology.links(caller)
        )
        return relays and aimed in BODIES

    def remove_toxic(self, proxy: str, name: str) -> None:
        """See ProxyServer."""
        self._net.proxies.remove(proxy, name)
        del self._infos[proxy, name]

    def reset(self) -> None:
        """See ProxyServer."""
        for proxy, name in list(self._infos):
            self.remove_toxic(proxy, name)

    def receipts(self, proxy: str | None = None, *, toxic: str | None = None) -> list[Receipt]:
        """See ProxyServer."""
        return [receipt for receipt in self._net.proxies.receipts(proxy) if toxic in (None, receipt.toxic)]

    def _call(self, method: str, path: str, answer: msgspec.json.Decoder[T] | None, **rest: object) -> T:
        raise ProxyError(f"a simulated proxy has no {method.upper()} {path}; use --backend process")


class _Logs(Follower):
    """What the nodes wrote since the last look."""

    def __init__(self, net: SimNet) -> None:
        self._net = net
        self._read = 0

    def look(self) -> Iterator[Line]:
        """See Follower."""
        start, self._read = self._read, len(self._net.log)
        for at, name, event, fields in self._net.log[start : self._read]:
            yield Line(at, name, event, fields)


class SimObservers(Observers):
    """No thread watches: whoever asks has everything that was logged until now."""

    def __init__(self, net: SimNet, driver: SimDriver) -> None:
        super().__init__(_Logs(net))
        self._driver = driver

    def start(self) -> None:
        """See Observers."""

    def mark(self) -> int:
        """See Observers."""
        self.catch_up()
        return super().mark()

    def seen(self, kind: str | None = None, source: str | None = None, *, since: int = 0) -> list[Observation]:
        """See Observers."""
        self.catch_up()
        return super().seen(kind, source, since=since)

    def wait_for(
        self, predicate: Callable[[Observation], bool], timeout_s: float, *, since: int = 0
    ) -> Observation | None:
        """See Observers."""
        found: list[Observation] = []

        def look() -> bool:
            found[:] = [o for o in self.seen(since=since) if predicate(o)][:1]
            return bool(found)

        self._driver.wait_until(look, timeout_s, every_s=0.01)
        return found[0] if found else None


class SimCluster(Cluster):
    """A cluster whose services, links and clock are simulated."""

    def __init__(self, spec: Spec, folder: Path, requests: Requests, driver: SimDriver, temporary: Path | None) -> None:
        net = requests.net
        tasks = Tasks(net)
        driver.enter(tasks, requests)
        controls = {s.name: SimControl(s, requests, tasks) for s in spec.topology.services()}
        super().__init__(
            spec,
            folder,
            backend="sim",
            services=SimServices(requests, driver, folder, temporary),
            controls=controls,
            proxy=SimProxyServer(net),
            endpoints=_endpoints(spec.topology),
            observers=SimObservers(net, driver),
            driver=driver,
        )
        self.net = net
        self.requests = requests

    def side_by_side(self, work: Callable[[str], T], names: Iterable[str]) -> dict[str, T]:
        """See Cluster; a call that takes no time is made in its turn."""
        chosen = list(names)
        return dict(zip(chosen, self.driver.together([lambda name=name: work(name) for name in chosen]), strict=True))  # type: ignore[misc]


def _endpoints(topology: Topology) -> dict[str, str]:
    return {s.name: f"{SCHEME}{s.name}" for s in topology.services() if s.kind is Kind.BALANCER}
