"""A flip beside an ordinary fault of the network: what notices a flip must notice it on a bad link too.

The network's toxics are on real Toxiproxy where it stands in front of straybit's proxy, which then only flips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from straybit import records
from straybit.faults import BitFlip
from straybit.network import Shown, network_toxic
from straybit.outcome import DANGEROUS, Outcome
from straybit.run import Run
from straybit.scenarios.scenario import Scenario
from straybit.steady import NotSteadyError, wait_steady
from straybit_faults.flip import Flip
from straybit_nodes.topology import Topology

__all__ = ["FLIP_DURING_RESET", "FLIP_UNDER_LATENCY", "RESTORE_OVER_SLOW_LINKS"]

LINK = "gossip-1:gossip-2"
LATENCY_MS = 200
SLOW_MS, JITTER_MS = 20, 10
"""On every link at once: a request crosses a dozen of them one after another, and a client waits for one second."""
SHOWN = 3
"""Rows of a table of toxics; on all links they are alike."""
SLOW_BUDGET = 2.0
"""A restore over slow links may take so many times the budget of one over fast ones."""


def _state_flip() -> Flip:
    return BitFlip(LINK, message="state", field="version", bit=62)


def _digest_flip() -> Flip:
    return BitFlip(LINK, message="digest", field="gossip-1.version", bit=62)


def _show(run: Run, shown: Sequence[Shown], links: Iterable[str]) -> None:
    """Put on record which toxics were on, by the word of the server that had them; it must name every link."""
    server = f"Toxiproxy {run.cluster.network.version()}" if run.cluster.fronted else "straybit's own proxy"
    run.record(
        records.Table(
            name=f"toxics of {server}", columns=("link", "toxic", "stream", "attributes"), rows=tuple(shown[:SHOWN])
        )
    )
    wanted = set(links)
    met = {link for link, *_ in shown} == wanted
    run.expect(f"{server} itself lists a toxic on each bad link", met, f"{len(shown)} of {len(wanted)}")


def _one_flip(flip: Callable[[], Flip], kind: str, attributes: dict[str, int], stream: str) -> Callable[[Run], None]:
    def play(run: Run) -> None:
        trial = run.trial("t1", flip(), title=f"a flip beside {kind}", drive=True)
        with run.phase("trial"):
            trial.begin()  # on a cluster that is clean; a message meets the flip before the toxic once in hundreds
            with network_toxic(run.cluster, kind, attributes, [LINK], stream=stream) as shown:  # type: ignore[arg-type]
                _show(run, shown, [LINK])
                trial.settle()
                trial.revert()
            trial.recover()
        record = trial.finish()
        run.record(record)
        if record.outcome is not Outcome.INVALID:
            run.expect("the flip is not dangerous", record.outcome not in DANGEROUS, f"{record.outcome}: {record.why}")
            by = ", ".join(record.detected_by) or "nobody"
            run.expect("it is noticed by name", record.outcome is Outcome.DETECTED and not record.by_luck, by)

    return play


def _restore(run: Run) -> None:
    flip = BitFlip(LINK, message="state", field="generation", bit=40)
    trial = run.trial("t1", flip, title="before the restore", drive=True)
    with run.phase("flip"):
        trial.begin()
        trial.settle()
        trial.revert()
    links = [link.name for link in run.topology.links()]
    attributes = {"latency": SLOW_MS, "jitter": JITTER_MS}
    with run.phase("restore over slow links"), network_toxic(run.cluster, "latency", attributes, links) as shown:
        _show(run, shown, links)
        restored, began_s = run.restore("staged", budget_s=SLOW_BUDGET * run.budgets["staged"])
        took_s = run.now() - began_s
        run.expect("the staged restore comes to its end while every link is slow", restored, f"{took_s:.1f} s")
        run.expect("every view is right before the links are fast again", not trial.look())
    with run.phase("fast links"):
        run.expect("every request succeeds, and every view is right", *_steady(run))
    trial.recover()
    run.record(trial.finish())


def _steady(run: Run) -> tuple[bool, str]:
    try:
        wait_steady(run.cluster, budget_s=run.budgets["recovered"])
    except NotSteadyError as error:
        return False, str(error)
    return True, ""


def _scenario(name: str, title: str, flip: Callable[[], Flip], play: Callable[[Run], None], gap: str) -> Scenario:
    def plan(_topology: Topology, _seed: int) -> tuple[str, ...]:
        return (str(flip()),)

    return Scenario(name=name, title=title, incident="", plan=plan, play=play, not_tested=(gap,))


FLIP_UNDER_LATENCY = _scenario(
    "flip-under-latency",
    f"a bit flips in a state message on a link that is {LATENCY_MS} ms slow each way",
    _state_flip,
    _one_flip(_state_flip, "latency", {"latency": LATENCY_MS, "jitter": 0}, "upstream"),
    "links so slow that gossip gives up",
)
FLIP_DURING_RESET = _scenario(
    "flip-during-reset",
    "a bit flips in a question whose answer a connection reset cuts off",
    _digest_flip,
    _one_flip(_digest_flip, "reset_peer", {"timeout": 0}, "downstream"),
    "a reset in the middle of the flipped message: what does not arrive is INVALID",
)
RESTORE_OVER_SLOW_LINKS = _scenario(
    "restore-over-slow-links",
    f"a staged restore while every link is {SLOW_MS} ms slow",
    lambda: BitFlip(LINK, message="state", field="generation", bit=40),
    _restore,
    "links that lose what they carry",
)
