"""Faults of a whole message: it is held until it is complete, and something else goes on in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

from straybit_faults.toxics.content import Content, Decision
from straybit_faults.wire import Message

__all__ = ["Claim", "Keep", "Whole"]


class Claim(Protocol):
    """A complete message that a toxic has claimed."""

    message: Message
    data: bytes
    decision: Decision | None
    """None: claimed only because the toxic wants to see it."""

    answer: Sequence[bytes] | None
    """Set by whoever decides later about a claim that was put off."""

    @property
    def connection(self) -> int:
        """Number of its connection on the proxy."""

    def field_runs(self, name: str) -> Sequence[tuple[int, int]]:
        """Where in `data` a field's bytes are: start and length of each run, more than one in a chunked body."""

    def put_off(self, seconds: float, reason: str) -> None:
        """Wait for `wake`, and pass the message on unchanged after that time, because of `reason`."""

    def delay(self, seconds: float) -> None:
        """Pass the message on after that time, as the fault that was asked for."""

    def wake(self) -> None:
        """Go on: `answer` is set."""


class Whole(Content, kw_only=True, omit_defaults=True):
    """A content toxic that acts on a message as one; `ends` says that nothing may follow it."""

    has_flip_id: ClassVar[bool] = True
    """Whether the grammar of flip ids has a word for the fault."""

    @property
    def ends(self) -> bool:
        """Whether the connection is to be closed behind the message."""
        return False

    @property
    def fault(self) -> str:
        """As a flip id names it."""
        raise NotImplementedError  # each toxic's own; a Struct cannot be an ABC as well

    def check(self) -> None:
        """Raises ValueError for an aim by offset: only messages are whole."""
        super().check()
        if self.offset is not None or self.repair:
            raise ValueError(f"{self.fault} is aimed by wire and message, without repair")

    def wants(self, state: dict[str, Any], decision: Decision | None, connection: int) -> bool:
        """Whether to claim a message that was taken (`decision`), or that only came by."""
        return decision is not None

    def replace(self, state: dict[str, Any], claim: Claim) -> Sequence[bytes] | None:
        """The messages that go on instead; None puts it off. Raises ValueError when that cannot be done here."""
        raise NotImplementedError  # each toxic's own


class Keep(Whole, kw_only=True, omit_defaults=True):
    """No toxic of its own: has a message wait until it is complete, as recomputing its checksum needs."""

    fault = "keep"

    def replace(self, state: dict[str, Any], claim: Claim) -> Sequence[bytes] | None:
        """The message as patches left it."""
        return (claim.data,)
