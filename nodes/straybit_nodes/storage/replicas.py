"""What a storage node answers to another storage node's leg."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from straybit_nodes.storage.errors import S3Error
from straybit_nodes.storage.legs import CRC_HEADER, RECORD_HEADER, leg_crc, pack_record, unpack_record
from straybit_nodes.storage.record import Record, RecordError
from straybit_nodes.storage.replica import LocalReplica, ReplicaError
from straybit_nodes.storage.request import Operation, S3Request
from straybit_nodes.storage.service import Answer

__all__ = ["LegRefused", "ReplicaService"]

_SCAN_LIMIT = 1000


class LegRefused(S3Error):
    """A leg whose bytes are not what was sent: `content-checksum` noticed."""


class ReplicaService:
    """Serves legs from one node's own store. `checksums` is `content-checksum`.

    Raises LegRefused (BadDigest), S3Error.
    """

    def __init__(self, local: LocalReplica, *, checksums: bool) -> None:
        self._local = local
        self._checksums = checksums

    async def handle(self, method: str, request: S3Request, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer one leg; `headers` are looked up by names in lower case."""
        text = headers.get(RECORD_HEADER, "")
        if self._checksums and headers.get(CRC_HEADER) != leg_crc(text, body):
            raise LegRefused("BadDigest", "The leg does not have its checksum.")
        try:
            if method in {"PUT", "DELETE"}:
                await self._local.put(_record(text, request), body)
                return self._answer()
            return await self._read(method, request)
        except RecordError as error:
            raise S3Error("InvalidRequest", f"The leg's record is refused: {error}") from error
        except ReplicaError as error:
            raise S3Error("InternalError", str(error)) from error

    async def _read(self, method: str, request: S3Request) -> Answer:
        local = self._local
        if request.operation is Operation.LIST_BUCKETS:
            return self._answer(body=msgspec.json.encode(await local.buckets()))
        if request.operation is Operation.LIST_OBJECTS:
            query = request.query
            limit = min(_number(query.get("max-keys", "")), _SCAN_LIMIT)
            batch = await local.scan(request.bucket, query.get("prefix", ""), query.get("start-after", ""), limit)
            return self._answer(body=msgspec.json.encode(batch))
        if method == "HEAD":
            record = await local.find(request.bucket, request.key)
            return self._answer(record, status=404 if record is None else 200)
        got = await local.fetch(request.bucket, request.key)
        return self._answer(status=404) if got is None else self._answer(got[0], body=got[1])

    def _answer(self, record: Record | None = None, *, status: int = 200, body: bytes = b"") -> Answer:
        text = pack_record(record) if record is not None else ""
        headers = {RECORD_HEADER: text} if text else {}
        if self._checksums:
            headers[CRC_HEADER] = leg_crc(text, body)
        return Answer(status, headers, body)


def _record(text: str, request: S3Request) -> Record:
    record = unpack_record(text)
    if (record.bucket, record.key) != (request.bucket, request.key):
        raise RecordError("it names another object than the request")
    if len(record.stamp) < 21 or not record.stamp[:20].isdigit():
        raise RecordError("it has no stamp")
    return record


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise S3Error("InvalidArgument", f"max-keys must be a number, not {text!r}")
    return int(text)
