"""July 2008 on virtual time: its six flips, each mechanism removed in turn, and what operators may try.

`python -m straybit.sim.july [SEEDS]` prints the table of the docs, for that many seeds (20).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from straybit.faults import toxic_of
from straybit.scenarios._july_plan import july_plan, owner_of
from straybit.sim.load import Load
from straybit.sim.net import SimNet
from straybit_faults.flip import Flip
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.topology import Topology

__all__ = ["REMOVED", "Played", "bring_about", "play", "rolling_restart", "staged_clear"]

REMOVED: dict[str, Rules] = {
    "nothing": Rules(),
    "gossip before request": Rules(gossip_before_request=False),
    "the bound on slots": Rules(slots=None),
    "slow failure": Rules(slow_failure=False),
    "rumours and retries": Rules(tell_count=0, verify_retries=0),
    "reopening by news and contact": Rules(reopen_on_news=False, reopen_on_contact=False),
    "owners believe others": Rules(owner_refutes=True),
}
"""What is taken out of the mechanism, row by row."""

WARM_S = 2.0
ARMED_MAX_S = 6.0
"""How long flips may wait for their messages; in a collapse some never come."""
NEWS_S = 0.05
"""From asking an owner for news to telling them, and on to the next try: natural traffic would take longer."""
SETTLE_S = 2.0


class Played:
    """A run: its network, its load, when the flips were over."""

    def __init__(self, net: SimNet, load: Load, over: float) -> None:
        self.net = net
        self.load = load
        self.over = over

    def success(self, since_s: float, until_s: float) -> dict[str, float]:
        """Share of requests that succeeded per region, begun in that time after the flips."""
        names = [region.name for region in self.net.topology.regions]
        return {name: self.load.success(name, self.over + since_s, self.over + until_s) for name in names}

    def poisoned(self) -> set[tuple[str, str]]:
        """(member, owner) of each entry whose address, status or generation its owner never originated."""
        wrong = set()
        for name, host in self.net.hosts.items():
            for owner, entry in host.core.view.entries.items():
                true = self.net.hosts[owner].core if owner in self.net.hosts else None
                if true is None or (entry.address, entry.status, entry.generation) != (
                    true.address,
                    true.status,
                    true.generation,
                ):
                    wrong.add((name, owner))
        return wrong


def bring_about(net: SimNet, flips: Iterable[Flip]) -> None:
    """Arm the flips and have every sender ask the owner for news and tell the receiver, until its message was sent."""
    names = {f"july-{number}": flip for number, flip in enumerate(flips)}
    for name, flip in names.items():
        net.proxies.add(toxic_of(flip, net.topology), name)
    until = net.now + ARMED_MAX_S
    while (left := names.keys() - {receipt.toxic for receipt in net.proxies.receipts()}) and net.now < until:
        for name in sorted(left):
            net.exchange(names[name].link.caller, owner_of(names[name]))
        net.run(net.now + NEWS_S)
        for name in sorted(left):
            net.exchange(names[name].link.caller, names[name].link.callee)
        net.run(net.now + NEWS_S)
    for name, flip in names.items():
        net.proxies.remove(str(flip.link), name)


def play(
    rules: Rules,
    *,
    seed: int,
    defences: Iterable[str] = (),
    flips: Iterable[Flip] | None = None,
    act: Callable[[SimNet], None] | None = None,
    length_s: float = 7.5,
    topology: Topology | None = None,
) -> Played:
    """Warm up, flip (July's six unless others are given), then let `act` and `length_s` pass."""
    topology = topology if topology is not None else Topology()
    net = SimNet(topology, rules=rules, defences=defences, seed=seed)
    load = Load(net, seed=seed)
    net.resume()
    net.run(WARM_S)
    bring_about(net, flips if flips is not None else july_plan(topology, seed).flips)
    over = net.now
    if act is not None:
        act(net)
    net.run(over + length_s)
    return Played(net, load, over)


def rolling_restart(net: SimNet) -> None:
    """Every member in turn, half a second apart."""
    for index, name in enumerate(net.hosts):
        net.after(SETTLE_S + 0.5 * index, lambda name=name: net.crash(name))  # type: ignore[misc]
        net.after(SETTLE_S + 0.5 * index + 0.3, lambda name=name: net.restart(name))  # type: ignore[misc]


def staged_clear(net: SimNet, keep: str | None = None, *, after_s: float = SETTLE_S) -> None:
    """Stop all, clear all (but `keep`), then the small region, then the large one in two batches."""
    first, second = (
        [s.name for s in net.topology.members() if s.region == region.name] for region in net.topology.regions
    )
    half = len(second) // 2
    batches = [first, second[:half], second[half:]]

    def stop() -> None:
        for name in net.hosts:
            net.stop(name)

    def clear() -> None:
        for name in net.hosts:
            if name != keep:
                net.clear(name)

    net.after(after_s, stop)
    net.after(after_s + 0.5, clear)
    up: list[str] = []
    for index, batch in enumerate(batches):
        up = [*up, *batch]
        net.after(after_s + 1 + 0.5 * index, lambda batch=batch, up=up: net.resume(batch, up))  # type: ignore[misc]


def _row(name: str, seeds: Iterable[int], **how: object) -> str:
    plays = [play(seed=seed, **how).success(2.5, 7.5) for seed in seeds]  # type: ignore[arg-type]
    cells = [[100 * each[region] for each in plays] for region in plays[0]]
    shares = "  ".join(f"{sum(cell) / len(cell):5.1f} ({min(cell):3.0f}-{max(cell):3.0f})" for cell in cells)
    return f"{name:32} {shares}\n"


def main(arguments: list[str]) -> int:
    """Print success in percent per region, mean (least-most) over the seeds."""
    seeds = range(int(arguments[0]) if arguments else 20)
    sys.stdout.write(f"{'removed':32} eu               us\n")
    for name, rules in REMOVED.items():
        sys.stdout.write(_row(name, seeds, rules=rules))
    sys.stdout.write("defence\n")
    for name in ("gossip-crc", "entry-digest", "value-bounds", "failed-peer-damping", "gossip-alarm"):
        sys.stdout.write(_row(name, seeds, rules=Rules(), defences=(name,)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
