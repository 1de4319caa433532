"""The processes of one cluster, as children of the warm parent."""

from __future__ import annotations

import contextlib
import shutil
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from straybit.backends import BackendError
from straybit.backends._messages import Exited
from straybit.backends._readiness import await_answer
from straybit.backends.nursery import Nursery, NurseryError
from straybit.control import Control
from straybit.services import PROXY, Exit
from straybit_nodes.config import NodeConfig

__all__ = ["Processes"]

GRACE_S = 2.0
"""From SIGTERM to SIGKILL."""
GONE_S = 5.0
"""From SIGKILL to the exit; longer only where a disk hangs."""
RESTART_S = 10.0


class _Process:
    """The last process of one service."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.exit: Exited | None = None
        self.asked = False
        self.paused = False


class Processes:
    """Steers the services of one cluster; `configs` say how each is started. Usable from several threads.

    `temporary` are the folders to remove when the cluster is closed, or the harness has died, unless it is to `keep`;
    `ports` is what to release.
    """

    def __init__(
        self,
        nursery: Nursery,
        label: str,
        *,
        configs: Mapping[str, NodeConfig],
        controls: Mapping[str, Control],
        logs: Path,
        temporary: Sequence[Path],
        keep: bool,
        ports: Sequence[int],
        on_exit: Callable[[Exit], None],
    ) -> None:
        self._nursery = nursery
        self._label = label
        self._configs = dict(configs)
        self._controls = dict(controls)
        self._logs = logs
        self._temporary = tuple(temporary)
        self._ports = list(ports)
        self._on_exit = on_exit
        self._mutex = threading.RLock()  # entered by itself: see straybit.crew on Ctrl-C
        self._changed = threading.Condition(self._mutex)
        self._processes: dict[str, _Process] = {}
        self._exits: list[Exit] = []
        if not keep:
            for folder in self._temporary:
                nursery.tidy(folder)

    def fork_proxy(self, host: str, port: int) -> None:
        """Start the proxy server."""
        self._fork(PROXY, "straybit.backends._programs:proxy", host, port)

    def fork(self, name: str, *, held: bool = True) -> None:
        """Start a service without waiting for it."""
        config = msgspec.structs.replace(self._configs[name], held=held)
        Path(config.data_dir).mkdir(parents=True, exist_ok=True)
        self._fork(name, "straybit.backends._programs:node", config)

    def exited(self, name: str, exit: Exited) -> None:
        """Take note that a process is gone; called by the nursery's reader."""
        with self._mutex:
            process = self._processes.get(name)
            if process is None or process.pid != exit.pid:  # the exit was faster than the answer to its fork
                process = self._processes[name] = _Process(exit.pid)
            process.exit = exit
            unasked = None if process.asked else Exit(exit.at, name, exit.status)
            if unasked is not None:
                self._exits.append(unasked)
            self._changed.notify_all()
        if unasked is not None:
            self._on_exit(unasked)

    def running(self, name: str) -> bool:
        """As Services.running."""
        with self._mutex:
            process = self._processes.get(name)
            lives = process is not None and process.exit is None and not process.paused
        return lives and self._nursery.alive

    def ended(self, name: str) -> Exited | None:
        """The exit of the service's last process, None while it lives."""
        with self._mutex:
            process = self._processes.get(name)
            return process.exit if process is not None else None

    def last_words(self, name: str) -> str:
        """The last lines of a service's streams and log, for an error."""
        lines = [*_tail(self._logs / f"{name}.err", 3), *_tail(self._logs / f"{name}.ndjson", 3)]
        return "\n".join(f"  {line}" for line in lines) or "  (it wrote nothing)"

    def kill(self, name: str) -> None:
        """As Services.kill."""
        self._ask_to_end(name)
        self._signal(name, signal.SIGKILL)
        if not self._gone(name, GONE_S):
            raise BackendError(f"{name} did not end within {GONE_S:g} s of SIGKILL")

    def pause(self, name: str) -> None:
        """As Services.pause."""
        with self._mutex:
            self._processes[name].paused = True
        self._signal(name, signal.SIGSTOP)

    def unpause(self, name: str) -> None:
        """As Services.unpause."""
        self._signal(name, signal.SIGCONT)
        with self._mutex:
            self._processes[name].paused = False

    def terminate(self, name: str) -> None:
        """As Services.terminate."""
        self._ask_to_end(name)
        self._signal(name, signal.SIGTERM)
        self._signal(name, signal.SIGCONT)
        if not self._gone(name, GRACE_S):
            self.kill(name)

    def start(self, name: str) -> None:
        """As Services.start."""
        if self.ended(name) is None:
            raise BackendError(f"{name} is still there; end it first")
        self.fork(name, held=False)
        await_answer(self._controls[name], self, state="running", budget_s=RESTART_S)

    def pid(self, name: str) -> int:
        """As Services.pid."""
        with self._mutex:
            return self._processes[name].pid

    def exits(self) -> tuple[Exit, ...]:
        """As Services.exits."""
        with self._mutex:
            return tuple(self._exits)

    def end(self) -> None:
        """As Services.end."""
        with self._mutex:
            names = [name for name, process in self._processes.items() if process.exit is None]
        errors: list[BackendError] = []
        for name in names:
            self._ask_to_end(name)
            self._signal(name, signal.SIGTERM)
            self._signal(name, signal.SIGCONT)
        with self._mutex:
            self._changed.wait_for(lambda: all(map(self._is_gone, names)), GRACE_S)
        for name in names:
            try:
                self.kill(name)
            except BackendError as error:  # the others must go all the same
                errors.append(error)
        if errors:
            raise BackendError("; ".join(map(str, errors)))

    def clean(self, keep: bool) -> None:
        """As Services.clean."""
        try:
            if not keep:
                for folder in self._temporary:
                    shutil.rmtree(folder, ignore_errors=True)
        finally:
            with contextlib.suppress(NurseryError):  # it has ended, and let go of both
                for folder in self._temporary:
                    self._nursery.untidy(folder)
                self._nursery.release(self._ports)

    def _fork(self, name: str, target: str, *args: object) -> None:
        errors = self._logs / f"{name}.err"
        try:
            pid = self._nursery.fork(target, *args, label=f"{self._label}/{name}", errors=errors)
        except NurseryError as error:
            raise BackendError(f"{name} could not be started: {error}") from None
        with self._mutex:
            process = self._processes.get(name)
            if process is None or process.pid != pid:
                self._processes[name] = _Process(pid)

    def _ask_to_end(self, name: str) -> None:
        with self._mutex:
            process = self._processes[name]
            process.asked, process.paused = True, False

    def _signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal; to one that is gone, or whose nursery is (which ends it), it makes no difference."""
        if self.ended(name) is None:
            try:
                self._nursery.signal(self.pid(name), number)
            except NurseryError:
                return

    def _gone(self, name: str, timeout_s: float) -> bool:
        with self._mutex:
            return self._changed.wait_for(lambda: self._is_gone(name), timeout_s)

    def _is_gone(self, name: str) -> bool:
        return self._processes[name].exit is not None or not self._nursery.alive


def _tail(path: Path, count: int) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()[-count:]
    except OSError:
        return []
