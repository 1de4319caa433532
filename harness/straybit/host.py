"""Faults at a host: its disk slow, full or rotting, its clock wrong, its process killed, paused or restarted.

They are nouns, as flips are; `strike` brings one about and hands out its receipt, `heal` takes it back.
What a fault changed lives in the node's own process, so it is gone with the process, whoever started it may be.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec

from straybit.control import Control

__all__ = [
    "BitRot",
    "FullDisk",
    "HostFault",
    "HostReceipt",
    "Hosts",
    "Kill",
    "Pause",
    "Restart",
    "SlowDisk",
    "WrongClock",
    "heal",
    "strike",
    "struck",
]


class Hosts(Protocol):
    """What faults are brought about on: a cluster."""

    def control(self, name: str) -> Control:
        """The control port of a service."""

    def kill(self, name: str) -> None:
        """End a service at once."""

    def pause(self, name: str) -> None:
        """Freeze a service."""

    def unpause(self, name: str) -> None:
        """Let a paused service go on."""

    def restart(self, name: str) -> None:
        """End a service and start it again."""


class BitRot(msgspec.Struct, frozen=True, tag=True):
    """One bit of an object's stored bytes on the node `host` is another: bit 0..7 of the byte at `offset`."""

    host: str
    bucket: str
    key: str
    offset: int
    bit: int


class SlowDisk(msgspec.Struct, frozen=True, tag=True):
    """Every read and write of a file takes `delay_ms` longer."""

    host: str
    delay_ms: int


class FullDisk(msgspec.Struct, frozen=True, tag=True):
    """`free` bytes of data fit on the disk, no more."""

    host: str
    free: int = 0


class WrongClock(msgspec.Struct, frozen=True, tag=True):
    """The host's clock is `offset_s` ahead, or behind."""

    host: str
    offset_s: int


class Kill(msgspec.Struct, frozen=True, tag=True):
    """The process ends as by SIGKILL."""

    host: str


class Pause(msgspec.Struct, frozen=True, tag=True):
    """The process stands still, its connections open."""

    host: str


class Restart(msgspec.Struct, frozen=True, tag=True):
    """The process ends and is started again over the same data."""

    host: str


HostFault = BitRot | SlowDisk | FullDisk | WrongClock | Kill | Pause | Restart


class HostReceipt(msgspec.Struct, frozen=True):
    """Proof that a fault was brought about, at `at` on the monotonic clock: what was before, and what is."""

    fault: HostFault
    at: float
    before: Any
    after: Any


def strike(hosts: Hosts, fault: HostFault) -> HostReceipt:
    """Bring a fault about. Raises ControlError, ValueError, BackendError."""
    before, after = _bring_about(hosts, fault)
    return HostReceipt(fault, time.monotonic(), before, after)


def heal(hosts: Hosts, fault: HostFault) -> None:
    """Take a fault back; rot stays until a node finds it. Raises as `strike` does."""
    match fault:
        case SlowDisk(host) | FullDisk(host):
            hosts.control(host).disk()
        case WrongClock(host):
            hosts.control(host).clock(0)
        case Kill(host):
            hosts.restart(host)
        case Pause(host):
            hosts.unpause(host)
        case BitRot() | Restart():
            pass


@contextmanager
def struck(hosts: Hosts, fault: HostFault) -> Iterator[HostReceipt]:
    """A fault for as long as the block lasts. Raises as `strike` does."""
    receipt = strike(hosts, fault)
    try:
        yield receipt
    finally:
        heal(hosts, fault)


def _bring_about(hosts: Hosts, fault: HostFault) -> tuple[Any, Any]:
    match fault:
        case BitRot(host, bucket, key, offset, bit):
            changed = hosts.control(host).rot(bucket, key, offset, bit)
        case SlowDisk(host, delay_ms):
            changed = hosts.control(host).disk(delay_ms=delay_ms)
        case FullDisk(host, free):
            changed = hosts.control(host).disk(free=free)
        case WrongClock(host, offset_s):
            changed = hosts.control(host).clock(offset_s)
        case Kill(host):
            hosts.kill(host)
            changed = {"before": "running", "after": "killed"}
        case Pause(host):
            hosts.pause(host)
            changed = {"before": "running", "after": "paused"}
        case Restart(host):
            hosts.restart(host)
            changed = {"before": "running", "after": "running"}
    return changed["before"], changed["after"]
