"""Who is ready: epoll, edge-triggered, and the same on `selectors` where epoll is missing."""

from __future__ import annotations

import select
import selectors
import sys
from typing import Protocol

__all__ = ["ERROR", "HANGUP", "READ", "WRITE", "Poller", "make_poller"]

READ, WRITE, ERROR, HANGUP = 0x1, 0x4, 0x8 | 0x10, 0x2000
"""Bits of an event, epoll's own: readable, writable, broken, the peer has closed its half."""

_MS = 0.001
_HAIR = 1e-5  # so that rounding up gives the millisecond that is meant

_MOST = 512  # events of one call: bounds the time until timers and commands get their turn


class Poller(Protocol):
    """Watches descriptors for reading and writing."""

    def add(self, fd: int) -> None:
        """Watch `fd` for both."""

    def remove(self, fd: int) -> None:
        """Stop watching, before `fd` is closed."""

    def connecting(self, fd: int) -> None:
        """`fd` is a connection that is being made: its first readiness to write is to be told."""

    def blocked(self, fd: int, is_blocked: bool) -> None:
        """A write to `fd` did not go through, or did again."""

    def paused(self, fd: int, is_paused: bool) -> None:
        """Nobody wants to read from `fd` for now, or does again."""

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """(fd, bits) of what happened within `timeout` seconds."""

    def close(self) -> None:
        """Give the descriptor back."""


def make_poller() -> Poller:
    """The best that this platform has."""
    return EpollPoller() if sys.platform == "linux" else SelectorPoller()


class EpollPoller:
    """Registered once for everything; back-pressure needs no system call."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._mask = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
        self.close = self._epoll.close

    def add(self, fd: int) -> None:
        """One call for the whole life of the descriptor."""
        self._epoll.register(fd, self._mask)

    def remove(self, fd: int) -> None:
        """Closing is enough for epoll."""

    def connecting(self, fd: int) -> None:
        """An edge will tell."""

    def blocked(self, fd: int, is_blocked: bool) -> None:
        """An edge will tell."""

    def paused(self, fd: int, is_paused: bool) -> None:
        """An edge that is ignored costs nothing."""

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """Up to 512 events; may come back a little early, never late.

        epoll counts in milliseconds and rounds up, which is too coarse for a latency:
        it waits for the whole ones, and select(2) on epoll's own descriptor for the rest.
        """
        if timeout is None or timeout <= 0:
            return self._epoll.poll(timeout, _MOST)
        if timeout >= _MS:
            return self._epoll.poll(int(timeout / _MS) * _MS - _HAIR, _MOST)
        select.select((self._epoll,), (), (), timeout)
        return self._epoll.poll(0, _MOST)


class SelectorPoller:
    """Level-triggered: watches for writing only while a write is blocked, for reading unless paused."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wanted: dict[int, int] = {}
        self._connecting: set[int] = set()
        self.close = self._selector.close

    def add(self, fd: int) -> None:
        """Reading; writing only when asked."""
        self._wanted[fd] = selectors.EVENT_READ
        self._selector.register(fd, selectors.EVENT_READ)

    def remove(self, fd: int) -> None:
        """Forget `fd`."""
        self._connecting.discard(fd)
        if self._wanted.pop(fd, 0):
            self._selector.unregister(fd)

    def connecting(self, fd: int) -> None:
        """Watch for writing once."""
        self._want(fd, selectors.EVENT_WRITE, True)
        self._connecting.add(fd)

    def blocked(self, fd: int, is_blocked: bool) -> None:
        """Watch for writing as long as it is wanted."""
        self._connecting.discard(fd)
        self._want(fd, selectors.EVENT_WRITE, is_blocked)

    def paused(self, fd: int, is_paused: bool) -> None:
        """Without this a level would report the same bytes for ever."""
        self._want(fd, selectors.EVENT_READ, not is_paused)

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """Every event, in epoll's bits."""
        ready = self._selector.select(timeout)
        for key, mask in ready:
            if mask & selectors.EVENT_WRITE and key.fd in self._connecting:
                self.blocked(key.fd, False)
        return [(key.fd, (READ if mask & 1 else 0) | (WRITE if mask & 2 else 0)) for key, mask in ready]

    def _want(self, fd: int, bit: int, is_wanted: bool) -> None:
        before = self._wanted.get(fd)
        if before is None:
            return
        after = before | bit if is_wanted else before & ~bit
        if after == before:
            return
        self._wanted[fd] = after
        if before and after:
            self._selector.modify(fd, after)
        elif after:
            self._selector.register(fd, after)
        else:
            self._selector.unregister(fd)
