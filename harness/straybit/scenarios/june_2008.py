"""June 20-22, 2008: one load balancer changes single bytes of customers' objects, and only those who sent MD5s notice.

Sources: Amazon's posts in its developer forum of June 2008, and Data Center Knowledge of 2008-06-27.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable
from functools import partial

import msgspec

from straybit import records
from straybit.ledger_client import Stored
from straybit.observe import HostWatch
from straybit.observe.alarm import BadDigestMonitor
from straybit.run import Run
from straybit.scenarios._june_judge import expectations, false_alarms, modes, story, trials
from straybit.scenarios._june_plan import CONTROL_RATE, RATE, JunePlan, Write, june_plan
from straybit.scenarios._june_seen import Answered, Seen
from straybit.scenarios.scenario import UNSTEADY, Scenario
from straybit.steady import NotSteadyError, wait_steady
from straybit_faults.receipt import Receipt

__all__ = ["JUNE_2008", "JUNE_2008_BITS", "June", "put_on_record"]

GOLDEN = 42
"""Writes before anything is armed, at least: two in each mode through each balancer of the default cluster."""
GOLDEN_S = 2.0
"""So long at least is the workload's stretch before arming that everything is compared with."""
GOLDEN_PREFIX = "golden/"
CLIENTS = 6
"""Clients that write at the same time."""
READ_EVERY = 3
"""Of so many acknowledged writes one is read at once, as clients do."""
PATIENCE = 4.0
"""Nothing here is about time-outs: a busy machine may take longer for a request, and the story is the same."""
TOXIC = "june"
"""Its name on each of the balancer's links to coordinators: there one damaged body reaches all replicas."""


class June:
    """One June as it is played: what was planned, and what clients got so far."""

    def __init__(self, run: Run, plan: JunePlan) -> None:
        self.run = run
        self.plan = plan
        self.answered: dict[str, Answered] = {}
        self.reads: list[Stored] = []
        self.armed_s = 0.0
        self.reverted_s = 0.0
        self.recovered_s: float | None = None
        self.links = [s.name for s in run.topology.links() if s.caller == plan.balancer and s.wire == "http1"]
        self._acknowledged = itertools.count(1)

    def golden(self) -> bool:
        """The same kind of workload before anything is armed; whether every request succeeded. If not, that is all."""
        until_s = self.run.now() + GOLDEN_S
        writes: list[Write] = []
        for turn in itertools.takewhile(lambda turn: turn == 0 or self.run.now() < until_s, itertools.count()):
            prefix = f"{GOLDEN_PREFIX}{turn}/"
            some = [msgspec.structs.replace(w, key=f"{prefix}{w.key}") for w in self.plan.writes[:GOLDEN]]
            self.load(some)
            writes += some
        failed = [w.key for w in writes if not self.answered[w.key].reply.ok]
        failed += [read.key for read in self.reads if read.verdict != "right"]
        if failed:
            self.run.record(records.Error(what=f"{UNSTEADY}: {len(failed)} requests failed, the first of {failed[0]}"))
        return not failed

    def load(self, writes: Iterable[Write]) -> None:
        """Several clients at a time perform `writes`, begun in their order."""
        self.run.together(*(partial(self.request, write) for write in writes), at_once=CLIENTS)

    def request(self, write: Write) -> None:
        """A PUT in its mode; every third that is acknowledged is read back at once."""
        began_s = self.run.now()
        body = self.run.ledger.payload(write.key, write.size)
        reply = self.run.put(write.key, body, balancer=write.balancer, mode=write.mode)
        self.answered[write.key] = Answered(began_s, self.run.now(), reply)
        if reply.ok and next(self._acknowledged) % READ_EVERY == 0:
            self.reads.append(self.run.get(write.key, balancer=write.balancer, mode=write.mode))

    def arm(self) -> None:
        """Make the balancer faulty."""
        kind = "setbyte" if self.plan.unit == "byte" else "bitflip"
        attributes = {"wire": "http1", "message": "request", "field": "body", "seed": self.plan.seed}
        self.armed_s = self.run.now()
        for link in self.links:
            rates = {"rate": RATE, "control_rate": CONTROL_RATE}
            self.run.cluster.proxy.add_toxic(link, kind, attributes | rates, stream="upstream", name=TOXIC)

    def take_out(self) -> None:
        """Take the fault out of the cluster, and wait until it is steady."""
        for link in self.links:
            self.run.cluster.proxy.remove_toxic(link, TOXIC)
        self.reverted_s = self.run.now()
        try:
            steady = wait_steady(self.run.cluster, budget_s=2 * self.run.budgets["recovered"])
            self.recovered_s = max(0.0, steady.since - self.run.started - self.reverted_s)
        except NotSteadyError as error:
            self.run.record(records.LogLine(at_s=self.run.now(), service="steady", what=str(error)))

    def scan(self, named: Iterable[str]) -> tuple[Stored, ...]:
        """Read every key that a client tried to write under the fault: ledger and cluster know all it takes.

        Each goes through the balancers of the region it was written in, in turn;
        those that an alarm `named` are left out where their region has another.
        """
        out = frozenset(named)
        tried = self.run.ledger.keys()
        keys = [key for key in tried if not key.startswith(GOLDEN_PREFIX)]
        doors = {region: itertools.cycle(self.doors(region, out)) for region in self.run.regions()}
        return self.run.scan([(key, next(doors[self.run.home(key)])) for key in keys])

    def doors(self, region: str, named: Collection[str]) -> list[str]:
        """The balancers of a region that one would use."""
        there = self.run.balancers(region)
        return [name for name in there if name not in named] or there

    def receipts(self) -> list[Receipt]:
        """What the proxy did to requests, by its own word."""
        proxy = self.run.cluster.proxy
        return [receipt for link in self.links for receipt in proxy.receipts(link) if receipt.toxic == TOXIC]

    def seen(self, scan: tuple[Stored, ...], monitor: BadDigestMonitor, host: HostWatch) -> Seen:
        """Everything that is judged."""
        observers = self.run.cluster.observers
        observers.catch_up()
        return Seen(
            plan=self.plan,
            answered=self.answered,
            reads=self.reads,
            scan=scan,
            receipts=self.receipts(),
            lines=[o for kind in ("refused", "request") for o in observers.seen(kind)],
            alarms=monitor.alarms,
            started=self.run.started,
            armed_s=self.armed_s,
            reverted_s=self.reverted_s,
            recovered_s=self.recovered_s,
            blind=monitor.errors,
            stalled_s=host.late_s if host.stalled else 0.0,
            budgets=self.run.budgets,
            replay=self.run.replay,
        )


