"""Who a run's containers belong to: a process, told apart from a later one with the same number."""

from __future__ import annotations

import os
import socket
from pathlib import Path

__all__ = ["is_alive", "this_owner"]

BOOT = Path("/proc/sys/kernel/random/boot_id")
NUMBERS = Path("/proc/self/ns/pid")
"""The namespace that our process numbers count in: in another one they are other processes'."""


def this_owner() -> str:
    """`HOST/PID/START/BOOT/NAMESPACE` of this process, for a label; the last three are empty where /proc is not."""
    return f"{socket.gethostname()}/{os.getpid()}/{_state_and_start(os.getpid())[1]}/{_where()}"


def is_alive(owner: str) -> bool | None:
    """Whether the process of that label still runs.

    None where that cannot be known from here: another machine, boot or namespace of process numbers,
    a process that is hidden from this user, a label without all this, or none of ours.
    """
    host, _, rest = owner.partition("/")
    pid, _, rest = rest.partition("/")
    started, _, where = rest.partition("/")
    if host != socket.gethostname() or not pid.isdigit() or where != _where():
        return None
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's, and alive
    state, start = _state_and_start(int(pid))
    if started and not start:
        return None  # it has just gone, or is hidden
    return start == started and state not in {"Z", "X"}  # who has ended and was not waited for is dead


def _where() -> str:
    return f"{_boot()}/{_namespace()}"


def _boot() -> str:
    try:
        return BOOT.read_text().strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return "".join(filter(str.isdigit, str(NUMBERS.readlink())))
    except OSError:
        return ""


def _state_and_start(pid: int) -> tuple[str, str]:
    """A letter for what it does, and when it began, in the kernel's ticks since boot; empty where /proc is silent."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return "", ""
