"""A stage on a real cluster, through its control ports and its proxy alone: the same for processes and containers.

Between trials the members are stopped, cleared and resumed, and proved as good as new;
only one that cannot be proved is replaced by a new cluster, once.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from straybit.backends import BackendError
from straybit.backends.choose import open_backend
from straybit.campaign.script import topology
from straybit.campaign.spec import STEPPED, Setup
from straybit.campaign.stage import StageError
from straybit.cluster import Cluster
from straybit.control import Control, ControlError, Frame, NodeRefusedError, NodeSilentError, View
from straybit.faults import toxic_of
from straybit.oracle import View as Beliefs
from straybit.records import Detection
from straybit.waiting import wait_until
from straybit_faults.client import ProxyError
from straybit_faults.flip import Flip
from straybit_faults.receipt import Receipt
from straybit_faults.wire import Direction
from straybit_nodes.gossip.messages import UP
from straybit_nodes.topology import GENERATION

__all__ = ["ClusterStage", "start"]

SETTLE_S = 5.0
"""For whatever an exchange set off to end: ten times what the slowest, a black hole, takes."""
LOOK_EVERY_S = 0.002
DELIVERED_S = 2.0

_SERIAL = itertools.count()


def start(backend: str, setup: Setup, taken: ExitStack) -> ClusterStage:
    """A stage on a new cluster of that backend. Raises BackendError."""
    runner = taken.enter_context(open_backend(backend))

    def begin() -> Cluster:
        return runner.start(topology(setup.nodes), defences=setup.defences, rules=STEPPED, seed=setup.seed, ticks=False)

    stage = ClusterStage(begin)
    taken.callback(stage.close)
    return stage


@contextmanager
def _host() -> Iterator[None]:
    """What the control ports and the proxy cannot do is the host's failure."""
    try:
        yield
    except (ControlError, ProxyError, BackendError, OSError) as error:
        raise StageError(str(error)) from error


