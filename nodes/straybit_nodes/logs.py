"""A node's structured log: one JSON object per line."""

from __future__ import annotations

import os
import time
from typing import Any

import msgspec

__all__ = ["Log"]

_encode = msgspec.json.Encoder(enc_hook=str).encode


class Log:
    """Lines `{"t", "service", "event", ...fields}`, appended to the file `path`; None means standard output.

    `t` is the machine's monotonic clock in seconds, the one clock that every process of a run shares.
    A line is written with one call, so that lines of several threads never mix.
    """

    def __init__(self, service: str, path: str | None = None) -> None:
        self._service = service
        self._fd = 1 if path is None else os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write(self, event: str, /, **fields: Any) -> None:  # noqa: ANN401 - any field that JSON can hold
        """Append one line about `event`; a full disk or a closed pipe loses the line, never the node."""
        if self._fd < 0:
            return
        line = _encode({"t": time.monotonic(), "service": self._service, "event": event, **fields}) + b"\n"
        try:
            os.write(self._fd, line)
        except OSError:
            return

    def close(self) -> None:
        """Close the file; later lines are dropped."""
        if self._fd > 1:
            os.close(self._fd)
        self._fd = -1
