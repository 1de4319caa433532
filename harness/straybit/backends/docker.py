"""Services as containers: `docker compose` starts them, the Docker SDK steers and watches them."""

from __future__ import annotations

import ipaddress
import logging
import random
import secrets
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_fixed

from straybit.backends import BackendError
from straybit.backends._containers import Containers
from straybit.backends._engine import Engine, EngineError, ask_compose, compose_version, find_engine
from straybit.backends._folders import cluster_folder
from straybit.backends._images import require_images
from straybit.backends._owner import this_owner
from straybit.backends._readiness import await_agreement, await_answer, await_proxy, step_until_known
from straybit.cluster import Cluster, Spec
from straybit.compose import RUN, compose_yaml
from straybit.control import Control, ControlError
from straybit.crew import HeldBack
from straybit.driver import LIVE
from straybit.observe import Follower, Observation, Observers
from straybit.services import Exit
from straybit_faults.client import ProxyError, ProxyServer
from straybit_nodes.contained import API, BACK, CONTROL, FRONT, Layout
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.topology import CLIENT, Topology

__all__ = ["DockerBackend"]

START_BUDGET_S = 60.0
"""For each step of coming up: a proxy, the control ports, agreement. Two idle cores need 10 s for all of them."""
TRIES = 5
"""Networks of addresses until one is free, and removals until all is gone."""
AGAIN_S = 0.5
_LOG = logging.getLogger(__name__)
RESTART_S = 5.0
"""Two containers of one server, side by side, on two cores that carry July's load at the same time."""
LOOK_EVERY_S = 0.2
"""At each of them while they start; a look costs more than at a process, and takes time from twenty interpreters."""
HOST = "127.0.0.1"
ROUTES = Path("/proc/net/route")
"""What the host reaches there, as behind a VPN, is to stay reachable."""


class DockerBackend:
    """Every cluster is a compose project of its own, whose containers, networks and volumes carry the run's label.

    Does not tolerate its own process's death: `straybit sweep` removes what is left then.
    """

    name = "docker"
    driver = LIVE

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._clusters: list[Cluster] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def engine(self) -> Engine:
        """The engine, found when it is first wanted. Raises EngineError."""
        with self._lock:
            if self._engine is None:
                compose_version()
                engine = find_engine()
                require_images(engine)
                self._engine = engine
            return self._engine

    def start(
        self,
        topology: Topology,
        *,
        defences: Iterable[str] = (),
        rules: Rules | None = None,
        seed: int = 0,
        ticks: bool = True,
        folder: Path | None = None,
        keep: bool = False,
        keys: tuple[str, str] = ("", ""),
        budget_s: float = START_BUDGET_S,
    ) -> Cluster:
        """As Backend.start; gives up after `budget_s`."""
        spec = Spec(
            topology=topology,
            defences=frozenset(defences),
            rules=rules or Rules(),
            seed=seed,
            ticks=ticks,
            keep=keep,
            keys=keys,
        )
        engine = self.engine
        with ExitStack() as taken:
            home = cluster_folder(folder)
            if folder is None:
                taken.callback(shutil.rmtree, home, ignore_errors=True)
            project = _Project(spec, home, temporary=folder is None)
            cluster = project.start(engine, budget_s)
            taken.pop_all()
        self._clusters = [*(c for c in self._clusters if not c.closed), cluster]
        return cluster

    def close(self) -> None:
        """End every cluster of this backend; safe to call twice. Ctrl-C is heard when that is done."""
        with HeldBack(), ExitStack() as stack:  # each is closed, whatever closing another raised
            stack.callback(self._end_engine)
            for cluster in self._clusters:
                stack.callback(cluster.close)

    def _end_engine(self) -> None:
        with self._lock:
            if self._engine is not None:
                self._engine.close()
                self._engine = None


