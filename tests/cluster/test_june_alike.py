"""June 2008 in the simulator and on real services: the same writes, the same damage, the same ends."""

import pytest

from straybit.backends.sim import SimBackend
from straybit.budgets import budgets_with
from straybit.runner import RunOptions, perform
from straybit.scenarios import find_scenario
from straybit_nodes.defences import parse_defences

pytestmark = [pytest.mark.alone, pytest.mark.proof]

SEED = 4


def ends(backend, defences, folder):
    """Of every trial of one June: how it ended, who noticed, and which byte of the body became what."""
    options = RunOptions(
        defences=defences,
        names=parse_defences(defences),
        backend=backend.name,
        seed=SEED,
        budgets=budgets_with(),
        run_id="a run",
    )
    result = perform(find_scenario("june-2008"), options, backend, folder, command="straybit run")
    return {t.id: (t.kind, t.outcome, t.detected_by, t.why, changed(t)) for t in result.trials}


def changed(trial):
    """The bits that its receipts name, and what the byte became."""
    return [(receipt.field_bits, receipt.after) for receipt in trial.receipts]


@pytest.mark.parametrize("defences", ["none", "2008"])
def test_june_ends_alike_in_the_simulator(backend, tmp_path, defences):
    """Trial for trial: the changed byte, what the client was answered, the outcome and who noticed."""
    with SimBackend() as sim:
        simulated = ends(sim, defences, tmp_path / "sim")
    assert len(simulated) > 30
    assert ends(backend, defences, tmp_path / "real") == simulated
