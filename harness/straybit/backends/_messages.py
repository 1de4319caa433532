"""What a harness and its nursery say to each other: one JSON document per line."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = [
    "Command",
    "Done",
    "Exited",
    "Failed",
    "Fork",
    "Forked",
    "Release",
    "Report",
    "Reserve",
    "Reserved",
    "Signal",
    "Tidy",
    "Warm",
]


class Reserve(msgspec.Struct, frozen=True, tag=True):
    """Hold `count` free ports of 127.0.0.1 until they are released."""

    id: int
    count: int


class Release(msgspec.Struct, frozen=True, tag=True):
    """Let ports go that were reserved."""

    id: int
    ports: list[int]


class Fork(msgspec.Struct, frozen=True, tag=True):
    """Run `target` (`module:function`) with `args` in a child; `errors` is the file of its standard streams."""

    id: int
    label: str
    target: str
    args: list[Any]
    errors: str


class Signal(msgspec.Struct, frozen=True, tag=True):
    """Send a signal to one of the nursery's own children."""

    id: int
    pid: int
    number: int


class Tidy(msgspec.Struct, frozen=True, tag=True):
    """The folders to remove when the harness is gone without a word; replaces the list of before."""

    id: int
    folders: list[str]


class Warm(msgspec.Struct, frozen=True, tag=True):
    """The nursery is ready; importing the programs took `import_s` seconds."""

    import_s: float


class Reserved(msgspec.Struct, frozen=True, tag=True):
    """Answer to Reserve."""

    id: int
    ports: list[int]


class Forked(msgspec.Struct, frozen=True, tag=True):
    """Answer to Fork."""

    id: int
    pid: int


class Done(msgspec.Struct, frozen=True, tag=True):
    """Answer to any other command."""

    id: int


class Failed(msgspec.Struct, frozen=True, tag=True):
    """Answer to a command that could not be carried out; id 0: the nursery itself could not start."""

    id: int
    why: str


class Exited(msgspec.Struct, frozen=True, tag=True):
    """A child is gone: its exit code, or minus the signal that killed it. `at` is on the monotonic clock."""

    pid: int
    label: str
    status: int
    at: float


Command = Reserve | Release | Fork | Signal | Tidy
Report = Warm | Reserved | Forked | Done | Failed | Exited
