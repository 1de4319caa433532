"""What a backend can do to the processes or containers of one cluster."""

from __future__ import annotations

from typing import Protocol

import msgspec

__all__ = ["PROXY", "Exit", "Services"]

PROXY = "proxy"
"""The proxy server's name among processes."""


class Exit(msgspec.Struct, frozen=True):
    """A service that ended: its exit code, or minus the signal that killed it.

    `host` says so where it was the host's doing, as for want of memory: such an end proves nothing of a flip.
    """

    t: float
    service: str
    status: int
    host: str = ""


class Services(Protocol):
    """How a backend steers the processes or containers of one cluster; each call returns when it is done.

    Every call raises BackendError where it fails.
    """

    def kill(self, name: str) -> None:
        """End the service at once, as SIGKILL does."""

    def pause(self, name: str) -> None:
        """Freeze the service; its connections stay open."""

    def unpause(self, name: str) -> None:
        """Let a paused service go on."""

    def terminate(self, name: str) -> None:
        """Ask the service to end, and kill it when it does not in time."""

    def start(self, name: str) -> None:
        """Start a service that has ended, at the same ports and with the same data, running."""

    def pid(self, name: str) -> int:
        """The process id on this machine, of the last process of that service, or of the proxy server."""

    def exits(self) -> tuple[Exit, ...]:
        """Those that ended unasked, in order."""

    def running(self, name: str) -> bool:
        """It has not ended, and is not paused."""

    def end(self) -> None:
        """End all; logs and data stay."""

    def clean(self, keep: bool) -> None:
        """Remove data and what else is temporary, unless it is to be kept."""
