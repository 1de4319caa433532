"""July 2008 on real sockets: take away any one mechanism, and the same six flips bring nothing down."""

import pytest

from straybit.budgets import budgets_with
from straybit.journal import Journal
from straybit.run import Run
from straybit.scenarios.july_2008 import PER_STORAGE, July
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.topology import Topology

SETTLED_S = 1.5
"""From the last flip until a collapse would be complete on eight servers."""
WINDOW_S = 5.0
"""45 requests in eu, 75 in us: at least the 40 that a share needs."""
ALIVE = 0.4
STEADY_S = 2.0
BACK_S = 5.0

# mechanisms are the core's: one backend shows them, and the verdicts play July on the others
pytestmark = [
    pytest.mark.alone,
    pytest.mark.proof,
    pytest.mark.parametrize("backend", ["process"], indirect=True, scope="session"),
]

REMOVED = {
    "gossip before request": Rules(gossip_before_request=False),
    "the bound on slots": Rules(slots=None),
    "slow failure": Rules(slow_failure=False),
    "rumours and retries": Rules(tell_count=0, verify_retries=0),
    "reopening": Rules(reopen_on_news=False, reopen_on_contact=False),
    "belief about oneself": Rules(owner_refutes=True),
}


@pytest.fixture
def july(backend, tmp_path):
    """Starts a cluster under given rules and hands out one July on it."""
    opened = []

    def start(rules=Rules(), seed=0):  # noqa: B008 - frozen
        journal = Journal(tmp_path / "journal.ndjson")
        cluster = backend.start(Topology(), rules=rules, seed=seed)
        run = Run(cluster, journal, seed=seed, budgets=budgets_with())
        opened.extend([run, cluster, journal])
        run.create_buckets()
        return July(run)

    yield start
    for thing in opened:
        thing.close()


def flipped(july, load):
    """Six flips, delivered; then the window in which a cluster that collapses would be down."""
    trial = july.run.trial("july", *july.plan.flips)
    trial.begin()
    assert july.bring_about(trial)
    trial.revert()
    since_s = july.run.now() + SETTLED_S
    assert july.run.wait_until(lambda: load.settled_s() >= since_s + WINDOW_S, 4 * WINDOW_S)
    trial.look()
    return since_s, trial.look()


@pytest.mark.parametrize("removed", REMOVED)
def test_without_one_mechanism_nothing_collapses(july, removed):
    """Poison stays in the views, except where its owner refutes it, and both regions serve on."""
    one = july(REMOVED[removed])
    with one.run.load(one.request, per_storage=PER_STORAGE) as load:
        since_s, wrong = flipped(one, load)
    for region in ("eu", "us"):
        success = load.success(region, since_s, since_s + WINDOW_S)
        assert success.total >= 40
        assert success.share >= ALIVE, (region, success)
    assert bool(wrong) is (removed != "belief about oneself"), wrong


@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_a_clean_fault_is_no_collapse(july, fault):
    """With a server crashed or paused and no flip, both regions are back at 100 % within five seconds."""
    one = july()
    with one.run.load(one.request, per_storage=PER_STORAGE) as load:
        assert one.run.wait_until(lambda: load.settled_s() >= load.started_s + 1, 10)
        for service in ("storage-5", "gossip-5"):
            getattr(one.run.cluster, fault)(service)
        back_s = one.run.now() + BACK_S
        assert one.run.wait_until(lambda: load.settled_s() >= back_s + STEADY_S, 20)
        if fault == "pause":
            for service in ("storage-5", "gossip-5"):
                one.run.cluster.unpause(service)
    assert load.worst(back_s, back_s + STEADY_S) == 1.0
