"""What all tests need: Ctrl-C that works, and an engine; without one its tests are skipped loudly, or failed."""

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

from straybit.backends import BackendError
from straybit.backends._engine import compose_version, find_engine
from straybit.backends._images import require_images

REQUIRED = "STRAYBIT_REQUIRE_DOCKER"
"""Set by `make test-docker` and CI: there a missing engine is a failure, and no skip."""

settings.register_profile("straybit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("straybit")  # tests do not time: on a busy machine a slow example is no fault

_WHY: pytest.StashKey[str] = pytest.StashKey()


def _why_not() -> str:
    """What keeps the docker tests from running, in one line; empty when nothing does."""
    try:
        compose_version()
        engine = find_engine()
        try:
            require_images(engine)
        finally:
            engine.close()
    except BackendError as error:
        return str(error)
    return ""


def pytest_configure():
    """Whoever starts the tests in the background has them ignore Ctrl-C, and children would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish(session):
    """Look for the engine once, and only when a test that is about to run needs it."""
    if any(item.get_closest_marker("docker") for item in session.items):
        session.config.stash[_WHY] = _why_not()


def pytest_report_collectionfinish(config, items):
    """A header line that nobody overlooks."""
    why = config.stash.get(_WHY, "")
    return f"NO DOCKER: {_count(items)} tests of containers do not run: {why}" if why else None


def pytest_terminal_summary(terminalreporter, config):
    """The same at the end, where a green run would hide it."""
    why = config.stash.get(_WHY, "")
    if why:
        terminalreporter.section("tests of containers did not run", red=True)
        terminalreporter.write_line(f"{why}; `make test-docker` runs them once that is mended")


def _count(items):
    return sum(item.get_closest_marker("docker") is not None for item in items)


@pytest.fixture(scope="session")
def docker_engine(request):
    """An engine, compose and images that a cluster in containers can be started from; else a skip, or a failure."""
    why = request.config.stash.get(_WHY, "")
    if not why:
        return
    if os.environ.get(REQUIRED):
        pytest.fail(why, pytrace=False)
    pytest.skip(f"no Docker: {why}")
