"""The warm parent: a process without threads or loops that forks every service and outlives none of its masters.

Theory of operation.
A fresh interpreter imports the programs once, so that each fork costs milliseconds.
It reads commands from one end of a socket pair and never does anything else:
no thread and no loop exists, so a fork copies nothing that could be locked.
All its descriptors are raw numbers, without objects that could close a number a child has opened anew.

A port is reserved by a socket that is bound, with SO_REUSEADDR, and never listens.
While nothing else listens there a connection is refused, as by a dead machine;
the kernel gives the port to no other socket, neither to an unbound one that connects nor to one that binds port 0;
and a service that binds it with SO_REUSEADDR as well may listen, be killed, and listen again.

Tolerates: the harness's death, even by SIGKILL (the socket ends, or the parent's id changes): every child gets
SIGTERM, after a grace SIGKILL, and temporary folders are removed.
Its own death by SIGKILL: the kernel kills the children (PR_SET_PDEATHSIG, on Linux).
Ctrl-C in the terminal: it has a session of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import select
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from straybit.backends._messages import (
    Command,
    Done,
    Exited,
    Failed,
    Fork,
    Forked,
    Release,
    Report,
    Reserve,
    Reserved,
    Signal,
    Tidy,
    Warm,
)

GRACE_S = 1.0
"""From SIGTERM to SIGKILL when the harness is gone; a longer grace leaves orphans running longer."""
PARENT_CHECK_S = 1.0
"""How often the parent's id is looked at: the backstop where a forked child of the harness holds the socket open."""

_COMMANDS = msgspec.json.Decoder(Command)


class Nursery:
    """The state of the warm parent; `control` is its end of the socket pair, `parent` the harness's process id."""

    def __init__(self, control: int, parent: int) -> None:
        self.control = control
        self.parent = parent
        self.ports: dict[int, int] = {}
        self.children: dict[int, str] = {}
        self.folders: list[str] = []
        self.buffer = bytearray()
        self.woken, wake = os.pipe()
        os.set_blocking(self.woken, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def run(self) -> None:
        """Serve until the harness is gone."""
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(self.woken, select.POLLIN)
        while os.getppid() == self.parent:
            ready = {fd for fd, _ in poll.poll(PARENT_CHECK_S * 1000)}
            if self.woken in ready:
                self._reap()
            if self.control in ready and not self._read():
                return

    def end(self) -> None:
        """Kill every child, gently first, and remove what the harness would have removed."""
        for number in (signal.SIGCONT, signal.SIGTERM):
            for pid in self.children:
                os.kill(pid, number)
        deadline = time.monotonic() + GRACE_S
        while self.children and time.monotonic() < deadline:
            select.select([self.woken], [], [], max(0.0, deadline - time.monotonic()))
            self._reap()
        for pid in self.children:
            os.kill(pid, signal.SIGKILL)
        for pid in self.children:
            os.waitpid(pid, 0)
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)

    def _read(self) -> bool:
        """Carry out what has come; False at the end of the stream."""
        try:
            data = os.read(self.control, 1 << 20)
        except ConnectionError:
            return False
        self.buffer += data
        *lines, rest = self.buffer.split(b"\n")
        self.buffer = rest
        for line in lines:
            self._answer(_COMMANDS.decode(line))
        return bool(data)

    def _answer(self, command: Command) -> None:
        try:
            report = self._obey(command)
        except (OSError, ValueError) as error:
            report = Failed(command.id, str(error))
        self._say(report)

    def _obey(self, command: Command) -> Report:
        match command:
            case Reserve(id, count):
                return Reserved(id, [self._reserve() for _ in range(count)])
            case Release(id, ports):
                for port in ports:
                    os.close(self.ports.pop(port))
            case Fork(id):
                return Forked(id, self._fork(command))
            case Signal(id, pid, number):
                if pid not in self.children:
                    raise ProcessLookupError(f"process {pid} is gone")
                os.kill(pid, number)
            case Tidy(id, folders):
                self.folders = folders
        return Done(id)

    def _reserve(self) -> int:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        self.ports[port] = sock.detach()
        return port

    def _fork(self, fork: Fork) -> int:
        errors = os.open(fork.errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        parent = os.getpid()
        try:
            pid = os.fork()
            if pid == 0:
                _child(fork, errors, parent)
        finally:
            os.close(errors)
        self.children[pid] = fork.label
        return pid

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.woken, 4096)
        for pid in list(self.children):
            gone, status = os.waitpid(pid, os.WNOHANG)
            if gone:
                label = self.children.pop(pid)
                self._say(Exited(pid, label, os.waitstatus_to_exitcode(status), time.monotonic()))

    def _say(self, report: Report) -> None:
        line = memoryview(msgspec.json.encode(report) + b"\n")
        with contextlib.suppress(ConnectionError):  # the harness is gone: `run` sees that as the end of the stream
            while line:
                line = line[os.write(self.control, line) :]


def _child(fork: Fork, errors: int, parent: int) -> NoReturn:
    """Become the service; never returns into the nursery's frames."""
    status = 1
    try:
        _leave_nursery(errors, parent)
        _function(fork.target)(*fork.args)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # the last frame of a process: say what happened, then go
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _leave_nursery(errors: int, parent: int) -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(errors, 1)
    os.dup2(errors, 2)
    _close_all_but_standard()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, prctl(2)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def _close_all_but_standard() -> None:
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        return
    for name in os.listdir(folder):  # noqa: PTH208 - the listing's own descriptor must be closed before the loop
        if int(name) > 2:
            with contextlib.suppress(OSError):
                os.close(int(name))


def _function(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def main(control: int, parent: int, programs: list[str]) -> None:
    """Import `programs`, then serve the harness at the other end of `control`."""
    started = time.perf_counter()
    nursery = Nursery(control, parent)
    try:
        for name in programs:
            importlib.import_module(name)
    except Exception as error:  # whatever an import may raise ends in one line at the harness
        nursery._say(Failed(0, f"cannot import {name}: {error!r}"))
        return
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page of what it never frees
    nursery._say(Warm(time.perf_counter() - started))
    try:
        nursery.run()
    finally:
        nursery.end()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
