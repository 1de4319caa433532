"""June 20-22, 2008: one load balancer changes single bytes of customers' objects, and only those who sent MD5s notice.

Sources: Amazon's posts in its developer forum of June 2008, and Data Center Knowledge of 2008-06-27.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from straybit import records
from straybit.clients import MODES, Reply
from straybit.load import Sample
from straybit.observe.alarm import BadDigestMonitor
from straybit.outcome import Evidence, Outcome, by_luck, judge
from straybit.records import Detection, Local, TrialKind, TrialPhases
from straybit.run import Run, Stored
from straybit.scenarios._june_plan import CONTROL_RATE, RATE, JunePlan, Write, june_plan
from straybit.scenarios.scenario import STORY, Scenario
from straybit.steady import NotSteadyError, wait_steady

__all__ = ["JUNE_2008", "JUNE_2008_BITS"]

GOLDEN_S = 2.0
CLIENTS = 6
"""Clients that write at the same time."""
TOXIC = "june"
"""Its name on each of the balancer's links to coordinators: there one damaged body reaches all replicas."""


class _June:
    """One June: what was planned, what each client got, and what the scan found."""

    def __init__(self, run: Run, plan: JunePlan) -> None:
        self.run = run
        self.plan = plan
        self.replies: dict[str, tuple[float, Reply]] = {}
        self.reads: list[Stored] = []
        self.reverted_s = 0.0
        self.recovered_s: float | None = None
        self.links = [s.name for s in run.topology.links() if s.caller == plan.balancer and s.wire == "http1"]

    # -- what happens --------------------------------------------------------------------------------------

    def golden(self) -> None:
        """The same kind of workload before anything is armed; every request must succeed."""
        began = self.run.now()
        failed: list[str] = []
        with ThreadPoolExecutor(CLIENTS) as pool:
            for number in range(10_000):
                if self.run.now() - began > GOLDEN_S:
                    break
                part = self.plan.writes[number * CLIENTS % len(self.plan.writes) :][:CLIENTS]
                writes = [Write(f"golden-{number}-{n}", w.mode, w.balancer, w.size) for n, w in enumerate(part)]
                failed += [w.key for w, ok in zip(writes, pool.map(self.write, writes), strict=True) if not ok]
        if failed:
            self.run.record(records.Error(what=f"the golden run was not steady: {len(failed)} writes failed"))

    def write(self, write: Write) -> bool:
        """One PUT in its mode; True when it was acknowledged."""
        body = self.run.ledger.payload(write.key, write.size)
        reply = self.run.put(write.key, body, balancer=write.balancer, mode=write.mode)
        self.replies[write.key] = (self.run.now(), reply)
        return reply.ok

    def request(self, numbered: tuple[int, Write]) -> None:
        """A PUT; every third key is read back at once, as clients do."""
        number, write = numbered
        if self.write(write) and number % 3 == 0:
            self.reads.append(self.run.get(write.key, balancer=write.balancer, mode=write.mode))

    def samples(self) -> list[Sample]:
        """Every write, when it was answered and whether it was acknowledged."""
        regions = {s.name: s.region for s in self.run.topology.services()}
        return [Sample(regions[w.balancer], *self.answered(w)) for w in self.plan.writes]

    def answered(self, write: Write) -> tuple[float, bool]:
        """When a write had its reply, and whether that was an acknowledgement."""
        at_s, reply = self.replies[write.key]
        return at_s, reply.ok

    def arm(self) -> None:
        """Make the balancer faulty."""
        kind = "setbyte" if self.plan.unit == "byte" else "bitflip"
        attributes = {"wire": "http1", "message": "request", "field": "body", "seed": self.plan.seed}
        for link in self.links:
            rates = {"rate": RATE, "control_rate": CONTROL_RATE}
            self.run.cluster.proxy.add_toxic(link, kind, attributes | rates, stream="upstream", name=TOXIC)

    def take_out(self) -> None:
        """Take the faulty balancer out: its fault is gone, and nobody uses it where there is another one."""
        for link in self.links:
            self.run.cluster.proxy.remove_toxic(link, TOXIC)
        self.reverted_s = self.run.now()
        try:
            steady = wait_steady(self.run.cluster, budget_s=2 * self.run.budgets["recovered"])
            self.recovered_s = max(0.0, self.run.now() - self.reverted_s - (steady.at - steady.since))
        except NotSteadyError as error:
            self.run.record(records.LogLine(at_s=self.run.now(), service="steady", what=str(error)))

    def scan(self) -> dict[str, Stored]:
        """Read every key that a client tried to write, from what ledger and cluster know, and from nothing else."""
        regions = {s.name: s.region for s in self.run.topology.services()}

        def route(balancer: str) -> str:
            others = [b for b in self.run.balancers(regions[balancer]) if b != self.plan.balancer]
            return others[0] if others else balancer

        tried = {write.key: route(write.balancer) for write in self.plan.writes}
        return {found.key: found for found in self.run.scan(tried.items())}

    # -- what is judged ------------------------------------------------------------------------------------

    def trials(self, found: dict[str, Stored]) -> list[records.Trial]:
        """One trial for each damaged request, and one for each control."""
        receipts = [r for link in self.links for r in self.run.cluster.proxy.receipts(link) if r.toxic == TOXIC]
        refusals = [o for o in self.run.cluster.observers.seen("refused") if "target" in o.fields]
        start = self.run.started
        trials = []
        for write in (*self.plan.damaged, *self.plan.controls):
            mine = tuple(
                records.Receipt.from_proxy(msgspec.to_builtins(r), start)
                for r in receipts
                if r.identity == write.identity
            )
            noticed = tuple(
                Detection(by=o.fields["defence"], service=o.source, at_s=round(o.t - start, 6), detail=o.fields["why"])
                for o in refusals
                if f"{o.fields['method']} {o.fields['target']}" == write.identity
            )
            trials.append(self.trial(write, mine, noticed, found[write.key]))
        return trials

    def trial(
        self,
        write: Write,
        receipts: tuple[records.Receipt, ...],
        noticed: tuple[Detection, ...],
        stored: Stored,
    ) -> records.Trial:
        """The record of one request."""
        answered_s, reply = self.replies[write.key]
        by_client = [s.reply.noticed_by for s in (*self.reads, stored) if s.key == write.key and s.reply.noticed_by]
        detected_by = tuple(sorted({d.by for d in noticed} | set(by_client)))
        wrong = stored.verdict in {"wrong", "lost"}
        sent = min((r.sent for r in receipts if r.sent is not None), default=None)
        evidence = Evidence(
            delivered=any(r.delivered is not None for r in receipts),
            adopted=wrong,
            served=wrong,
            detected_by=detected_by,
            recovered=self.recovered_s is not None,
        )
        control = write.verdict == "control"
        expected = Outcome.MASKED if control else Outcome.DETECTED if MODES[write.mode].checksum else Outcome.SILENT
        return records.Trial(
            id=write.key,
            kind=TrialKind.CONTROL if control else TrialKind.FAULT,
            title=f"PUT {write.key}, {MODES[write.mode].checksum or 'no checksum'}",
            outcome=judge(evidence),
            expected=expected,
            why=_why(reply, stored),
            flips=tuple(r.flip for r in receipts),
            at_s=sent,
            receipts=receipts,
            detected_by=detected_by,
            detections=noticed,
            by_luck=by_luck(detected_by),
            phases=self.phases(sent, answered_s, noticed),
            budgets=self.run.budgets,
            local=Local.STORED if wrong else Local.REFUSED if noticed else Local.IGNORED,
            replay=self.run.replay,
        )

    def phases(self, sent: float | None, answered_s: float, noticed: Sequence[Detection]) -> TrialPhases:
        """The phases of one request; it is felt when a server says so, at the latest by its reply."""
        if sent is None:
            return TrialPhases()
        seen = [d.at_s for d in noticed if d.at_s is not None]
        return TrialPhases(
            felt_s=round(min([answered_s, *seen]) - sent, 6),
            detected_s=round(min(seen) - sent, 6) if seen else None,
            reverted_s=round(self.reverted_s - sent, 6),
            recovered_s=None if self.recovered_s is None else round(self.recovered_s, 6),
        )

    def modes(self, trials: Sequence[records.Trial]) -> records.Table:
        """The table of modes: what each way of being a client is worth."""
        rows = []
        for mode in MODES.values():
            mine = [t for t in trials if t.kind is TrialKind.FAULT and t.id.startswith(f"{mode.name}/")]
            count = {outcome: sum(t.outcome is outcome for t in mine) for outcome in Outcome}
            sent = sum(write.mode == mode.name for write in self.plan.writes)
            rows.append(
                (
                    mode.name,
                    mode.checksum or "-",
                    sent,
                    len(mine),
                    count[Outcome.DETECTED],
                    count[Outcome.SILENT] + count[Outcome.NOTICED],
                )
            )
        columns = ("client", "checksum", "writes", "damaged", "refused", "stored damaged")
        return records.Table(name="clients of 2008 and of today", columns=columns, rows=tuple(rows))

    def judge(self, trials: Sequence[records.Trial], found: dict[str, Stored], alarms: Sequence[records.Alarm]) -> None:
        """The expectations, and the story as published beside what happened here."""
        run = self.run
        covered = [t for t in trials if t.kind is TrialKind.FAULT and t.expected is Outcome.DETECTED]
        bare = {t.id for t in trials if t.kind is TrialKind.FAULT and t.expected is Outcome.SILENT}
        refused = [t for t in covered if t.outcome is Outcome.DETECTED and "content-checksum" in t.detected_by]
        wrong = {s.key for s in found.values() if s.verdict in {"wrong", "lost"}}
        run.expect(
            "every damaged write that carried a checksum is refused, and nothing of it is stored",
            len(refused) == len(covered) > 0,
            f"{len(refused)} of {len(covered)}",
        )
        run.expect(
            "the scan afterwards finds every damaged write that carried none, and no other",
            wrong == bare,
            f"{len(wrong & bare)} of {len(bare)} found, {len(wrong - bare)} others",
        )
        culprits = sorted({alarm.culprit for alarm in alarms})
        run.expect(
            f"bad-digest-alarm names {self.plan.balancer} and no other",
            culprits == [self.plan.balancer],
            f"named {', '.join(culprits) or 'nobody'}",
        )
        took = "never" if self.recovered_s is None else f"after {self.recovered_s:.1f} s"
        in_time = self.recovered_s is not None and self.recovered_s <= run.budgets["recovered"]
        run.expect("the cluster is steady within budget once the balancer is out", in_time, took)
        self.story(trials, found, culprits)

    def story(self, trials: Sequence[records.Trial], found: dict[str, Stored], culprits: Sequence[str]) -> None:
        """What an undefended cluster must go through to have failed as in 2008."""
        silent = [t.id for t in trials if t.kind is TrialKind.FAULT and t.outcome is Outcome.SILENT]
        matching = [key for key in silent if self.replies[key][1].etag == _md5(found[key].reply.body)]
        rows = (
            ("damaged objects are stored and acknowledged", bool(silent)),
            ("each under an ETag that matches the damaged bytes", bool(silent) and matching == silent),
            ("nobody notices: no refusal, no alarm", not culprits and not any(t.detected_by for t in trials)),
            (
                "reading everything again finds them",
                {s.key for s in found.values() if s.verdict == "wrong"} >= set(silent),
            ),
        )
        cells = tuple((text, "yes" if came else "no") for text, came in rows)
        self.run.record(records.Table(name=STORY, columns=("2008-06-20", "here"), rows=cells))


