"""What all tests need: Ctrl-C that works, a watch on the machine, and an engine or a loud word that there is none."""

import os
import signal

import psutil
import pytest
from _pytest.runner import runtestprotocol
from hypothesis import HealthCheck, settings

from straybit.backends import BackendError
from straybit.backends._engine import compose_version, find_engine
from straybit.backends._images import require_images
from straybit.observe.host import HostWatch

REQUIRED = "STRAYBIT_REQUIRE_DOCKER"
"""Set by `make test-docker` and CI: there a missing engine is a failure, and no skip."""

settings.register_profile("straybit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("few", settings.get_profile("straybit"), max_examples=20)
# tests do not time: on a busy machine a slow example is no fault
settings.load_profile(os.environ.get("STRAYBIT_PROPERTIES", "straybit"))

LATE_S = 0.2
"""A thread that wakes so late is on a machine that left it standing."""
STOLEN = 0.05
"""Of all processors' time, taken by other machines of the same host while a test ran."""
AT_MOST = 8
"""So many tries again of one process may be the machine's fault; more are no accident."""
TRIES = 3
"""Of one test, on a machine that is taken away each time."""
AGAIN = "tried again"

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


def pytest_configure(config):
    """Whoever starts the tests in the background has them ignore Ctrl-C, and children would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(Machine())


class Machine:
    """What was taken from a test while it ran: under theft a failure says nothing about the code, so it is tried again.

    In sight (the summary lists each with its first failure), at most `TRIES` times in all, and only while each failing
    try was taken from: any other failure stands.
    """

    def __init__(self):
        self.left = AT_MOST

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item, nextitem):
        """As pytest's own, with a watch."""
        where = {"nodeid": item.nodeid, "location": item.location}
        item.ihook.pytest_runtest_logstart(**where)
        reports, why = watched(item, nextitem)
        failures = []
        while why and self.left and len(failures) < TRIES - 1:
            self.left -= 1
            failures.append(f"{why}; {first_line(reports)}")
            reports, why = watched(item, nextitem)
        for report in reports:
            if failures:
                report.user_properties.append((AGAIN, f"{len(failures)} x, first {failures[0]}"))
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(**where)
        return True


def watched(item, nextitem):
    """One try's reports, and what the machine withheld from it if it failed."""
    before = psutil.cpu_times()
    with HostWatch(LATE_S) as watch:
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
    failed = any(report.failed for report in reports)
    return reports, taken(before, psutil.cpu_times(), watch.late_s) if failed else ""


def first_line(reports):
    """What the first failure says."""
    failed = next(report for report in reports if report.failed)
    crash = getattr(failed.longrepr, "reprcrash", None)
    return str(crash.message if crash else failed.longrepr).strip().partition("\n")[0]


def taken(before, after, late_s):
    """What the machine withheld between two readings of its processors' times; empty when nothing to speak of."""
    spent = sum(after[:8]) - sum(before[:8])  # those behind are parts of these
    stolen = (getattr(after, "steal", 0.0) - getattr(before, "steal", 0.0)) / spent if spent else 0.0
    if stolen <= STOLEN and late_s <= LATE_S:
        return ""
    return f"{stolen:.0%} of the processors were taken away, a thread woke {late_s:.2f} s late"


@pytest.hookimpl(tryfirst=True)  # before markers are looked at
def pytest_collection_modifyitems(items):
    """What starts containers by the dozen is left to the proofs."""
    for item in items:
        if item.get_closest_marker("docker") and item.get_closest_marker("long_in_containers"):
            item.add_marker("proof")


def pytest_collection_finish(session):
    """Look for the engine once, and only when a test that is about to run needs it."""
    if any(item.get_closest_marker("docker") for item in session.items):
        session.config.stash[_WHY] = _why_not()


def pytest_report_collectionfinish(config, items):
    """A header line that nobody overlooks."""
    why = config.stash.get(_WHY, "")
    return f"NO DOCKER: {_count(items)} tests of containers do not run: {why}" if why else None


def pytest_terminal_summary(terminalreporter, config):
    """What a green run would hide: tests that were tried again, and those of containers that did not run."""
    reports = [
        report for found in terminalreporter.stats.values() for report in found if hasattr(report, "user_properties")
    ]
    again = {
        report.nodeid: dict(report.user_properties)[AGAIN]
        for report in reports
        if AGAIN in dict(report.user_properties)
    }
    if again:
        terminalreporter.section(f"{AGAIN}, since the machine may have failed them", yellow=True)
        for nodeid, why in again.items():
            terminalreporter.write_line(f"{nodeid}: {why}")
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
