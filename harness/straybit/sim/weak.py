"""What a simulated node is made of, so that a test can plant a weakness in one part of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from straybit_nodes.gossip.codec import Bad, Frame, Framer, encode
from straybit_nodes.gossip.core import Core
from straybit_nodes.gossip.messages import Message

__all__ = ["SOUND", "Encode", "FramerLike", "Weak"]


class FramerLike(Protocol):
    """Bytes of one direction in, frames out; see `codec.Framer`."""

    def feed(self, data: bytes | bytearray | memoryview) -> Sequence[Frame | Bad]:
        """Take the next bytes and answer the frames that became whole."""

    def end(self) -> Bad | None:
        """The stream is over: a frame that was cut short."""


class Encode(Protocol):
    """A message and its sender's name to a frame; see `codec.encode`."""

    def __call__(self, message: Message, sender: str, *, sealed: bool) -> bytes:
        """The frame."""


class Weak(msgspec.Struct, frozen=True, kw_only=True):
    """Parts that every node of a net is made of; the defaults are the real ones.

    `framer` is called with whether it checks checksums.
    With a framer or an encoder of its own a net carries every message as bytes.
    """

    core: type[Core] = Core
    framer: Callable[[bool], FramerLike] = lambda checked: Framer(checked=checked)
    encode: Encode = encode

    @property
    def bytewise(self) -> bool:
        """Whether messages must not travel as objects."""
        return self.framer is not SOUND.framer or self.encode is not SOUND.encode


SOUND = Weak()