class _Project:
    """One cluster on its way from a specification to a healthy compose project."""

    def __init__(self, spec: Spec, home: Path, *, temporary: bool) -> None:
        self.spec = spec
        self.home = home
        self.temporary = temporary
        self.run = f"straybit-{secrets.token_hex(4)}"
        self.token = secrets.token_hex(16)
        self.file = home / "compose.yaml"

    def start(self, engine: Engine, budget_s: float) -> Cluster:
        """Raises BackendError with everything taken down again."""
        try:
            layout = Layout(self.spec.topology)
            self.file.write_text(compose_yaml(self.spec.topology))
        except (ValueError, OSError) as error:
            raise BackendError(f"the cluster's compose.yaml cannot be written: {error}") from None
        containers = Containers(engine, self.run, logs=self.home / "logs", down=partial(self._down, engine))
        with _or_down(containers.end, partial(containers.clean, keep=False)):
            self._up(engine)
            cluster = self._cluster(layout, containers)
        with _or_down(cluster.close):
            _make_ready(cluster, containers, budget_s)
        return cluster

    def environment(self, net: str) -> dict[str, str]:
        """The variables of compose.yaml."""
        spec = self.spec
        return {
            RUN.replace(".", "_").upper(): self.run,
            "STRAYBIT_OWNER": this_owner(),
            "STRAYBIT_NET": net,
            "STRAYBIT_S3_PORT": "0",
            "STRAYBIT_TOKEN": self.token,
            "STRAYBIT_DEFENCES": ",".join(sorted(spec.defences)) or "none",
            "STRAYBIT_RULES": msgspec.json.encode(spec.rules).decode(),
            "STRAYBIT_SEED": str(spec.seed),
            "STRAYBIT_HELD": "true",
            "STRAYBIT_NO_HEALTHCHECK": "true",
            "STRAYBIT_TICKS": "true" if spec.ticks else "false",
            "STRAYBIT_ACCESS_KEY": spec.keys[0],
            "STRAYBIT_SECRET_KEY": spec.keys[1],
        }

    def _up(self, engine: Engine) -> None:
        for net in _free_nets(engine):
            try:
                ask_compose(self.run, self.file, ["up", "--detach", "--no-build"], env=self.environment(net))
            except EngineError as error:
                if "overlaps" not in error.said:  # somebody took the addresses between the look and the start
                    raise
            else:
                return
        raise EngineError(f"no free network of 256 addresses was found in {TRIES} tries; remove networks nobody uses")

    def _down(self, engine: Engine) -> None:
        """Remove everything, as often as it takes an engine to see that nobody uses a network any more.

        One that never does has miscounted (engine 20.10 was seen to) and needs to be started again:
        what then is left is an empty network, which is told and is no failure of the run.
        """
        arguments = ["down", "--volumes", "--remove-orphans", "--timeout", "0"]
        again = Retrying(
            retry=retry_if_exception(_in_use), stop=stop_after_attempt(TRIES), wait=wait_fixed(AGAIN_S), reraise=True
        )
        try:
            again(ask_compose, self.run, self.file, arguments, env=self.environment("10.208.0"))
        except EngineError as error:
            if not _in_use(error) or engine.containers(f"{RUN}={self.run}"):
                raise
            _LOG.warning(
                "straybit: the engine keeps an empty network of the run %s, of which it says %s; "
                "start the engine again, and `straybit sweep` removes it",
                self.run,
                error.said.rpartition(": ")[2],
            )

    def _cluster(self, layout: Layout, containers: Containers) -> Cluster:
        containers.find()
        names = [service.name for service in self.spec.topology.services()]
        controls = {name: Control(name, (HOST, containers.port(name, CONTROL)), self.token) for name in names}
        containers.steer(controls)
        observers = Observers(Follower({name: self.home / "logs" / f"{name}.ndjson" for name in names}))
        cluster = Cluster(
            self.spec,
            self.home,
            backend=DockerBackend.name,
            services=containers,
            controls=controls,
            proxy=ProxyServer(HOST, containers.port(BACK, API)),
            network=ProxyServer(HOST, containers.port(FRONT, API)),
            run=self.run,
            endpoints={
                link.callee: f"http://{HOST}:{containers.port(FRONT, layout.ports[link.name])}"
                for link in self.spec.topology.links()
                if link.caller == CLIENT
            },
            observers=observers,
        )
        cluster.restart_s = RESTART_S
        containers.follow(lambda exit: observers.add(_as_observation(exit)))
        if self.temporary:
            containers.temporary = self.home
        return cluster


