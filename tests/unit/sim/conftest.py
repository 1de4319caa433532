"""Simulated clusters and runs for tests."""

import os

import pytest

from straybit.backends.sim import SimBackend
from straybit.budgets import budgets_with
from straybit.runner import RunOptions, perform
from straybit.scenarios import find_scenario
from straybit_nodes.defences import parse_defences
from straybit_nodes.topology import Topology

SEEDS = (1, 2, 3)[: int(os.environ.get("STRAYBIT_SEEDS", "3"))]
"""Of stories that take seconds each; one of them is enough where only the Python is another."""


@pytest.fixture
def backend():
    """A simulating backend, closed at the end."""
    with SimBackend() as backend:
        yield backend


@pytest.fixture
def cluster(backend):
    """Starts simulated clusters of the default size, or of gossip nodes alone."""

    def start(topology=Topology(), **how):  # noqa: B008 - frozen
        return backend.start(topology, **how)

    return start


@pytest.fixture
def play(tmp_path):
    """Plays a scenario on virtual time and answers with its result; its folder is `tmp_path / name`."""

    def run(scenario, *, defences="none", seed=1, folder="run", **how):
        options = RunOptions(
            defences=defences,
            names=parse_defences(defences),
            backend="sim",
            seed=seed,
            budgets=budgets_with(),
            run_id="a run",
            **how,
        )
        found = find_scenario(scenario) if isinstance(scenario, str) else scenario
        with SimBackend() as backend:
            return perform(found, options, backend, tmp_path / folder, command="straybit run")

    return run
