"""The simulator's goals, each measured here and now: trials a second, a census, false alarms, and July at scale.

`python benchmarks/sim.py [--small]` prints a table and exits 1 when a goal that is not one of time was missed:
a false alarm, two runs that differ, or a July that did not collapse or come back.
Times are CPU seconds of this one process, which has one thread.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack

from straybit.campaign.record import record_message
from straybit.campaign.space import census
from straybit.campaign.spec import Aimed, Setup, TrialSpec
from straybit.campaign.stage import Stage
from straybit.campaign.stages import open_stage, recorder
from straybit.campaign.stepped import run_trial
from straybit.outcome import Outcome
from straybit.scenarios._july_plan import july_plan
from straybit.sim.july import bring_about, staged_clear
from straybit.sim.load import Load
from straybit.sim.net import SimNet
from straybit_faults.wire import Direction
from straybit_nodes.defences import GROUPS
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.topology import Topology

MESSAGE = Aimed("gossip-1:gossip-2", Direction.UP, "state")
WIDE = Rules(heartbeat_interval_s=2.0, gossip_interval_s=0.2, tell_count=4, verify_retries=2)
"""For a thousand nodes, within the ranges over which July collapses: each heartbeat is a million merges.

Rarer heartbeats reopen fewer cases, so that each failure is told to more and verified more often.
"""
DOWN, UP = 0.05, 0.95
LOOK_S = 1.0
PATIENCE_S = 20.0


class Rows:
    """The table, and whether it says that something is wrong."""

    def __init__(self) -> None:
        self.wrong = False

    def add(self, what: str, goal: str, measured: str, *, ok: bool | None = None) -> None:
        """Print one row; `ok` False is a defect and no matter of speed."""
        self.wrong = self.wrong or ok is False
        print(f"| {what} | {goal} | {measured}{' (WRONG)' if ok is False else ''} |", flush=True)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--small", action="store_true", help="fewer trials and nodes, for a look or for CI")
    small = parser.parse_args().small
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, one used, load {os.getloadavg()[0]:.1f}\n")
    print("| work | goal | measured |\n|---|---|---|")
    rows = Rows()
    trials_a_second(rows, 60 if small else 600)
    every_bit(rows, limit=100 if small else None)
    controls(rows, 200 if small else 10_000)
    cost = {n: merged(n, seconds=0.5 if small or n > 300 else 2.0) for n in ((50, 100) if small else (100, 1000))}
    (few, cheap), (many, dear) = cost.items()
    rows.add(
        f"cost per merged entry, {few} and {many} nodes",
        "at most 2x",
        f"{cheap:.1f} and {dear:.1f} us: {dear / cheap:.2f}x",
    )
    july(rows, 100 if small else 1000)
    return rows.wrong


def trials_a_second(rows: Rows, count: int) -> None:
    """Stepped trials of every kind of bit on six nodes."""
    for name, names in (("none", ()), ("all", sorted(GROUPS["all"]))):
        setup = Setup(nodes=6, defences=tuple(names))
        specs = _bits(setup)
        with ExitStack() as taken:
            stage = open_stage("sim", setup, taken)
            began = time.process_time()
            outcomes = Counter(run_trial(specs[7 * n % len(specs)], stage).outcome for n in range(count))
            rate = count / (time.process_time() - began)
        seen = ", ".join(f"{n} {outcome}" for outcome, n in sorted(outcomes.items()))
        rows.add(
            f"trials, 6 nodes, defences {name}",
            "at least 100/s",
            f"{rate:.0f}/s ({seen})",
            ok=not outcomes[Outcome.INVALID],
        )


def every_bit(rows: Rows, limit: int | None) -> None:
    """A census of one state message on three nodes."""
    setup = Setup(nodes=3)
    specs = _bits(setup)[:limit]
    with ExitStack() as taken:
        stage = open_stage("sim", setup, taken)
        began = time.process_time()
        outcomes = Counter(run_trial(spec, stage).outcome for spec in specs)
        took_s = time.process_time() - began
    seen = ", ".join(f"{n} {outcome}" for outcome, n in sorted(outcomes.items()))
    rows.add(f"census of one state message, {len(specs)} bits", "at most 30 s", f"{took_s:.1f} s ({seen})")


def controls(rows: Rows, count: int) -> None:
    """Control trials with every defence on, over seeds and both directions: whoever notices anything is wrong."""
    alarms: list[str] = []
    began = time.process_time()
    with ExitStack() as taken:
        for seed in range(4):
            setup = Setup(nodes=3 + 3 * (seed % 2), defences=tuple(sorted(GROUPS["all"])), seed=seed)
            stage = open_stage("sim", setup, taken)
            for number in range(count // 4):
                alarms += _control(stage, setup, number)
    took_s = time.process_time() - began
    rows.add(
        f"false alarms in {count:,} control trials",
        "0",
        f"{len(alarms)} in {took_s:.0f} s {alarms[:2] or ''}",
        ok=not alarms,
    )


def _control(stage: Stage, setup: Setup, number: int) -> list[str]:
    caller, callee = number % setup.nodes, (number + 1 + number // setup.nodes % (setup.nodes - 1)) % setup.nodes
    way, kind = (("up", "state"), ("down", "state"), ("up", "digest"))[number % 3]
    flip = f"1/gossip-{caller + 1}:gossip-{callee + 1}/{way}/{kind}/0/sender/{number % 128}/control"
    trial = run_trial(TrialSpec(id=f"c{number}", flips=(flip,), setup=setup), stage)
    return [] if trial.outcome is Outcome.MASKED else [f"{flip}: {trial.outcome}, {trial.why}"]


def _bits(setup: Setup) -> list[TrialSpec]:
    plan = census(record_message(MESSAGE, setup, recorder(setup)), setup)
    return [spec for spec in plan.trials() if not all(flip.control for flip in spec.parsed())]


def merged(nodes: int, *, seconds: float) -> float:
    """Microseconds of CPU for each entry that is merged in a sound cluster of gossip nodes alone."""
    net = SimNet(Topology.gossip_only(nodes), rules=Rules(), seed=1)
    net.resume()
    net.run(1.0)
    before, began = _marks(net), time.process_time()
    net.run(1.0 + seconds)
    return 1e6 * (time.process_time() - began) / (_marks(net) - before)


def _marks(net: SimNet) -> int:
    return sum(host.core.view.mark for host in net.hosts.values())


def july(rows: Rows, nodes: int) -> None:
    """Six flips, until almost no request succeeds; then the staged restore, until all do."""
    small, rules = nodes * 3 // 8, WIDE if nodes > 300 else Rules()
    topology = Topology.sized(eu=(small, max(1, nodes // 60)), us=(nodes - small, max(2, nodes // 36)))
    began = time.process_time()
    net = SimNet(topology, rules=rules, seed=1)
    load = Load(net, seed=1)
    net.resume()
    net.run(1.5)
    bring_about(net, july_plan(topology, 1).flips)
    flipped_s = net.now
    down = _until(net, load, lambda shares: max(shares) < DOWN)
    collapsed_s, collapse_cpu = net.now - flipped_s, time.process_time() - began
    staged_clear(net, after_s=0.0)
    back = _until(net, load, lambda shares: min(shares) > UP)
    what = f"July with {nodes} gossip nodes (heartbeat {rules.heartbeat_interval_s:g} s)"
    said = f"down {collapsed_s:.1f} s after the flips, restored {net.now - flipped_s - collapsed_s:.1f} s later"
    cpu = time.process_time() - began
    rows.add(
        what, "at most 120 s", f"{cpu:.0f} s, {collapse_cpu:.0f} s of them until it was down; {said}", ok=down and back
    )


def _until(net: SimNet, load: Load, done: Callable[[list[float]], bool]) -> bool:
    """Let time pass until the last second's shares of success, region by region, are as wanted."""
    limit_s = net.now + PATIENCE_S
    net.run(net.now + LOOK_S)
    while net.now < limit_s:
        net.run(net.now + LOOK_S / 2)
        since = net.now - LOOK_S - 1.0
        shares = [load.success(region.name, since, since + LOOK_S) for region in net.topology.regions]
        if done(shares):
            return True
    return False


if __name__ == "__main__":
    sys.exit(main())
