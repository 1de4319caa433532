"""Lists: several nodes' records merged and cut into pages."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from straybit_nodes.storage.errors import S3Error
from straybit_nodes.storage.listing import Batch, Summary, cut, merge, parse_list

KEYS = st.text("ab/%ü ", min_size=1, max_size=5)


def summary(key, stamp="1", *, deleted=False):
    return Summary(key, stamp, deleted, 1, "etag")


def batch_of(records, query, limit):
    items = sorted((r for r in records if r.key > query.after and r.key.startswith(query.prefix)), key=lambda r: r.key)
    return Batch(tuple(items[:limit]), more=len(items) > limit)


def walk(nodes, query, limit):
    """Every page from the first on, as a client with a paginator asks for them."""
    pages, token = [], ""
    while True:
        asked = parse_list({**query, **({"continuation-token": token} if token else {})})
        batches = [batch_of(records, asked, limit) for records in nodes]
        page = cut(merge(batches), asked, more=any(batch.more for batch in batches))
        pages.append(page)
        token = page.next_token
        if not token:
            return pages


@settings(max_examples=400)
@example({"b": True, "ba": False}, 1, 1, "b", "", [])
@given(
    st.dictionaries(KEYS, st.booleans(), max_size=30),
    st.integers(1, 5),
    st.integers(1, 7),
    st.sampled_from(["", "/", "b"]),
    st.sampled_from(["", "a", "a/"]),
    st.lists(KEYS, unique=True, max_size=10),
)
def test_pages_together_are_what_was_stored(keys, max_keys, limit, delimiter, prefix, old):
    """Whatever the cut into pages, batches and nodes, each key or common prefix is listed once, in order."""
    newest = [summary(key, "2", deleted=gone) for key, gone in keys.items()]
    stale = [summary(key, "1") for key in old if key in keys]
    query = {"max-keys": str(max_keys), "delimiter": delimiter, "prefix": prefix}
    pages = walk([newest, stale], query, limit)
    live = sorted(key for key, gone in keys.items() if not gone and key.startswith(prefix))
    rolled = {k: k[: k.index(delimiter, len(prefix)) + 1] for k in live if delimiter and delimiter in k[len(prefix) :]}
    assert [item.key for page in pages for item in page.contents] == [key for key in live if key not in rolled]
    assert [name for page in pages for name in page.prefixes] == sorted(set(rolled.values()))
    assert all(len(page.contents) + len(page.prefixes) <= max_keys for page in pages)


def test_a_key_beyond_a_cut_batch_waits_for_the_next_page():
    """A node that told only part of its keys limits how far a page may reach."""
    cut_short = Batch((summary("a"), summary("b")), more=True)
    whole = Batch((summary("a", "2"), summary("z")), more=False)
    assert [(item.key, item.stamp) for item in merge([cut_short, whole])] == [("a", "2"), ("b", "1")]


def test_no_keys_asked_for_is_no_keys():
    """max-keys 0 gives an empty page that says it is whole."""
    page = cut([summary("a")], parse_list({"max-keys": "0"}), more=False)
    assert (page.contents, page.next_token) == ((), "")


@pytest.mark.parametrize(
    "query",
    [
        {"max-keys": "-1"},
        {"max-keys": "many"},
        {"encoding-type": "gzip"},
        {"continuation-token": "?"},
        {"continuation-token": "AAAA"},
    ],
)
def test_a_list_that_makes_no_sense_is_refused(query):
    """A parameter that cannot be read is InvalidArgument."""
    with pytest.raises(S3Error) as refused:
        parse_list(query)
    assert refused.value.code == "InvalidArgument"
