"""A failing test is tried again when the machine was taken away from it, in sight, and otherwise not."""

from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
TESTS = """
tries = []

def test_the_third_time():
    tries.append(1)
    assert len(tries) == 3, f"time {len(tries)}"

more = []

def test_the_fourth_time():
    more.append(1)
    assert len(more) == 4, f"time {len(more)}"

def test_never():
    assert False, "always"
"""


@pytest.fixture
def run(pytester):
    def with_lateness(late_s):
        source = CONFTEST.read_text()
        assert source.count("\nLATE_S = 0.2\n") == source.count("\nSTOLEN = 0.05\n") == 1
        source = source.replace("\nLATE_S = 0.2\n", f"\nLATE_S = {late_s}\n").replace(
            "\nSTOLEN = 0.05\n", "\nSTOLEN = 1e9\n"
        )
        pytester.makeconftest(source)
        pytester.makepyfile(TESTS)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider")

    return with_lateness


def test_under_theft_a_failure_is_tried_again_and_listed(run):
    """What fails three times has failed; what passed then is named with its first failure."""
    result = run(-1)
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["*tried again*", "*test_the_third_time: 2 x, first * AssertionError: time 1"])


def test_otherwise_a_failure_stands(run):
    """On a machine that gave all it has, nothing is tried twice."""
    result = run(60)
    result.assert_outcomes(failed=3)
    result.stdout.no_fnmatch_line("*tried again*")
