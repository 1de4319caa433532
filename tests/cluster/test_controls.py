"""Trials that do everything but change the bit: nobody may notice anything.

Fifty of them in every run of the tests, a thousand with `make controls`.
"""

import itertools
import os
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from straybit import BitFlip, Outcome
from straybit.trial import Trial
from straybit_nodes.defences import parse_defences
from straybit_nodes.topology import CLIENT, Topology

pytestmark = [pytest.mark.alone, pytest.mark.proof]

TRIALS = int(os.environ.get("STRAYBIT_TRIALS", "50"))
LANES = 10
GOSSIP = [("state", "version", 64), ("state", "address", 32), ("state", "generation", 64), ("digest", "checksum", 32)]


def controls(topology, seed):
    """Control flips over all links, each as often as any: gossip between members, and what clients write."""
    rng = random.Random(seed)
    links = [s.name for s in topology.links() if s.wire == "gossip" and not s.caller.startswith("storage-")]
    rng.shuffle(links)
    for link in itertools.islice(itertools.cycle(links), TRIALS - 3):
        message, field, bits = rng.choice(GOSSIP)
        field = field if message == "state" else "length"
        yield BitFlip(link, message=message, field=field, bit=rng.randrange(min(bits, 32)), control=True)
    for link in [s.name for s in topology.links() if s.caller == CLIENT]:
        yield BitFlip(link, message="request", field="body", bit=rng.randrange(512), control=True)


def test_controls_raise_nothing(backend):
    """With every defence on, each control is delivered, and ends MASKED: nothing noticed, nothing different."""
    with backend.start(Topology(), defences=parse_defences("all")) as cluster:

        def one(numbered):
            number, flip = numbered
            with Trial(cluster, flip, id=f"control{number}", steady=lambda c: c.disagreements()) as trial:
                pass
            return trial.record

        with ThreadPoolExecutor(LANES) as pool:
            records = list(pool.map(one, enumerate(controls(cluster.topology, 1))))
        assert len(records) == TRIALS
        assert {(r.outcome, r.detected_by, r.kind) for r in records} == {(Outcome.MASKED, (), "control")}
        assert all(r.receipts[0].before == r.receipts[0].after for r in records)
        assert cluster.observers.seen("alarm") == []
        assert cluster.observers.seen("refused") == []
