"""The pytest plugin: options, fixtures, a header line when in use, and one replay line on every failure and error.

It is imported in every pytest run of its environment, so it imports nothing but pytest and the standard library
until a fixture is used.
"""

from __future__ import annotations

import random
import shlex
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from straybit.cluster import Cluster
    from straybit.testing import Clusters
    from straybit_nodes.topology import Topology

OPTIONS = (
    ("defences", "all", "Defences of the reference cluster: none, 2008, all or NAME,NAME."),
    ("backend", "process", "How services run."),
    ("seed", "0", "Decides all that is drawn; `random` draws one and prints it."),
    ("budgets", "", "Budgets in seconds, as detected=2s,recovered=5s."),
    ("replay-file", "straybit-out/replay.txt", "Where the replay lines of failures are written as well."),
)
"""Name, default and help of each option; its ini twin has underscores."""

FIXTURE = "straybit_clusters"
"""Whoever uses the plugin uses this fixture."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """One group of options, each with an ini twin."""
    group = parser.getgroup("straybit", "straybit: flip one bit of one message")
    for name, default, text in OPTIONS:
        dest = f"straybit_{name.replace('-', '_')}"
        group.addoption(
            f"--straybit-{name}", dest=dest, default=None, metavar="VALUE", help=f"{text} [{default or '-'}]"
        )
        parser.addini(dest, text, default=default)


def setting(config: pytest.Config, name: str) -> str:
    """An option as given on the command line, else its ini twin, else its default."""
    dest = f"straybit_{name.replace('-', '_')}"
    given = config.getoption(dest)
    return str(config.getini(dest) if given is None else given)


def pytest_configure(config: pytest.Config) -> None:
    """Settle the seed once; xdist's workers are told the controller's."""
    told = getattr(config, "workerinput", {}).get("straybit_seed")
    text = setting(config, "seed") if told is None else str(told)
    if text != "random" and not (text.isascii() and text.isdigit()):
        raise pytest.UsageError(f"--straybit-seed {text!r} is neither a number nor random")
    config.stash[SEED] = random.SystemRandom().randrange(2**32) if text == "random" else int(text)


SEED: pytest.StashKey[int] = pytest.StashKey()
REPLAY: pytest.StashKey[str] = pytest.StashKey()
PLAYED: pytest.StashKey[dict[str, object]] = pytest.StashKey()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 - xdist ships no type for it
    """Pass the seed on to an xdist worker."""
    node.workerinput["straybit_seed"] = node.config.stash[SEED]


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> str | None:
    """The header line, when a collected test uses a cluster."""
    users = sum(FIXTURE in getattr(item, "fixturenames", ()) for item in items)
    if not users:
        return None
    how = f"defences {setting(config, 'defences')}, backend {setting(config, 'backend')}, seed {config.stash[SEED]}"
    return f"straybit: {how}; {users} {'test uses' if users == 1 else 'tests use'} a cluster"


# -- configuration, each value a fixture that can be overridden ------------------------------------------------


@pytest.fixture
def straybit_seed(pytestconfig: pytest.Config) -> int:
    """The seed of everything that is drawn."""
    return pytestconfig.stash[SEED]


@pytest.fixture
def straybit_defences(pytestconfig: pytest.Config) -> str:
    """Defences of the reference cluster, as text."""
    return setting(pytestconfig, "defences")


@pytest.fixture
def straybit_backend(pytestconfig: pytest.Config) -> str:
    """How services run."""
    return setting(pytestconfig, "backend")


@pytest.fixture
def straybit_budgets(pytestconfig: pytest.Config) -> dict[str, float]:
    """Upper bounds on the phases of a trial, in seconds."""
    from straybit.budgets import budgets_with  # noqa: PLC0415 - nothing of ours until a fixture is used

    try:
        return budgets_with(text for text in setting(pytestconfig, "budgets").split(",") if text)
    except ValueError as error:
        pytest.fail(f"straybit_budgets: {error}", pytrace=False)


@pytest.fixture
def straybit_target() -> Topology:
    """What is under test: the reference cluster, in the size that this topology says."""
    from straybit_nodes.topology import Topology  # noqa: PLC0415 - as above

    return Topology()


@pytest.fixture
def straybit_workload() -> None:
    """What makes messages flow in a trial: None picks what suits the link; else a `straybit.traffic.Traffic`."""


@pytest.fixture
def straybit_steady() -> None:
    """How to know that the cluster is steady: None is the reference probe; else a function of the cluster.

    It answers with lines that say what is missing, none when all is well.
    """


# -- the cluster -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def straybit_clusters() -> Iterator[Clusters]:
    """Every backend and cluster of this session; one cluster is kept for as long as tests ask for the same."""
    from straybit.testing import Clusters  # noqa: PLC0415 - as above

    with Clusters() as clusters:
        yield clusters


@pytest.fixture
def cluster(
    request: pytest.FixtureRequest,
    straybit_clusters: Clusters,
    straybit_target: Topology,
    straybit_backend: str,
    straybit_defences: str,
    straybit_seed: int,
    straybit_budgets: dict[str, float],
    straybit_workload: Any,  # noqa: ANN401 - None or a user's own traffic
    straybit_steady: Any,  # noqa: ANN401 - None or a user's own probe
) -> Iterator[Cluster]:
    """The reference cluster, proved clean or started again for each test."""
    request.node.stash[PLAYED] = {
        "defences": straybit_defences,
        "backend": straybit_backend,
        "seed": straybit_seed,
        "budgets": _unusual(straybit_budgets),
    }
    found = _cluster_of(straybit_clusters, straybit_target, straybit_backend, straybit_defences, straybit_seed)

    def seen(replay: str) -> None:
        request.node.stash[REPLAY] = replay

    found.trials = straybit_clusters.trials(
        id=request.node.nodeid,
        budgets=straybit_budgets,
        traffic=straybit_workload,
        steady=straybit_steady,
        on_trial=seen,
    )
    yield found
    for trial in found.trials.made:
        outcome = trial.record.outcome if trial.record is not None else "not judged"
        request.node.user_properties.append(("straybit", f"{outcome} {' '.join(map(str, trial.flips))}"))


def _unusual(budgets: dict[str, float]) -> str:
    from straybit.budgets import BUDGETS  # noqa: PLC0415 - as above

    return ",".join(f"{name}={value:g}s" for name, value in sorted(budgets.items()) if BUDGETS.get(name) != value)


def _cluster_of(clusters: Clusters, target: Topology, backend: str, defences: str, seed: int) -> Cluster:
    """A cluster; what stands in its way fails the test in plain words, without a traceback of ours."""
    from straybit.backends import BackendError  # noqa: PLC0415 - as above

    if not isinstance(seed, int) or seed < 0:
        pytest.fail(f"straybit_seed is {seed!r}; it must be a number from 0 on", pytrace=False)
    try:
        return clusters.get(target, backend, defences, seed)
    except ValueError as error:
        why = f"straybit_defences: {error}"
    except BackendError as error:
        why = f"straybit: {error}"
    pytest.fail(why, pytrace=False)


# -- replay lines ----------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put a replay line on the report of every failure and error of a test that uses a cluster."""
    report = yield
    if report.failed and FIXTURE in getattr(item, "fixturenames", ()):
        error = call.excinfo.value if call.excinfo is not None else None
        report.sections.append(("straybit replay", _of_error(error) or item.stash.get(REPLAY, "") or _again(item)))
    return report


