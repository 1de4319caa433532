"""One table judges every trial."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from straybit.outcome import DANGEROUS, TABLE, Evidence, Outcome, by_luck, judge, outcomes_table

OK = Evidence(delivered=True)

ROWS = [
    (Evidence(delivered=False), Outcome.INVALID),
    (Evidence(delivered=True, golden_ok=False), Outcome.INVALID),
    (Evidence(delivered=True, host_ok=False), Outcome.INVALID),
    (Evidence(delivered=True, adopted=True, spread=1), Outcome.SPREAD),
    (Evidence(delivered=True, spread=7, detected_by=("value-bounds",)), Outcome.SPREAD),
    (Evidence(delivered=True, latent=True), Outcome.LATENT),
    (Evidence(delivered=True, adopted=True), Outcome.SILENT),
    (Evidence(delivered=True, served=True), Outcome.SILENT),
    (Evidence(delivered=True, adopted=True, detected_by=("client:etag",)), Outcome.NOTICED),
    (Evidence(delivered=True, served=True, detected_by=("client:sha256",)), Outcome.NOTICED),
    (Evidence(delivered=True, crashed=("gossip-2",)), Outcome.CRASH),
    (Evidence(delivered=True, hung=True), Outcome.HANG),
    (Evidence(delivered=True, degraded=("recovered in 7 s, budget 5 s",)), Outcome.DEGRADED),
    (Evidence(delivered=True, recovered=False, detected_by=("gossip-crc",)), Outcome.DEGRADED),
    (Evidence(delivered=True, detected_by=("gossip-crc",)), Outcome.DETECTED),
    (Evidence(delivered=True, detected_by=("parse",)), Outcome.DETECTED),
    (OK, Outcome.MASKED),
]

WORSE = {
    "delivered": st.just(False),
    "golden_ok": st.just(False),
    "host_ok": st.just(False),
    "spread": st.integers(1, 9),
    "latent": st.just(True),
    "adopted": st.just(True),
    "served": st.just(True),
    "crashed": st.just(("gossip-1",)),
    "hung": st.just(True),
    "degraded": st.just(("slow",)),
    "recovered": st.just(False),
}

evidence = st.builds(
    Evidence,
    delivered=st.booleans(),
    golden_ok=st.booleans(),
    host_ok=st.booleans(),
    spread=st.integers(0, 3),
    latent=st.booleans(),
    adopted=st.booleans(),
    served=st.booleans(),
    detected_by=st.sampled_from([(), ("gossip-crc",), ("parse",)]),
    crashed=st.sampled_from([(), ("lb-1",)]),
    hung=st.booleans(),
    degraded=st.sampled_from([(), ("slow",)]),
    recovered=st.booleans(),
)


@pytest.mark.parametrize(("facts", "outcome"), ROWS)
def test_each_row(facts, outcome):
    """Each row of the table is reached by the evidence it names."""
    assert judge(facts) is outcome


def test_every_outcome_has_a_row():
    """The table has one row per outcome, in the order of precedence, and the cases above reach them all."""
    assert [row.outcome for row in TABLE] == list(Outcome)
    assert {outcome for _, outcome in ROWS} == set(Outcome)


def test_the_order_is_the_documented_one():
    """Worst first, as the reference has it."""
    order = "INVALID SPREAD LATENT SILENT NOTICED CRASH HANG DEGRADED DETECTED MASKED"
    assert " ".join(Outcome) == order


@given(evidence, st.data())
def test_worse_evidence_never_gives_a_better_outcome(facts, data):
    """Whatever bad fact is added, the outcome stays or gets worse."""
    name = data.draw(st.sampled_from(sorted(WORSE)))
    worse = msgspec.structs.replace(facts, **{name: data.draw(WORSE[name])})
    assert judge(worse).rank <= judge(facts).rank


@given(evidence)
def test_only_clean_evidence_is_green(facts):
    """DETECTED and MASKED mean that nothing wrong was held or served anywhere, and that the cluster came back."""
    if judge(facts) in (Outcome.DETECTED, Outcome.MASKED):
        assert not any([facts.wrong, facts.spread, facts.latent, facts.crashed, facts.hung, facts.degraded])
        assert facts.delivered
        assert facts.recovered


@given(evidence)
def test_silent_means_nobody_noticed(facts):
    """A detection that names the trial turns SILENT into NOTICED, and nothing else does."""
    if judge(facts) is Outcome.SILENT:
        assert judge(msgspec.structs.replace(facts, detected_by=("client:etag",))) is Outcome.NOTICED


def test_dangerous_ones():
    """The set that a campaign counts."""
    assert {"SPREAD", "LATENT", "SILENT", "CRASH", "HANG"} == DANGEROUS


def test_luck_is_no_catch():
    """Parse errors alone, a node's or a client's, are luck; beside a real check, or without any, they are not."""
    assert by_luck(["parse"])
    assert by_luck(["client:parse", "parse"])
    assert not by_luck(["client:parse", "client:checksum"])
    assert not by_luck(["parse", "gossip-crc"])
    assert not by_luck([])


def test_the_docs_hold_the_table():
    """docs/outcomes.md is drawn from the table."""
    page = Path(__file__).parents[3] / "docs" / "outcomes.md"
    assert outcomes_table() in page.read_text()
