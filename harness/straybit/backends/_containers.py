"""The containers of one cluster: found by their label, steered and watched through the Docker SDK."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from typing import Any

from straybit.backends import BackendError
from straybit.backends._engine import Engine, EngineError
from straybit.backends._followers import EventFollower, LogFollower
from straybit.backends._readiness import await_answer
from straybit.compose import RUN
from straybit.control import Control
from straybit.crew import Crew
from straybit.services import Exit
from straybit_nodes.contained import BACK, CONTROL, FRONT

__all__ = ["Containers"]

GRACE_S = 3
"""From SIGTERM to SIGKILL; twenty interpreters end side by side on few cores."""
GONE_S = 10.0
"""From SIGKILL to the engine's word that the container is gone."""
LOOK_S = 1.0
RESTART_S = 20.0
WORKERS = 8
"""Calls to the engine at a time; it does most of their work one after another."""
SERVICE = "com.docker.compose.service"
_PROXIES = (FRONT, BACK)


class _Container:
    """One service's container, through all its starts."""

    def __init__(self, summary: Mapping[str, Any]) -> None:
        self.id = str(summary["Id"])
        self.ports: dict[int, int] = {}
        self.ended: Exit | None = None
        self.asked = False
        self.paused = False
        self.killed_for_memory = False