def _md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def _why(reply: Reply, stored: Stored) -> str:
    answer = f"answered {reply.status} {reply.code}".strip()
    return (
        f"{answer}; the scan read {stored.verdict}"
        if stored.verdict != "right"
        else f"{answer}; the scan read it right"
    )


def _player(unit: str) -> Callable[[Run], None]:
    def play(run: Run) -> None:
        june = _June(run, june_plan(run.topology, run.seed, unit=unit))
        run.create_buckets()
        with BadDigestMonitor(run.cluster, clock=run.now) as monitor:
            with run.phase("steady state"):
                june.golden()
            with run.phase("faulty balancer"):
                june.arm()
                with ThreadPoolExecutor(CLIENTS) as pool:
                    list(pool.map(june.request, enumerate(june.plan.writes)))
                monitor.look()
            with run.phase("taken out"):
                june.take_out()
        with run.phase("scan"):
            found = june.scan()
        trials = june.trials(found)
        for trial in trials:
            run.record(trial)
        for alarm in monitor.alarms:
            run.record(alarm)
        run.record_samples(june.samples())
        run.record(june.modes(trials))
        june.judge(trials, found, monitor.alarms)

    return play


def _scenario(name: str, unit: str) -> Scenario:
    return Scenario(
        name=name,
        title=f"one load balancer changes single {unit}s of what it relays",
        incident="Amazon S3 data corruption, June 20-22, 2008",
        plan=lambda topology, seed: june_plan(topology, seed, unit=unit).lines(),
        play=_player(unit),
        not_tested=(
            "damage on the way from client to balancer, at rest, and on the way back",
            "multipart uploads, and bodies of more than 4 KiB",
            "truncated bodies, swapped replies and lost headers",
        ),
    )


JUNE_2008 = _scenario("june-2008", "byte")
JUNE_2008_BITS = _scenario("june-2008-bits", "bit")
