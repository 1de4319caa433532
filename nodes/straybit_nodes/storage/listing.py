"""Lists of objects as pure functions: several nodes' records merged, cut into one page.

Each node answers with a `Batch`: its records in order of key, delete markers among them, from a point on.
A key beyond the last key of a batch that was cut may be missing from it,
so a merge is good only up to the smallest such last key: its horizon.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from straybit_nodes.storage.errors import S3Error

__all__ = ["MAX_KEYS", "Batch", "ListQuery", "Page", "Summary", "cut", "merge", "parse_list", "parse_marked"]

MAX_KEYS = 1000


class Summary(msgspec.Struct, frozen=True):
    """What a list says of one object."""

    key: str
    stamp: str
    deleted: bool
    size: int
    etag: str


class Batch(msgspec.Struct, frozen=True):
    """One node's records after a point, in order of key; `more` says that it was cut.

    `partial` says that there are records which the node cannot read.
    """

    items: tuple[Summary, ...]
    more: bool
    partial: bool = False


class ListQuery(msgspec.Struct, frozen=True):
    """A list request. Keys after `after` are wanted, but none under `listed`, a common prefix of the page before.

    `token` is the continuation token as it came, `start_after` the key that a list begins behind, or its marker.
    """

    prefix: str
    delimiter: str
    max_keys: int
    after: str
    listed: str
    token: str
    start_after: str
    url_encoding: bool
    owner: bool = False


class Page(msgspec.Struct, frozen=True):
    """One page; `next_token` and `next_marker`, its form for clients that know no tokens, are empty at the end."""

    contents: tuple[Summary, ...]
    prefixes: tuple[str, ...]
    next_token: str
    next_marker: str = ""


def parse_list(query: Mapping[str, str]) -> ListQuery:
    """Read the query of ListObjectsV2. Raises S3Error InvalidArgument."""
    token = query.get("continuation-token", "")
    start_after = query.get("start-after", "")
    after, listed = _read_token(token) if token else (start_after, "")
    return ListQuery(
        query.get("prefix", ""),
        query.get("delimiter", ""),
        _max_keys(query),
        after,
        listed,
        token,
        start_after,
        _url_encoding(query),
        query.get("fetch-owner", "").lower() == "true",
    )


def parse_marked(query: Mapping[str, str], marker: str) -> ListQuery:
    """Read the query of a list that goes on behind a key or common prefix, which it calls `marker`.

    Raises S3Error InvalidArgument.
    """
    after, delimiter = query.get(marker, ""), query.get("delimiter", "")
    listed = after if delimiter and after.endswith(delimiter) else ""
    return ListQuery(
        query.get("prefix", ""), delimiter, _max_keys(query), after, listed, "", after, _url_encoding(query)
    )


def merge(batches: Sequence[Batch]) -> list[Summary]:
    """The newest version of each key in any batch, in order, up to the horizon; delete markers stay in."""
    horizon = min((batch.items[-1].key for batch in batches if batch.more and batch.items), default=None)
    newest: dict[str, Summary] = {}
    for batch in batches:
        for item in batch.items:
            known = newest.get(item.key)
            if (horizon is None or item.key <= horizon) and (known is None or item.stamp > known.stamp):
                newest[item.key] = item
    return [newest[key] for key in sorted(newest)]


def cut(items: Iterable[Summary], query: ListQuery, *, more: bool) -> Page:
    """One page of `items`, which are in order and begin after `query.after`.

    A common prefix counts as one key; `more` says that items may follow the last one.
    The token holds the last key looked at and the last common prefix listed.
    """
    contents: list[Summary] = []
    prefixes: list[str] = []
    last, listed = query.after, query.listed
    for item in items:
        common = _common(item.key, query)
        if not item.deleted and not (common and common == listed):
            if len(contents) + len(prefixes) >= query.max_keys:
                more = True
                break
            if common:
                prefixes.append(common)
                listed = common
            else:
                contents.append(item)
        last = item.key
    more = more and query.max_keys > 0
    if not more:
        return Page(tuple(contents), tuple(prefixes), "")
    marker = listed if listed and last.startswith(listed) else last
    return Page(tuple(contents), tuple(prefixes), _make_token(last, listed), marker)


def _max_keys(query: Mapping[str, str]) -> int:
    text = query.get("max-keys") or str(MAX_KEYS)
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < 2**31):
        raise S3Error("InvalidArgument", "max-keys must be a number from 0 up to 2147483647.")
    return min(int(text), MAX_KEYS)


def _url_encoding(query: Mapping[str, str]) -> bool:
    if query.get("encoding-type", "url") != "url":
        raise S3Error("InvalidArgument", "Invalid Encoding Method specified in Request")
    return "encoding-type" in query


def _common(key: str, query: ListQuery) -> str:
    """The common prefix `key` falls under, "" when it is listed itself."""
    if not query.delimiter:
        return ""
    at = key.find(query.delimiter, len(query.prefix))
    return key[: at + len(query.delimiter)] if at >= 0 else ""


_TOKEN = msgspec.json.Decoder(tuple[str, str])


def _make_token(after: str, listed: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode((after, listed))).decode()


def _read_token(token: str) -> tuple[str, str]:
    try:
        return _TOKEN.decode(base64.b64decode(token, altchars=b"-_", validate=True))
    except (binascii.Error, msgspec.MsgspecError, ValueError):
        raise S3Error("InvalidArgument", "The continuation token provided is incorrect") from None