class ClusterStage:
    """The cluster that `begin` starts, which must have its timers off. Closing it closes the cluster."""

    def __init__(self, begin: Callable[[], Cluster]) -> None:
        self._begin = begin
        self._cluster = begin()
        self.members = tuple(member.name for member in self._cluster.topology.members())
        self._armed: dict[str, Flip] = {}
        self._names: tuple[str, ...] = ()
        self._hit = self.members[0]
        self._caller = self.members[0]
        self._frames = 0
        self._mark = 0
        self._exits = 0
        self._seen: dict[str, View | ControlError] | None = None

    @property
    def backend(self) -> str:
        """See Stage."""
        return self._cluster.backend

    def close(self) -> None:
        """See Stage."""
        self._cluster.close()

    def now(self) -> float:
        """See Stage."""
        return time.monotonic()

    # -- as good as new ------------------------------------------------------------------------------------

    def fresh(self) -> None:
        """See Stage. A cluster that cannot be cleared is replaced once."""
        try:
            self._clear()
        except StageError:
            self._cluster.close()
            with _host():
                self._cluster = self._begin()
            self._clear()
        self._exits = len(self._cluster.exits())

    def _clear(self) -> None:
        with _host():
            self.disarm()
            for name in self.members:
                if not self._cluster.in_service(name):
                    self._cluster.restart(name)
            for step in (Control.stop, Control.clear, Control.resume):
                self._all(step)
            self._seen = None
            doubts = self._doubts()
        if doubts:
            raise StageError(f"the cluster could not be cleared: {doubts[0]}")

    def _all(self, step: Callable[[Control], None]) -> None:
        for answer in self._cluster.each(step, self.members).values():
            if isinstance(answer, ControlError):
                raise answer

    def _doubts(self) -> list[str]:
        """Why this is not as good as new; empty when it is."""
        lines = [
            f"proxy {name} has the toxic {proxy.toxics[0].name}"
            for name, proxy in self._cluster.proxy.proxies().items()
            if proxy.toxics
        ]
        for member in self._cluster.topology.members():
            view = self._look()[member.name]
            if isinstance(view, ControlError):
                lines.append(str(view))
                continue
            own = view.entries.get(member.name)
            alone = own is not None and len(view.entries) == 1
            said = own and (own.address, own.status, own.generation, own.version)
            if not alone or said != (member.address, UP, GENERATION, 0) or view.marked or view.state != "running":
                lines.append(f"{member.name} still knows {', '.join(view.entries)}, marks {len(view.marked)}")
        return lines

    # -- faults --------------------------------------------------------------------------------------------

    def arm(self, flips: Sequence[Flip]) -> None:
        """See Stage."""
        serial = next(_SERIAL)
        if flips:
            ends = (flips[0].link.caller, flips[0].link.callee)
            self._caller, self._hit = ends if flips[0].direction is Direction.UP else ends[::-1]
        with _host():
            self._mark = self._cluster.observers.mark()
            self._frames = self._cluster.control(self._hit).frames(1 << 62).next
            for number, flip in enumerate(flips):
                toxic = toxic_of(flip, self._cluster.topology)
                name = f"s{serial}-{number}"
                self._armed[name] = flip
                self._cluster.proxy.add_toxic(toxic.link, toxic.kind, toxic.attributes, stream=toxic.stream, name=name)
        self._names = tuple(self._armed)

    def disarm(self) -> None:
        """See Stage."""
        with _host():
            for name, flip in [*self._armed.items()]:
                self._cluster.proxy.remove_toxic(str(flip.link), name)
                del self._armed[name]

    # -- steps ---------------------------------------------------------------------------------------------

    def exchange(self, caller: str, peer: str) -> bool:
        """See Stage. A caller that is gone or hangs exchanges nothing."""
        try:
            ok = self._cluster.control(caller).exchange(peer).ok
        except NodeSilentError:
            ok = False
        except NodeRefusedError as error:
            raise StageError(str(error)) from error
        self._settle()
        return ok

    def heartbeat(self, name: str) -> None:
        """See Stage. One that is gone or hangs has none."""
        self._seen = None
        try:
            self._cluster.control(name).heartbeat()
        except NodeSilentError:
            return
        except ControlError as error:
            raise StageError(str(error)) from error

    def kill(self, name: str) -> None:
        """See Stage."""
        with _host():
            self._cluster.kill(name)
        self._settle()

    def start(self, name: str) -> None:
        """See Stage."""
        self._seen = None
        with _host():
            self._cluster.restart(name)

    def _settle(self) -> None:
        """Wait until nothing is under way: at the first look, or at two looks in a row after one that saw something.

        One exchange may set off the next, on members that were looked at before.
        """
        needed = 1

        def quiet() -> bool:
            nonlocal needed
            self._seen = None
            busy = any(view.busy or view.queued or view.inflight for _, view in self._views())
            needed = 2 if busy else needed - 1
            return needed == 0

        if not wait_until(quiet, SETTLE_S, every_s=LOOK_EVERY_S):
            raise StageError(f"the cluster did not come to rest within {SETTLE_S:g} s")

    # -- what is seen --------------------------------------------------------------------------------------

    def _look(self) -> dict[str, View | ControlError]:
        """The views since the last step; between steps nothing changes."""
        if self._seen is None:
            up = [name for name in self.members if self._cluster.in_service(name)]
            self._seen = self._cluster.each(Control.view, up)
        return self._seen

    def _views(self) -> Iterable[tuple[str, View]]:
        return ((name, view) for name, view in self._look().items() if isinstance(view, View))

    def views(self) -> Mapping[str, Beliefs]:
        """See Stage."""
        return {name: view.entries for name, view in self._views()}

    def marked(self) -> Mapping[str, frozenset[str]]:
        """See Stage."""
        return {name: frozenset(view.marked) for name, view in self._views()}

    def silent(self) -> tuple[str, ...]:
        """See Stage."""
        return tuple(name for name, view in self._look().items() if isinstance(view, NodeSilentError))

    def exits(self) -> tuple[str, ...]:
        """See Stage."""
        return tuple(exit_.service for exit_ in self._cluster.exits()[self._exits :])

    def receipts(self) -> tuple[Receipt, ...]:
        """See Stage; waits for the receivers' kernels."""
        found: list[Receipt] = []

        def delivered() -> bool:
            found[:] = [one for name in self._names for one in self._cluster.proxy.receipts(toxic=name)]
            return all(one.delivered is not None for one in found)

        with _host():
            wait_until(delivered, DELIVERED_S, every_s=LOOK_EVERY_S)
        return tuple(sorted(found, key=lambda one: one.seq))

    def felt(self) -> Mapping[int, float]:
        """See Stage."""
        by_crc = {frame.crc: frame.t for frame in self._received()}
        return {one.seq: by_crc[one.crc] for one in self.receipts() if one.crc in by_crc}

    def came(self) -> Mapping[str, int]:
        """See Stage; as the receiver counted them."""
        return Counter(frame.kind or "unreadable" for frame in self._received() if frame.sender in (self._caller, ""))

    def _received(self) -> tuple[Frame, ...]:
        try:
            return self._cluster.control(self._hit).frames(self._frames).frames
        except ControlError:
            return ()

    def noticed(self) -> tuple[Detection, ...]:
        """See Stage; as the members' logs tell."""
        self._cluster.observers.catch_up()
        lines = self._cluster.observers.seen(since=self._mark)
        return tuple(
            Detection(
                by="parse" if line.kind == "parse-error" else str(line.fields["defence"]),
                service=line.source,
                at_s=line.t,
                detail=f"crc {line.fields['crc']:08x}",
            )
            for line in lines
            if line.kind in {"refused", "parse-error"}
        )
