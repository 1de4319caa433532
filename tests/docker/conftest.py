"""What tests of containers share: the backend, one small cluster, and the engine itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from straybit.backends._engine import find_engine
from straybit.backends.docker import DockerBackend
from straybit.compose import RUN

ROOT = Path(__file__).parents[2]
SOON_S = 15.0


@pytest.fixture(scope="session")
def backend(docker_engine):
    with DockerBackend() as backend:
        yield backend


@pytest.fixture
def engine(docker_engine):
    """The engine, through the SDK."""
    found = find_engine()
    yield found
    found.close()


@pytest.fixture
def things(engine):
    """Names of all containers, networks and volumes with a label of ours, or of one run."""

    def named(run=""):
        label = f"{RUN}={run}" if run else RUN
        filters = {"label": label}
        api = engine.api
        volumes = api.volumes(filters=filters)["Volumes"] or []
        found = [*(c["Names"][0] for c in api.containers(all=True, filters=filters))]
        return sorted([*found, *(n["Name"] for n in api.networks(filters=filters)), *(v["Name"] for v in volumes)])

    return named


@pytest.fixture
def straybit():
    """Runs the command line in a process of its own."""

    def run(*words, env=None, timeout=120):
        return subprocess.run(
            [sys.executable, "-c", "from straybit.cli import main; main()", *map(str, words)],
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def until():
    """Waits until a check answers with something true, and hands it back."""

    def wait(check, timeout_s=SOON_S):
        retrying = retry(
            retry=retry_if_result(lambda seen: not seen), stop=stop_after_delay(timeout_s), wait=wait_fixed(0.05)
        )
        return retrying(check)()

    return wait
