"""The README's example is run as it stands."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLE = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)


def test_the_example_is_short():
    """A first test has at most ten lines."""
    assert 1 < len(EXAMPLE.strip().splitlines()) <= 10


def test_the_example_is_the_one_in_examples():
    """README and examples/ do not drift apart."""
    code = EXAMPLE.split("def ", 1)[1].strip()
    assert code in (ROOT / "examples" / "test_gossip.py").read_text()


def test_the_example_passes(pytester):
    """Copied from the README into an empty folder, it passes."""
    pytester.makepyfile(EXAMPLE)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
