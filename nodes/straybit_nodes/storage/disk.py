"""What stands between a store and its files: nothing, or a disk that is slow or full. Faults for experiments."""

from __future__ import annotations

import errno
import time

__all__ = ["Disk"]


class Disk:
    """A disk that takes `delay_s` longer for every read and write, and has `free` bytes left; None for enough.

    Called in the thread that does the work, never in the event loop while it is slow.
    """

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.free: int | None = None

    @property
    def slow(self) -> bool:
        """Reads must not be done where waiting would hold up others."""
        return self.delay_s > 0

    def read(self) -> None:
        """Called before a file is read."""
        if self.delay_s:
            time.sleep(self.delay_s)

    def write(self, size: int) -> None:
        """Called before `size` bytes are written. Raises OSError as a full disk does."""
        if self.delay_s:
            time.sleep(self.delay_s)
        if self.free is not None:
            if size >= self.free:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.free -= size
