"""The harness's end of the warm parent: ports, forks, signals and exits."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from straybit.backends import BackendError
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

__all__ = ["Nursery", "NurseryError"]

START_BUDGET_S = 60.0
"""For a fresh interpreter to import everything, on a cold disk."""
ANSWER_BUDGET_S = 10.0
END_BUDGET_S = 5.0
"""For the nursery to end its children (it kills them after a grace) and itself."""

_LOG = logging.getLogger(__name__)
_REPORTS = msgspec.json.Decoder(Report)
_Answer = TypeVar("_Answer", Reserved, Forked, Done, Warm)


class NurseryError(BackendError):
    """The nursery is gone or refused; the message says why."""


class Nursery:
    """A process that forks others from modules it has imported once; usable from any thread.

    `programs` are the modules to import before the first fork; `import_s` says how many seconds that took.
    `on_exit` is called, from a thread of its own, with the exit of every child.
    """

    def __init__(self, programs: Sequence[str] = (), *, on_exit: Callable[[Exited], None] | None = None) -> None:
        self._ids = itertools.count(1)
        self._waiting: dict[int, Future[Report]] = {}
        self._exits: dict[int, Exited] = {}
        self._mutex = threading.RLock()  # entered by itself: see straybit.crew on Ctrl-C
        self._changed = threading.Condition(self._mutex)
        self._sending = threading.Lock()
        self._ended = False
        self._on_exit = on_exit
        self._folders: set[str] = set()
        self._socket, theirs = socket.socketpair()
        with theirs:
            arguments = [str(theirs.fileno()), str(os.getpid()), *programs]
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "straybit.backends._nursery", *arguments],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._waiting[0] = Future()
        self._reader = threading.Thread(target=self._read, name="straybit-nursery", daemon=True)
        self._reader.start()
        try:
            self.import_s = self._wait(0, Warm, START_BUDGET_S).import_s
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The nursery's own process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """False once it has ended, and every child with it."""
        return not self._ended and self._process.poll() is None

    def reserve(self, count: int) -> list[int]:
        """Hold `count` free ports of 127.0.0.1 for services that bind them with SO_REUSEADDR. Raises NurseryError."""
        return self._ask(Reserve(next(self._ids), count), Reserved).ports

    def release(self, ports: Sequence[int]) -> None:
        """Let reserved ports go."""
        self._ask(Release(next(self._ids), list(ports)), Done)

    def fork(self, target: str, *args: object, label: str, errors: Path) -> int:
        """Run `target` (`module:function`) with `args` (plain data) in a child, and answer its process id.

        Its standard output and error go to the file `errors`. Raises NurseryError.
        """
        plain: list[Any] = [msgspec.to_builtins(arg) for arg in args]
        return self._ask(Fork(next(self._ids), label, target, plain, str(errors)), Forked).pid

    def signal(self, pid: int, number: signal.Signals) -> None:
        """Send a signal to a child. Raises NurseryError when it is gone."""
        self._ask(Signal(next(self._ids), pid, number), Done)

    def wait(self, pid: int, timeout_s: float) -> Exited | None:
        """The exit of a child, None when it has not come within `timeout_s`."""
        with self._mutex:
            self._changed.wait_for(lambda: pid in self._exits, timeout_s)
            return self._exits.get(pid)

    def tidy(self, folder: Path) -> None:
        """From now on remove `folder` should the harness die without a word."""
        self._ask(Tidy(next(self._ids), sorted({*self._folders, str(folder)})), Done)
        self._folders.add(str(folder))

    def untidy(self, folder: Path) -> None:
        """The harness has removed or wants to keep `folder`."""
        self._folders.discard(str(folder))
        self._ask(Tidy(next(self._ids), sorted(self._folders)), Done)

    def close(self) -> None:
        """End the nursery and every child; safe to call twice."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        try:
            self._process.wait(END_BUDGET_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(END_BUDGET_S)
        self._socket.close()

    def _ask(self, command: Command, kind: type[_Answer]) -> _Answer:
        with self._mutex:
            if not self.alive:
                raise NurseryError("the nursery has ended; start another backend")
            self._waiting[command.id] = Future()
        try:
            with self._sending:
                self._socket.sendall(msgspec.json.encode(command) + b"\n")
        except OSError as error:
            raise NurseryError(f"the nursery is gone: {error}") from None
        return self._wait(command.id, kind, ANSWER_BUDGET_S)

    def _wait(self, id: int, kind: type[_Answer], budget_s: float) -> _Answer:
        try:
            report = self._waiting[id].result(budget_s)
        except TimeoutError:
            raise NurseryError(f"the nursery did not answer within {budget_s:g} s") from None
        finally:
            with self._mutex:
                self._waiting.pop(id, None)
        if isinstance(report, Failed):
            raise NurseryError(report.why)
        if not isinstance(report, kind):
            raise NurseryError(f"the nursery answered {report!r}")
        return report

    def _read(self) -> None:
        buffer = b""
        while data := self._receive():
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                self._take(_REPORTS.decode(line))
        with self._mutex:
            self._ended = True
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_result(Failed(0, "the nursery has ended"))

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(1 << 16)
        except OSError:
            return b""

    def _take(self, report: Report) -> None:
        with self._mutex:
            if isinstance(report, Exited):
                self._exits[report.pid] = report
                self._changed.notify_all()
            else:
                waiting = self._waiting.get(0 if isinstance(report, Warm) else report.id)
                if waiting is not None:
                    waiting.set_result(report)
        if isinstance(report, Exited) and self._on_exit is not None:
            try:
                self._on_exit(report)
            except Exception:  # a listener's mistake must not end the thread that every answer comes through
                _LOG.exception("the exit of %s was not taken note of", report.label)