@contextmanager
def _or_down(*steps: Callable[[], None]) -> Iterator[None]:
    """Take the `steps` down where the block fails; what they leave is told after what went wrong first."""
    try:
        yield
    except BaseException as error:
        with HeldBack():  # a second Ctrl-C is heard when all that can be is down
            failed = [more for step in steps if (more := _failure(step)) is not None]
            if isinstance(error, BackendError | ControlError | ProxyError | OSError):
                what = str(error) if isinstance(error, BackendError) else f"the cluster did not start: {error}"
                both = BackendError("; ".join([what, *map(str, failed)]))
                both.left = next((more.left for more in failed if more.left), "")
                raise both from error
            if failed:
                raise failed[0] from error
            raise


def _failure(step: Callable[[], None]) -> BackendError | None:
    """What went wrong with one step of taking down, which keeps none of the others from being taken."""
    try:
        step()
    except BackendError as error:
        return error
    except Exception as error:
        return BackendError(f"{type(error).__name__}: {error}")
    return None


def _make_ready(cluster: Cluster, containers: Containers, budget_s: float) -> None:
    names = [service.name for service in cluster.topology.services()]
    patience = {"budget_s": budget_s, "every_s": LOOK_EVERY_S}
    await_proxy(cluster.network, FRONT, containers, **patience)
    await_proxy(cluster.proxy, BACK, containers, **patience)
    cluster.side_by_side(lambda name: await_answer(cluster.control(name), containers, state="held", **patience), names)
    cluster.observers.start()
    cluster.side_by_side(lambda name: cluster.control(name).resume(), names)
    if not cluster.spec.ticks:
        step_until_known(cluster)
    await_agreement(cluster, budget_s=budget_s)


def _free_nets(engine: Engine) -> list[str]:
    """Networks of 256 addresses that no network of the engine overlaps, those off the host's own routes first."""
    networks = engine.ask(lambda api: api.networks(), "networks cannot be listed")
    taken = [
        ipaddress.IPv4Network(config["Subnet"], strict=False)
        for network in networks
        for config in (network.get("IPAM") or {}).get("Config") or []
        if "." in config.get("Subnet", "")
    ]
    tried = random.SystemRandom().sample(range(1 << 12), TRIES * 4)
    nets = [f"10.{209 + number // 256 % 16}.{number % 256}" for number in tried]
    free = [net for net in nets if not _overlaps(net, taken)]
    routes = _routes(ROUTES.read_text() if ROUTES.is_file() else "")
    return sorted(free, key=lambda net: _overlaps(net, routes))[:TRIES]


def _overlaps(net: str, others: Iterable[ipaddress.IPv4Network]) -> bool:
    return any(ipaddress.IPv4Network(f"{net}.0/24").overlaps(other) for other in others)


def _routes(table: str) -> list[ipaddress.IPv4Network]:
    """Where the host sends packets elsewhere than by default, as the kernel lists it in /proc/net/route."""
    rows = [line.split() for line in table.splitlines()[1:]]
    words = [(int(row[1], 16).to_bytes(4, "little"), int(row[7], 16).to_bytes(4, "little")) for row in rows]
    return [
        ipaddress.IPv4Network((to, str(ipaddress.IPv4Address(mask))), strict=False) for to, mask in words if any(mask)
    ]


def _in_use(error: BaseException) -> bool:
    return isinstance(error, EngineError) and "has active endpoints" in error.said


def _as_observation(exit: Exit) -> Observation:
    fields = {"status": exit.status, **({"host": exit.host} if exit.host else {})}
    return Observation(exit.t, exit.service, "exit", fields)
