"""A stepped gossip-only cluster on virtual time: what campaigns play thousands of trials on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self, cast

from straybit.campaign.spec import STEPPED
from straybit.faults import Toxic, toxic_of
from straybit.oracle import View
from straybit.records import Detection
from straybit.sim.net import SimNet
from straybit.sim.pipe import Heard
from straybit.sim.weak import SOUND, Weak
from straybit_faults.flip import Flip
from straybit_faults.receipt import Receipt
from straybit_faults.wire import Direction
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.topology import Topology

__all__ = ["SimStage"]


class SimStage:
    """`nodes` gossip nodes without timers, each time `fresh` anew: nobody knows anybody, all run, nothing is armed.

    `weak` is what every node is made of, sound by default; `record` keeps every frame that passes, for `heard`.
    `bytewise` carries messages as bytes on every link instead of only on those with a toxic.
    """

    backend = "sim"

    def __init__(
        self,
        nodes: int = 3,
        *,
        defences: Iterable[str] = (),
        seed: int = 0,
        rules: Rules = STEPPED,
        weak: Weak = SOUND,
        record: bool = False,
        bytewise: bool = False,
    ) -> None:
        self.topology = Topology.gossip_only(nodes)
        self.members = tuple(member.name for member in self.topology.members())
        self._defences = frozenset(defences)
        self._seed = seed
        self._rules = rules
        self._weak = weak
        self._record = record
        self._bytewise = bytewise
        self._toxics: dict[str, Toxic] = {}
        self._known: dict[Flip, Toxic] = {}
        self._mark = 0
        self._since = 0
        self._link = ("", Direction.UP)
        self.fresh()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Nothing to let go of."""

    def fresh(self) -> None:
        """A new net."""
        self._toxics.clear()
        self._mark = self._since = 0
        self.net = SimNet(
            self.topology,
            rules=self._rules,
            defences=self._defences,
            seed=self._seed,
            ticks=False,
            parts=self._weak,
            bytewise=self._bytewise,
            record=self._record,
        )
        self.net.resume()
        self.net.settle()

    def now(self) -> float:
        """Virtual seconds."""
        return self.net.now

    # Faults

    def arm(self, flips: Sequence[Flip]) -> None:
        """Aim at the next messages that match: ordinals count from now. Raises ProxyError."""
        self._mark = len(self.net.log)
        self._since = self.net.proxies.book.next
        self.net.proxies.count_anew()
        for number, flip in enumerate(flips):
            toxic = self._toxic(flip)
            name = f"t{number}"
            self.net.proxies.add(toxic, name)
            self._toxics[name] = toxic
        if flips:
            self._link = (str(flips[0].link), flips[0].direction)

    def disarm(self) -> None:
        """Take every toxic away."""
        for name, toxic in self._toxics.items():
            self.net.proxies.remove(toxic.link, name)
        self._toxics.clear()

    def _toxic(self, flip: Flip) -> Toxic:
        return toxic_of(flip, self.topology)

    # Steps

    def exchange(self, caller: str, peer: str) -> bool:
        """One exchange and all that it sets off; False when it failed."""
        ended: list[str | None] = []
        self.net.exchange(caller, peer, ended.append)
        self.net.settle()
        return ended == [None]

    def heartbeat(self, name: str) -> None:
        """One rise of the own version."""
        self.net.heartbeat(name)

    def kill(self, name: str) -> None:
        """SIGKILL."""
        self.net.crash(name)
        self.net.settle()

    def start(self, name: str) -> None:
        """Again after a kill: memory new, disk as it was."""
        self.net.restart(name)
        self.net.settle()

    # What is seen

    def views(self) -> Mapping[str, View]:
        """What each member that is up believes."""
        hosts = self.net.hosts.items()
        # a core's entries have the fields of an oracle's; copying each would cost as much as the exchange
        return {name: cast("View", dict(host.core.view.entries)) for name, host in hosts if host.up}

    def marked(self) -> Mapping[str, frozenset[str]]:
        """Whom each member that is up holds for failed."""
        return {name: frozenset(host.core.marks) for name, host in self.net.hosts.items() if host.up}

    def receipts(self) -> tuple[Receipt, ...]:
        """What was done to messages since the last arming."""
        return tuple(receipt for receipt in self.net.proxies.book.receipts if receipt.seq >= self._since)

    def noticed(self) -> tuple[Detection, ...]:
        """Frames that somebody refused since the last arming."""
        return tuple(
            Detection(
                by="parse" if event == "parse-error" else str(fields["defence"]),
                service=name,
                at_s=at,
                detail=f"crc {fields['crc']:08x}",
            )
            for at, name, event, fields in self.net.log[self._mark :]
            if event in {"refused", "parse-error"}
        )

    def felt(self) -> dict[int, float]:
        """When each receipt's receiver took the frame, refused or not, by the receipt's number."""
        found: dict[int, float] = {}
        for receipt in self.receipts():
            caller, _, callee = receipt.proxy.partition(":")
            frames = self.net.hosts[callee if receipt.direction is Direction.UP else caller].frames
            times = [at for _, at, _, _, crc in frames if crc == receipt.crc]
            found |= {receipt.seq: times[0]} if times else {}
        return found

    def silent(self) -> tuple[str, ...]:
        """Nodes that run and do not answer: none, since no code here waits for anything."""
        return ()

    def heard(self) -> tuple[Heard, ...]:
        """Frames that passed since the last arming, where they are recorded."""
        return tuple(self.net.proxies.heard)

    def came(self) -> dict[str, int]:
        """Messages on the first armed flip's link and direction since arming, by kind."""
        return self.net.proxies.came(*self._link)

    def exits(self) -> tuple[str, ...]:
        """Nodes whose own code raised: their processes are gone."""
        return tuple(name for _, name, _ in self.net.exits)
