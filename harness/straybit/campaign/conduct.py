"""Conducts a campaign: hands out what its plan still lacks, and keeps every try as soon as it ends.

A try goes to the journal first and then to the database, so the journals always hold at least as much;
going on after a SIGKILL reads the rest of them in, and plays only what no journal tells of.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from straybit import records
from straybit.again import sizes_of
from straybit.campaign.executors import Lanes
from straybit.campaign.figures import Cost, Tally
from straybit.campaign.space import Plan
from straybit.campaign.stop import Stop
from straybit.campaign.store import Store, catch_up, intact_records, journal_paths
from straybit.journal import Journal
from straybit.runner import started
from straybit_nodes.topology import Topology

__all__ = ["Session", "conduct", "open_campaign"]


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """What one session came to: why it ended early, if it did, and what it cost. `left` trials have no row yet."""

    stopped: str
    left: int
    cost: Cost


def open_campaign(folder: Path) -> Store:
    """The campaign in `folder`, with all that its journals tell. Raises StoreError."""
    store = Store(folder)
    for path in journal_paths(folder):
        catch_up(store, intact_records(path))
    return store


def conduct(
    store: Store,
    folder: Path,
    lanes: Lanes,
    *,
    stop: Stop = Stop(),  # noqa: B008 - frozen
    command: str = "",
    progress: Callable[[Tally], None] = lambda _: None,
) -> Session:
    """Play what the store's plan still lacks, on `lanes`, until that is done or `stop` says so.

    Whatever is raised, what was done by then is kept: a later call goes on behind it.
    Raises what playing a trial raises (BackendError, StageError), ExecutorError, StoreError, KeyboardInterrupt.
    """
    plan = store.plan
    done = store.done()
    pending = [spec for spec in plan.trials() if spec.id not in done]
    tally = Tally(len(plan.flips), store.trials(), time.monotonic)
    stopped = stop.reason(tally.counts, 0.0)
    if pending and not stopped:
        with (
            _journal(folder, plan, store.backend, command) as journal,
            closing(lanes.run(store.backend, pending)) as ended,
        ):
            for one in ended:
                for trial in one.tries:
                    journal.write(trial)
                    store.put(trial)
                tally.add(one)
                progress(tally)
                if stopped := stop.reason(tally.counts, tally.elapsed_s):
                    break
    return Session(stopped=stopped, left=tally.planned - tally.done, cost=tally.cost)


@contextmanager
def _journal(folder: Path, plan: Plan, backend: str, command: str) -> Iterator[Journal]:
    """A new journal of this session, with the plan in it; what goes wrong inside is told in it and passed on."""
    with Journal(_next_journal(folder)) as journal:
        journal.write(_head(folder.name, plan, backend, command))
        journal.write(records.Campaign(backend=backend, plan=msgspec.to_builtins(plan)))
        try:
            yield journal
        except KeyboardInterrupt:
            journal.write(records.Interrupted())
            raise
        except Exception as error:
            journal.write(records.Error(what=" ".join(f"{type(error).__name__}: {error}".split())))
            raise
        finally:
            journal.write(records.RunEnded())


def _next_journal(folder: Path) -> Path:
    number = len(journal_paths(folder)) + 1
    return folder / ("journal.ndjson" if number == 1 else f"journal-{number}.ndjson")


def _head(name: str, plan: Plan, backend: str, command: str) -> records.RunStarted:
    return started(
        f"{'census' if plan.whole else 'sample'} {plan.message.aimed}",
        command=command,
        id=name,
        backend=backend,
        seed=plan.setup.seed,
        defences=plan.setup.defences,
        servers=sizes_of(Topology.gossip_only(plan.setup.nodes)),
    )
