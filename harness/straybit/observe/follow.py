"""Follows NDJSON log files while they grow. One file's lines come in order, a half-written line waits for its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["Follower", "Line"]

READ_BYTES = 1 << 20
"""One look at one file reads at most this much; the rest comes with the next look."""


class Line(msgspec.Struct, frozen=True):
    """One line of a service's log; `event` is `unreadable` where it is no JSON object with `t` and `event`."""

    t: float
    service: str
    event: str
    fields: dict[str, Any]


class Follower:
    """Reads what was appended to each service's file since the last look; a file may come into being later.

    `news` passes over the lines that are there already.
    Tolerates: a missing file, half a line, a line that is no JSON.
    """

    def __init__(self, files: Mapping[str, Path], *, news: bool = False) -> None:
        self._files = dict(files)
        self._at = {service: _size(path) if news else 0 for service, path in files.items()}

    def look(self) -> Iterator[Line]:
        """The whole lines that are new, service by service."""
        for service, path in self._files.items():
            for raw in self._new(service, path):
                yield _parse(service, raw)

    def _new(self, service: str, path: Path) -> list[bytes]:
        try:
            if path.stat().st_size <= self._at[service]:
                return []
            with path.open("rb", buffering=0) as file:
                file.seek(self._at[service])
                data = file.read(READ_BYTES) or b""
        except FileNotFoundError:
            return []
        whole, newline, _ = data.rpartition(b"\n")
        self._at[service] += len(whole) + len(newline)
        return whole.split(b"\n") if newline else []


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


_FIELDS = msgspec.json.Decoder(dict[str, Any])


def _parse(service: str, raw: bytes) -> Line:
    try:
        fields = _FIELDS.decode(raw)
        t, event = float(fields.pop("t")), str(fields.pop("event"))
    except (msgspec.DecodeError, KeyError, ValueError, TypeError):
        return Line(0.0, service, "unreadable", {"line": raw[:200].decode(errors="replace")})
    fields.pop("service", None)
    return Line(t, service, event, fields)