class Containers:
    """Steers the containers that carry the label of `run`; `down` removes them. Usable from several threads.

    `temporary` is a folder to remove with them.
    Tolerates an engine that dies: every service then counts as ended, by the host's doing.
    """

    def __init__(self, engine: Engine, run: str, *, logs: Path, down: Callable[[], None]) -> None:
        self._engine = engine
        self._run = run
        self._logs = logs
        self._down = down
        self.temporary: Path | None = None
        self._mutex = threading.RLock()  # entered by itself: see straybit.crew on Ctrl-C
        self._changed = threading.Condition(self._mutex)
        self._containers: dict[str, _Container] = {}
        self._controls: dict[str, Control] = {}
        self._exits: list[Exit] = []
        self._on_exit: Callable[[Exit], None] = lambda _: None
        self._lost = False
        self._ending = False
        self._events: EventFollower | None = None
        self._followers: dict[str, LogFollower] = {}

    # -- at the start ----------------------------------------------------------------------------------------------

    def find(self) -> None:
        """Learn the containers and their published ports. Raises EngineError."""
        for summary in self._engine.containers(f"{RUN}={self._run}"):
            container = _Container(summary)
            container.ports = _ports(summary.get("Ports") or [])
            self._containers[summary["Labels"][SERVICE]] = container

    def port(self, name: str, inner: int) -> int:
        """Where on 127.0.0.1 a container's port is published. Raises BackendError."""
        container = self._containers.get(name)
        if container is None or inner not in container.ports:
            raise BackendError(f"{name} does not publish its port {inner}; its last words:\n{self.last_words(name)}")
        return container.ports[inner]

    def steer(self, controls: Mapping[str, Control]) -> None:
        """Control ports, which move when a container is started again."""
        self._controls = dict(controls)

    def follow(self, on_exit: Callable[[Exit], None]) -> None:
        """Write every container's output into the logs' folder, and watch the engine's events."""
        self._on_exit = on_exit
        self._events = EventFollower(self._engine, f"{RUN}={self._run}", self._event, self._engine_gone)
        for name, container in self._containers.items():
            files = [self._logs / f"{name}.{end}" for end in (("log",) * 2 if name in _PROXIES else ("ndjson", "err"))]
            self._followers[name] = LogFollower(self._engine, container.id, *files)
        self._look_again()

    def _look_again(self) -> None:
        """Whoever died before the events were followed is found here."""
        for summary in self._engine.containers(f"{RUN}={self._run}"):
            if summary["State"] in {"exited", "dead"}:
                self._look_whether_ended(summary["Labels"][SERVICE])

    def _look_whether_ended(self, name: str) -> None:
        """Ask about one container, where its event may not come."""
        state = self._inspect(name)["State"]
        if not state["Running"]:
            self._ended(name, int(state["ExitCode"]), time.monotonic(), oom=bool(state.get("OOMKilled")))

    # -- what the engine tells -------------------------------------------------------------------------------------

    def _event(self, kind: str, name: str, attributes: Mapping[str, str], t: float) -> None:
        container = self._containers.get(name)
        if container is None:
            return
        if kind == "oom":
            container.killed_for_memory = True
        elif kind == "die":
            self._ended(name, int(attributes.get("exitCode", "0")), t, oom=container.killed_for_memory)

    def _ended(self, name: str, code: int, t: float, *, oom: bool) -> None:
        host = "killed for memory" if oom else ""
        with self._mutex:
            container = self._containers[name]
            if container.ended is not None:
                return
            exit = container.ended = Exit(t, name, code if code <= 128 else 128 - code, host)
            unasked = not container.asked
            if unasked:
                self._exits.append(exit)
            self._changed.notify_all()
        if unasked:
            self._on_exit(exit)

    def _engine_gone(self, why: str) -> None:
        """The engine's events ended by themselves: nothing that is said from here on can be believed."""
        with self._mutex:
            if self._ending or self._lost:
                return
            self._lost = True
            exit = Exit(time.monotonic(), "docker", -1, f"the Docker engine is gone ({why})")
            self._exits.append(exit)
            self._changed.notify_all()
        self._on_exit(exit)

    # -- Services --------------------------------------------------------------------------------------------------

    def running(self, name: str) -> bool:
        """As Services.running."""
        with self._mutex:
            container = self._containers.get(name)
            return not self._lost and container is not None and container.ended is None and not container.paused

    def ended(self, name: str) -> Exit | None:
        """The end of the service's last start, None while it lives."""
        with self._mutex:
            container = self._containers.get(name)
            return container.ended if container is not None else None

    def last_words(self, name: str) -> str:
        """The last lines of a container's output, for an error."""
        container = self._containers.get(name)
        try:
            said = self._engine.api.logs(container.id, tail=4).decode(errors="replace") if container else ""
        except Exception as error:
            said = str(error)
        return "\n".join(f"  {line}" for line in said.splitlines()) or "  (it wrote nothing)"

    def kill(self, name: str) -> None:
        """As Services.kill."""
        id = self._ask_to_end(name)
        with suppress(EngineError):  # it is gone already, or the wait finds out
            self._engine.ask(lambda api: api.kill(id, "SIGKILL"), f"{name} cannot be killed")
        self._await_gone(name)

    def pause(self, name: str) -> None:
        """As Services.pause."""
        container = self._containers[name]
        with self._mutex:
            container.paused = True
        self._engine.ask(lambda api: api.pause(container.id), f"{name} cannot be paused")

    def unpause(self, name: str) -> None:
        """As Services.unpause."""
        container = self._containers[name]
        self._engine.ask(lambda api: api.unpause(container.id), f"{name} cannot go on")
        with self._mutex:
            container.paused = False

    def terminate(self, name: str) -> None:
        """As Services.terminate."""
        if self.ended(name) is not None:
            return
        id = self._ask_to_end(name)
        self._engine.ask(lambda api: api.stop(id, timeout=GRACE_S), f"{name} cannot be stopped")
        self._await_gone(name)

    def start(self, name: str) -> None:
        """As Services.start."""
        container = self._containers[name]
        if self.ended(name) is None:
            raise BackendError(f"{name} is still there; end it first")
        with self._mutex:
            container.ended, container.asked, container.killed_for_memory = None, False, False
        self._engine.ask(lambda api: api.start(container.id), f"{name} cannot be started")
        ports = self._inspect(name)["NetworkSettings"]["Ports"] or {}
        container.ports = {int(inner.partition("/")[0]): int(at[0]["HostPort"]) for inner, at in ports.items() if at}
        control = self._controls[name]
        control.move((control.address[0], self.port(name, CONTROL)))
        self._followers[name].again()
        await_answer(control, self, state="held", budget_s=RESTART_S)
        control.resume()

    def pid(self, name: str) -> int:
        """As Services.pid: on the engine's machine."""
        return int(self._inspect(name)["State"]["Pid"])

    def exits(self) -> tuple[Exit, ...]:
        """As Services.exits."""
        with self._mutex:
            return tuple(self._exits)

    def end(self) -> None:
        """As Services.end: asks all at once, and gives their logs time to arrive."""
        self._ending = True
        names = [name for name in self._containers if self.ended(name) is None]
        errors: list[str] = []

        def each(call: Callable[[str], None], names: Iterable[str]) -> None:
            def one(name: str) -> None:
                try:
                    call(name)
                except BackendError as error:
                    errors.append(str(error))

            with Crew(WORKERS, "straybit-containers") as crew:
                crew.each(one, names)

        if self._events is not None and not self._lost:  # else nobody would hear of their end, and `clean` ends them
            each(self._signal_to_end, names)
            with self._mutex:
                self._changed.wait_for(lambda: self._lost or all(map(self._is_gone, names)), GRACE_S)
            each(self.kill, [name for name in names if not self._is_gone(name)])
        for follower in self._followers.values():
            follower.close()
        if self._events is not None:
            self._events.close()
        if errors:
            raise BackendError("; ".join(errors[:3]))

    def clean(self, keep: bool) -> None:
        """As Services.clean; a volume has no use for anybody, so that its data go with it."""
        self._ending = True
        try:
            self._down()
        except EngineError as error:
            raise BackendError(
                f"{error}; what is left of this run carries the label {RUN}={self._run}: "
                "`straybit sweep` removes it once the engine answers"
            ) from None
        finally:
            if self.temporary is not None and not keep:
                rmtree(self.temporary, ignore_errors=True)

    def _signal_to_end(self, name: str) -> None:
        id = self._ask_to_end(name)
        with suppress(EngineError):  # it is gone already, or the wait finds out
            self._engine.ask(lambda api: api.kill(id, "SIGTERM"), f"{name} cannot be told to end")

    def _ask_to_end(self, name: str) -> str:
        container = self._containers[name]
        with self._mutex:
            container.asked = True
            paused, container.paused = container.paused, False
        if paused:  # a frozen process takes no signal
            self._engine.ask(lambda api: api.unpause(container.id), f"{name} cannot go on")
        return container.id

    def _await_gone(self, name: str) -> None:
        """Wait for the engine's event, and look for oneself where it does not come."""
        deadline = time.monotonic() + GONE_S
        while time.monotonic() < deadline:
            with self._mutex:
                if self._changed.wait_for(lambda: self._is_gone(name) or self._lost, LOOK_S):
                    return
            self._look_whether_ended(name)
        if not self._is_gone(name):
            raise BackendError(f"{name} did not end within {GONE_S:g} s")

    def _is_gone(self, name: str) -> bool:
        return self._containers[name].ended is not None

    def _inspect(self, name: str) -> dict[str, Any]:
        container = self._containers[name]
        return self._engine.ask(lambda api: api.inspect_container(container.id), f"{name} cannot be looked at")


def _ports(published: list[dict[str, Any]]) -> dict[int, int]:
    return {int(port["PrivatePort"]): int(port["PublicPort"]) for port in published if port.get("PublicPort")}