def put_on_record(run: Run, seen: Seen) -> None:
    """Judge what was seen and put everything on record: trials, alarms, tables, and what was expected."""
    judged = trials(seen)
    blind = (records.Error(what=f"bad-digest-alarm may have missed something: {error}") for error in seen.blind)
    told: Iterable[records.Record] = (
        *judged,
        *seen.alarms,
        *false_alarms(seen),
        *blind,
        modes(seen, judged),
        *expectations(seen, judged),
        story(seen, judged),
    )
    for record in told:
        run.record(record)
    run.record_samples(seen.samples({name: run.topology.service(name).region for name in run.balancers()}))


def _player(unit: str) -> Callable[[Run], None]:
    def play(run: Run) -> None:
        june = June(run, june_plan(run.topology, run.seed, unit=unit))
        run.create_buckets()
        with run.watch_host() as host, BadDigestMonitor(run.cluster, clock=run.now) as monitor:
            with run.phase("steady state"):
                if not june.golden():
                    return
            with run.phase("faulty balancer"):
                june.arm()
                june.load(june.plan.writes)
                monitor.look()
            with run.phase("taken out"):
                june.take_out()
        with run.phase("scan"):
            found = june.scan(alarm.culprit for alarm in monitor.alarms)
        put_on_record(run, june.seen(found, monitor, host))

    return play


def _scenario(name: str, unit: str) -> Scenario:
    return Scenario(
        name=name,
        title=f"one load balancer changes single {unit}s of what it relays",
        incident="Amazon S3 data corruption, June 20-22, 2008",
        plan=lambda topology, seed: june_plan(topology, seed, unit=unit).lines(),
        play=_player(unit),
        patience=PATIENCE,
        not_tested=(
            "damage on the way from client to balancer, at rest, and on the way back",
            "multipart uploads, and bodies of more than 4 KiB",
            "truncated bodies, swapped replies and lost headers",
        ),
    )


JUNE_2008 = _scenario("june-2008", "byte")
JUNE_2008_BITS = _scenario("june-2008-bits", "bit")
