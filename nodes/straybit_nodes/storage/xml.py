"""XML as S3 writes it: elements of text and elements, nothing more."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

__all__ = ["document", "element", "optional", "text"]

_NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def document(name: str, *inside: str) -> bytes:
    """A whole document with the root `name`."""
    return f"{_HEAD}<{name} {_NAMESPACE}>{''.join(inside)}</{name}>".encode("utf-8", "replace")


def element(name: str, *inside: str | int) -> str:
    """An element; what is inside is written as it is."""
    return f"<{name}>{''.join(map(str, inside))}</{name}>"


def optional(name: str, inside: str) -> str:
    """An element, or nothing where nothing is inside."""
    return element(name, inside) if inside else ""


def text(value: str) -> str:
    """Escaped; what XML 1.0 cannot hold is written as a reference, as S3 does, which lenient parsers read."""
    return _NOT_XML.sub(lambda match: f"&#x{ord(match[0]):x};", escape(value, {"\r": "&#13;", '"': "&quot;"}))
