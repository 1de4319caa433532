"""A flip beside an ordinary fault of the network is noticed there too; the toxics were on by their server's word."""

import msgspec
import pytest

from straybit.budgets import budgets_with
from straybit.outcome import Outcome
from straybit.records import Verdict
from straybit.runner import RunOptions, perform
from straybit.scenarios import find_scenario
from straybit_faults.client import ProxyServer
from straybit_nodes.defences import parse_defences

pytestmark = pytest.mark.proof

SERVERS = {"process": "straybit's own proxy", "docker": "Toxiproxy 2.12.0"}
LISTED = "itself lists a toxic on each bad link"
TOXICS = {
    "flip-under-latency": [("gossip-1:gossip-2", "latency", "upstream", "jitter=0, latency=200")],
    "flip-during-reset": [("gossip-1:gossip-2", "reset_peer", "downstream", "timeout=0")],
    "restore-over-slow-links": [
        (f"client:lb-{number}", "latency", "upstream", "jitter=10, latency=20") for number in (1, 2, 3)
    ],
}


@pytest.fixture
def play(backend, tmp_path):
    """Plays one scenario under named defences."""

    def perform_it(name, defences):
        options = RunOptions(
            defences=defences, names=parse_defences(defences), backend=backend.name, seed=3, budgets=budgets_with()
        )
        return perform(find_scenario(name), options, backend, tmp_path / "run")

    return perform_it


@pytest.mark.parametrize("name", TOXICS)
def test_what_notices_a_flip_does_so_on_a_bad_link(play, backend, name):
    """Defended, every expectation is met, and the record says which server had which toxics on."""
    result = play(name, "2008")
    assert result.verdict is Verdict.MET, [e for e in result.expectations if not e.met] or result.reasons
    (table,) = result.tables
    assert table.name == f"toxics of {SERVERS[backend.name]}"
    assert [*table.rows] == TOXICS[name]
    assert [e.met for e in result.expectations if e.text.endswith(LISTED)] == [True]


@pytest.mark.parametrize(
    ("name", "outcome"), [("flip-under-latency", Outcome.SPREAD), ("flip-during-reset", Outcome.MASKED)]
)
def test_a_bad_link_alone_notices_no_flip(play, name, outcome):
    """Undefended nobody does: a wrong version spreads, a wrong question is answered like any other."""
    result = play(name, "none")
    assert result.verdict is Verdict.NOT_MET
    (trial,) = [t for t in result.trials if t.id == "t1"]
    assert (trial.outcome, trial.detected_by) == (outcome, ())


def test_a_toxic_that_its_server_does_not_list_is_missed(play, monkeypatch):
    """A server that keeps silent about a toxic fails the scenario, whatever became of the flip."""
    listed = ProxyServer.proxies

    def silent(server):
        return {name: msgspec.structs.replace(proxy, toxics=[]) for name, proxy in listed(server).items()}

    monkeypatch.setattr(ProxyServer, "proxies", silent)
    result = play("flip-under-latency", "2008")
    assert result.verdict is Verdict.NOT_MET
    assert [e.met for e in result.expectations if e.text.endswith(LISTED)] == [False]
