"""The page about gossip says what the code does."""

from pathlib import Path

from straybit_nodes.gossip.layout import describe

PAGE = Path(__file__).parents[3] / "docs" / "gossip.md"


def test_the_page_has_the_layout_of_the_code():
    """The table of the frame in the docs is the one that the codec and the wire are made from."""
    _, _, rest = PAGE.read_text().partition("<!-- layout -->\n")
    table, _, _ = rest.partition("<!-- /layout -->")
    assert table == describe()
