"""Receipts: proof that a fault left the proxy and reached its receiver."""

from __future__ import annotations

import msgspec

from straybit_faults.wire import Direction

__all__ = ["Receipt"]


class Receipt(msgspec.Struct, kw_only=True):
    """One application of a content toxic; times are CLOCK_MONOTONIC seconds of the proxy's machine.

    `connection` counts from 0 since arming; a negative one was open before.
    `offset` is the stream offset of the first changed byte as its sender counts, `byte_bit` its first changed bit,
    `before` and `after` its values; `bytes` holds [offset, before, after] for every changed byte.
    `field_bits` are the same bits as the field counts them, `field_bit` the first.
    `flip` is the flip id, None where the proxy's name is no link, and where the grammar has no word for it
    (several bits by offset, a connection from before arming).
    `crc` is the CRC32C of the whole message as sent, None where the wire did not hold all of it.
    `context` is hex of up to 32 bytes around the change as sent, from stream offset `context_at` on.
    `sent` is None until the byte was handed to the kernel,
    `delivered` until the receiver's kernel acknowledged it,
    `felt` for as long as nobody who watches the receiver fills it in.
    """

    seq: int
    toxic: str
    proxy: str
    link: str | None
    direction: Direction
    connection: int
    message: str | None
    ordinal: int | None
    identity: str | None
    field: str | None
    field_bit: int | None
    field_bits: list[int]
    offset: int
    byte_bit: int | None
    before: int | None
    after: int | None
    bytes: list[tuple[int, int, int]]
    control: bool
    flip: str | None
    crc: int | None = None
    context: str = ""
    context_at: int = 0
    sent: float | None = None
    delivered: float | None = None
    felt: float | None = None
