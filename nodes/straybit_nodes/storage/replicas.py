"""What a storage node answers to another storage node's leg."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from straybit_nodes.storage.calls import Answer
from straybit_nodes.storage.errors import S3Error
from straybit_nodes.storage.legs import CRC_HEADER, RECORD_HEADER, leg_crc, pack_record, unpack_record
from straybit_nodes.storage.parts import stored_name
from straybit_nodes.storage.record import Record, RecordError
from straybit_nodes.storage.replica import LocalReplica, ReplicaError, Stale
from straybit_nodes.storage.request import parse_target

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

    async def handle(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer one leg, of this method and raw target; `headers` are looked up in lower case."""
        text = headers.get(RECORD_HEADER, "")
        if self._checksums and headers.get(CRC_HEADER) != leg_crc(f"{method} {target}", text, body):
            raise LegRefused("BadDigest", "The leg does not have its checksum.")
        named, key, query = parse_target(target)
        bucket, key = stored_name(named, key, query)
        try:
            if method in {"PUT", "DELETE"}:
                answer = await self._put(unpack_record(text, bucket, key), body)
            else:
                answer = await self._read(method, bucket, key, query)
            return self._sealed(answer, f"{method} {target}")
        except RecordError as error:
            raise S3Error("InvalidRequest", f"The leg's record is refused: {error}") from error
        except ReplicaError as error:
            raise S3Error("InternalError", str(error)) from error

    async def _put(self, record: Record, body: bytes) -> Answer:
        try:
            await self._local.put(record, body)
        except Stale:
            return _answer(await self._local.find(record.bucket, record.key), status=409)
        return Answer(200)

    async def _read(self, method: str, bucket: str, key: str, query: Mapping[str, str]) -> Answer:
        local = self._local
        if not bucket:
            return _answer(body=msgspec.json.encode(await local.buckets()))
        if not key and method == "GET":
            limit = min(_number(query.get("max-keys", "")), _SCAN_LIMIT)
            prefix, after = query.get("prefix", ""), query.get("start-after", "")
            batch = await local.scan(bucket, prefix, after, limit, partial="partial" in query)
            return _answer(body=msgspec.json.encode(batch))
        if method == "HEAD":
            record = await local.find(bucket, key)
            return _answer(record, status=404 if record is None else 200)
        if method != "GET":
            raise S3Error("MethodNotAllowed", f"No leg has the method {method}.")
        got = await local.fetch(bucket, key)
        return _answer(status=404) if got is None else _answer(got[0], body=got[1])

    def _sealed(self, answer: Answer, subject: str) -> Answer:
        if not self._checksums:
            return answer
        crc = leg_crc(f"{answer.status} {subject}", answer.headers.get(RECORD_HEADER, ""), answer.body)
        return Answer(answer.status, {**answer.headers, CRC_HEADER: crc}, answer.body)


def _answer(record: Record | None = None, *, status: int = 200, body: bytes = b"") -> Answer:
    return Answer(status, {RECORD_HEADER: pack_record(record)} if record is not None else {}, body)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise S3Error("InvalidArgument", f"max-keys must be a number, not {text!r}")
    return int(text)