def _of_error(error: BaseException | None) -> str:
    """The replay line of the trial whose expectation failed, which its exception carries."""
    lines = str(error).splitlines() if isinstance(error, AssertionError) else []
    said = [line.removeprefix("replay: ") for line in lines if line.startswith("replay: straybit ")]
    return str(getattr(error, "replay", "") or next(iter(said), ""))


def _again(item: pytest.Item) -> str:
    """The same test again, with the values that its fixtures had."""
    played = item.stash.get(PLAYED, {})
    words = {name: str(played.get(name, setting(item.config, name))) for name in ("defences", "backend")}
    words["seed"] = str(played.get("seed", item.config.stash[SEED]))
    words["budgets"] = str(played.get("budgets", setting(item.config, "budgets")))
    return shlex.join(["pytest", item.nodeid, *(f"--straybit-{name}={text}" for name, text in words.items() if text)])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """One replay line for every failure and error, and the same lines in a file."""
    reports = [r for key in ("failed", "error") for r in terminalreporter.stats.get(key, [])]
    lines = [text for r in reports for title, text in getattr(r, "sections", ()) if title == "straybit replay"]
    if not lines:
        return
    path = Path(setting(config, "replay-file"))
    path = path if path.is_absolute() else config.rootpath / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    terminalreporter.section("straybit: play it again")
    for line in lines:
        terminalreporter.write_line(line)
