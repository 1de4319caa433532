"""Who a run's containers belong to: a process, told apart from a later one with the same number."""

from __future__ import annotations

import os
import socket
from pathlib import Path

__all__ = ["is_alive", "this_owner"]


def this_owner() -> str:
    """`HOST/PID/START` of this process, for a label."""
    return f"{socket.gethostname()}/{os.getpid()}/{_started(os.getpid())}"


def is_alive(owner: str) -> bool | None:
    """Whether the process of that label still runs; None when it is another machine's, or no label of ours."""
    host, _, rest = owner.partition("/")
    pid, _, started = rest.partition("/")
    if host != socket.gethostname() or not pid.isdigit():
        return None
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's, and alive
    return _started(int(pid)) == started


def _started(pid: int) -> str:
    """When the process began, in the kernel's ticks since boot; empty where /proc does not say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
