"""Conditional requests: a version's ETag and date against what the client knows (RFC 9110, 13).

The order is the RFC's and S3's own: If-Match outdoes If-Unmodified-Since, If-None-Match outdoes If-Modified-Since.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from straybit_nodes.storage.errors import S3Error
from straybit_nodes.storage.record import Record, stamp_time_s

__all__ = ["COPY_SOURCE", "check_copy", "check_write", "not_modified"]

COPY_SOURCE = "x-amz-copy-source"


def not_modified(record: Record, headers: Mapping[str, str]) -> bool:
    """Whether a GET or HEAD is answered 304. Raises S3Error PreconditionFailed."""
    return _refuses(record, headers, "")


def check_copy(record: Record, headers: Mapping[str, str]) -> None:
    """Hold the source of a copy against `x-amz-copy-source-if-*`. Raises S3Error PreconditionFailed."""
    if _refuses(record, headers, f"{COPY_SOURCE}-"):
        raise _failed()


def check_write(record: Record | None, headers: Mapping[str, str]) -> None:
    """Hold what is there before a write against If-Match and If-None-Match.

    Raises S3Error PreconditionFailed, NoSuchKey, NotImplemented.
    """
    none_match, match = headers.get("if-none-match"), headers.get("if-match")
    if none_match is not None and none_match.strip() != "*":
        raise S3Error("NotImplemented", "This server offers If-None-Match on a write only with *.")
    if none_match is not None and record is not None:
        raise _failed()
    if match is not None and record is None:
        raise S3Error("NoSuchKey", "The specified key does not exist.")
    if match is not None and record is not None and not _matches(record, match):
        raise _failed()


def _refuses(record: Record, headers: Mapping[str, str], prefix: str) -> bool:
    """Whether it is what the client has already. Raises S3Error PreconditionFailed when it is not what it wants."""
    made = int(stamp_time_s(record.stamp))
    match = headers.get(f"{prefix}if-match")
    since = _time(headers.get(f"{prefix}if-unmodified-since"))
    if match is not None and not _matches(record, match):
        raise _failed()
    if match is None and since is not None and made > since:
        raise _failed()
    none_match = headers.get(f"{prefix}if-none-match")
    if none_match is not None:
        return _matches(record, none_match)
    since = _time(headers.get(f"{prefix}if-modified-since"))
    return since is not None and made <= since


def _matches(record: Record, header: str) -> bool:
    """One of the ETags of a header, with or without quotes; weak ones are compared as if they were none."""
    tags = {tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")}
    return "*" in tags or record.etag in tags


def _time(header: str | None) -> float | None:
    """A date in seconds since 1970; None for what is none, which is ignored (RFC 9110, 13.1.3)."""
    if header is None:
        return None
    try:
        return parsedate_to_datetime(header).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def _failed() -> S3Error:
    return S3Error("PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
