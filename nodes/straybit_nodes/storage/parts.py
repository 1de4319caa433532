"""Where the parts of an upload are kept until it is complete: beside the objects, in a bucket no client can name.

An upload is a record of its own, number 0, and its parts are numbers 1 to 10,000.
They are kept, verified, replicated and repaired as objects are, by the holders of the object's own key.
"""

from __future__ import annotations

from collections.abc import Mapping

from straybit_nodes.storage.errors import S3Error

__all__ = ["MAX_PARTS", "home", "is_parts", "part_key", "parts_bucket", "split_part_key", "stored_name"]

MAX_PARTS = 10_000
"""S3 User Guide, "Amazon S3 multipart upload limits"."""
_MARK = "+parts"
_UPLOAD = 32
_TAIL = _UPLOAD + 7
"""Characters of `/UPLOAD/NNNNN`, which is what a part's name has behind its object's key."""


def parts_bucket(bucket: str) -> str:
    """The bucket of a bucket's parts; `+` is in no name that a client may use."""
    return bucket + _MARK


def is_parts(bucket: str) -> bool:
    """It holds parts."""
    return bucket.endswith(_MARK)


def part_key(key: str, upload: str, number: int) -> str:
    """The name a part is kept under; its end has a fixed length, so that any key can stand before it."""
    return f"{key}/{upload}/{number:05d}"


def split_part_key(text: str) -> tuple[str, str, int]:
    """Key, upload and number of a name that `part_key` made."""
    return text[:-_TAIL], text[1 - _TAIL : -6], int(text[-5:])


def home(bucket: str, key: str) -> tuple[str, str]:
    """The object whose holders keep this: of a part the object it will belong to."""
    if not is_parts(bucket):
        return bucket, key
    return bucket.removesuffix(_MARK), key[:-_TAIL]


def stored_name(bucket: str, key: str, query: Mapping[str, str]) -> tuple[str, str]:
    """Bucket and key under which a leg's target is kept.

    Raises S3Error NoSuchUpload for what is no upload's id, InvalidArgument for a part number that cannot be.
    """
    if not key and "uploads" in query:
        return parts_bucket(bucket), ""
    if "uploadId" not in query:
        return bucket, key
    upload, number = query["uploadId"], query.get("partNumber", "0")
    if len(upload) != _UPLOAD or not (upload.isascii() and upload.isalnum()):
        raise S3Error("NoSuchUpload", "The specified multipart upload does not exist.")
    if not (number.isascii() and number.isdigit() and len(number) < 9 and int(number) <= MAX_PARTS):
        raise S3Error("InvalidArgument", f"Part number must be an integer between 1 and {MAX_PARTS}, inclusive.")
    return parts_bucket(bucket), part_key(key, upload, int(number))
