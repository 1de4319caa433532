"""The XML documents that clients send, read into records; what is none is `MalformedXML`.

Only UTF-8 without a document type is read: a document that declares entities is none of S3's.
"""

from __future__ import annotations

import itertools
from xml.etree import ElementTree

import msgspec

from straybit_nodes.storage.errors import S3Error
from straybit_nodes.storage.parts import MAX_PARTS

__all__ = [
    "MAX_DELETES",
    "MAX_DOCUMENT",
    "Deletion",
    "NamedPart",
    "parse_complete",
    "parse_create_bucket",
    "parse_delete",
]

MAX_DOCUMENT = 4 * 1024 * 1024
"""Bytes of a document: 10,000 parts with a checksum each need some 3 MB."""
MAX_DELETES = 1000
"""Keys of one deletion (S3 API reference, DeleteObjects)."""


class Deletion(msgspec.Struct, frozen=True):
    """What a `POST ?delete` asks for: (key, version id, "" for none) in order; `quiet` reports errors only."""

    keys: tuple[tuple[str, str], ...]
    quiet: bool


class NamedPart(msgspec.Struct, frozen=True):
    """One part as a completion names it. `checksums` maps an algorithm to base64."""

    number: int
    etag: str
    checksums: dict[str, str]


def parse_delete(body: bytes) -> Deletion:
    """Read the body of DeleteObjects. Raises S3Error MalformedXML."""
    root = _root(body, "Delete")
    objects = _children(root, "Object")
    if not 1 <= len(objects) <= MAX_DELETES:
        raise _malformed(f"it names {len(objects)} objects, not 1 to {MAX_DELETES}")
    keys = tuple((_text(item, "Key"), _text(item, "VersionId")) for item in objects)
    if not all(key for key, _ in keys):
        raise _malformed("an object has no key")
    return Deletion(keys, _text(root, "Quiet").lower() == "true")


def parse_complete(body: bytes) -> tuple[NamedPart, ...]:
    """Read the body of CompleteMultipartUpload. Raises S3Error MalformedXML, InvalidPartOrder."""
    items = _children(_root(body, "CompleteMultipartUpload"), "Part")
    if not 1 <= len(items) <= MAX_PARTS:
        raise _malformed(f"it names {len(items)} parts, not 1 to {MAX_PARTS}")
    parts = tuple(_named_part(item) for item in items)
    if any(later.number <= earlier.number for earlier, later in itertools.pairwise(parts)):
        raise S3Error("InvalidPartOrder", "The list of parts was not in ascending order.")
    return parts


def parse_create_bucket(body: bytes) -> str:
    """The place that the body of CreateBucket asks for, "" for none; any will do. Raises S3Error MalformedXML."""
    return _text(_root(body, "CreateBucketConfiguration"), "LocationConstraint") if body else ""


def _named_part(item: ElementTree.Element) -> NamedPart:
    number, etag = _text(item, "PartNumber"), _text(item, "ETag").strip().strip('"')
    if not (number.isascii() and number.isdigit() and len(number) < 9 and 1 <= int(number) <= MAX_PARTS) or not etag:
        raise _malformed("a part lacks its PartNumber or its ETag")
    prefix = "Checksum"
    checksums = {
        _name(child).removeprefix(prefix).lower(): (child.text or "").strip()
        for child in item
        if _name(child).startswith(prefix)
    }
    return NamedPart(int(number), etag, checksums)


def _root(body: bytes, name: str) -> ElementTree.Element:
    if b"<!DOCTYPE" in body or b"\0" in body:
        raise _malformed("it has a document type, or is not UTF-8")
    try:
        root = ElementTree.fromstring(body.decode("utf-8"))
    except (ElementTree.ParseError, UnicodeDecodeError, ValueError) as error:
        raise _malformed(str(error)) from None
    if _name(root) != name:
        raise _malformed(f"it is not a {name}")
    return root


def _name(element: ElementTree.Element) -> str:
    """Without its namespace, which many clients leave out."""
    return element.tag.rpartition("}")[2]


def _children(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [child for child in element if _name(child) == name]


def _text(element: ElementTree.Element, name: str) -> str:
    found = _children(element, name)
    if len(found) > 1:
        raise _malformed(f"it has more than one {name}")
    return (found[0].text or "") if found else ""


def _malformed(why: str) -> S3Error:
    return S3Error("MalformedXML", f"The XML you provided was not well-formed or did not validate: {why}.")
