"""The page about gossip says what the code does."""

from pathlib import Path

import pytest

from straybit_nodes.gossip.layout import describe
from straybit_nodes.gossip.merge import describe_life, describe_merge

PAGE = Path(__file__).parents[3] / "docs" / "gossip.md"


@pytest.mark.parametrize(
    ("name", "describe"), [("layout", describe), ("merge", describe_merge), ("life", describe_life)]
)
def test_the_page_has_the_tables_of_the_code(name, describe):
    """The tables of frame, merging and an owner's own entry in the docs are those that the code looks answers up in."""
    _, _, rest = PAGE.read_text().partition(f"<!-- {name} -->\n")
    table, _, _ = rest.partition(f"<!-- /{name} -->")
    assert table == describe()
