"""What a gossip core asks of the edge around it; each is carried out in the order it was made."""

from __future__ import annotations

import msgspec

from straybit_nodes.gossip.messages import Message

__all__ = ["Answer", "Beat", "Close", "Dial", "Done", "Effect", "Keep", "Left", "Log", "Send"]


class Dial(msgspec.Struct, frozen=True, gc=False):
    """Connect to the role gossip at `address`; the connection will be called `id`."""

    id: int
    address: int


class Send(msgspec.Struct, frozen=True):
    """Send `message` on connection `id`."""

    id: int
    message: Message


class Close(msgspec.Struct, frozen=True, gc=False):
    """Close connection `id` once what was sent is out; nothing more is to be heard of it."""

    id: int


class Answer(msgspec.Struct, frozen=True, gc=False):
    """To whoever asked in this process for place `number`: the peer's address, or the reason it was denied."""

    number: int
    address: int | None
    reason: int = 0


class Done(msgspec.Struct, frozen=True, gc=False):
    """To whoever asked in this process for exchange `number`: it is over, and what went wrong if anything did."""

    number: int
    error: str | None


class Keep(msgspec.Struct, frozen=True, gc=False):
    """Keep this generation over restarts."""

    generation: int


class Left(msgspec.Struct, frozen=True, gc=False):
    """Keep over restarts that this member left once more."""


class Beat(msgspec.Struct, frozen=True, gc=False):
    """Keep this count of own heartbeats over restarts, SIGKILL included."""

    heartbeats: int


class Log(msgspec.Struct, frozen=True):
    """One structured line."""

    event: str
    fields: dict[str, object]


Effect = Dial | Send | Close | Answer | Done | Keep | Left | Beat | Log
