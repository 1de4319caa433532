"""Pipes for splice, shared by every direction that is busy; one goes back as soon as it is empty."""

from __future__ import annotations

import fcntl
import os
import sys

__all__ = ["CAN_SPLICE", "Pipe", "PipePool"]

CAN_SPLICE = sys.platform == "linux"

MOST = 64
"""Pipes at most, 1 MiB of the kernel's memory each while full; unprivileged users get no more of that size."""

SIZES = (1_048_576, 262_144, 65_536)
"""Bytes asked for, largest first: past `pipe-user-pages-soft` the kernel refuses the larger ones."""

_F_SETPIPE_SZ = 1031


class Pipe:
    """Two descriptors and the bytes between them."""

    __slots__ = ("filled", "reader", "size", "writer")

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.filled = 0
        self.size = _enlarge(self.writer)

    def close(self) -> None:
        """Give both descriptors back, and with them whatever is inside."""
        os.close(self.reader)
        os.close(self.writer)


class PipePool:
    """At most 64 pipes, reused."""

    def __init__(self) -> None:
        self.free: list[Pipe] = []
        self.made = 0

    def take(self) -> Pipe | None:
        """An empty pipe; None when all are busy or no descriptor is left, and copying has to do."""
        if self.free:
            return self.free.pop()
        if self.made >= MOST:
            return None
        try:
            pipe = Pipe()
        except OSError:
            return None
        self.made += 1
        return pipe

    def give(self, pipe: Pipe) -> None:
        """Take a pipe back; one that still holds bytes of a closed connection is thrown away."""
        if pipe.filled:
            pipe.close()
            self.made -= 1
        else:
            self.free.append(pipe)

    def close(self) -> None:
        """Give all descriptors back."""
        while self.free:
            self.free.pop().close()


def _enlarge(fd: int) -> int:
    for size in SIZES:
        try:
            return fcntl.fcntl(fd, _F_SETPIPE_SZ, size)
        except OSError:
            continue
    return SIZES[-1]
