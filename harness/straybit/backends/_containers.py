"""The containers of one cluster: found by their label, steered and watched through the Docker SDK."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from typing import Any

from straybit.backends import BackendError
from straybit.backends._ends import KILLED, Ends
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
"""From SIGTERM to SIGKILL."""
GONE_S = 10.0
"""From SIGKILL to the engine's word that the container is gone."""
LOOK_S = 1.0
LOGS_S = 3.0
"""For the last lines of all logs to arrive."""
RESTART_S = 20.0
ENDING = 2
"""Containers that end at a time: an engine 20.10 may lock itself up when many leave a network at once (moby 46661)."""
SERVICE = "com.docker.compose.service"
_PROXIES = (FRONT, BACK)
_ENDINGS = {True: ("log", "log"), False: ("ndjson", "err")}
"""Of the files for what is JSON, line by line, and what is not: of proxies, and of nodes."""


class _Container:
    """One service's container, and where its ports are published."""

    def __init__(self, summary: Mapping[str, Any]) -> None:
        self.id = str(summary["Id"])
        self.ports = _ports(summary.get("Ports") or [])


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
        self._containers: dict[str, _Container] = {}
        self._controls: dict[str, Control] = {}
        self._ends = Ends()
        self._events: EventFollower | None = None
        self._followers: dict[str, LogFollower] = {}

    # -- at the start ----------------------------------------------------------------------------------------------

    def find(self) -> None:
        """Learn the containers and their published ports. Raises EngineError."""
        for summary in self._engine.containers(f"{RUN}={self._run}"):
            self._containers[summary["Labels"][SERVICE]] = _Container(summary)
        self._ends = Ends(self._containers, harness=_PROXIES)

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
        self._ends.on_exit = on_exit
        self._events = EventFollower(self._engine, f"{RUN}={self._run}", self._event, self._ends.lose_engine)
        for name, container in self._containers.items():
            log, errors = (self._logs / f"{name}.{end}" for end in _ENDINGS[name in _PROXIES])
            self._followers[name] = LogFollower(self._engine, container.id, log, errors)
            self._follow_log(name)
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
            self._ends.died(name, int(state["ExitCode"]), time.monotonic(), oom=bool(state.get("OOMKilled")))

    # -- what the engine tells -------------------------------------------------------------------------------------

    def _event(self, kind: str, name: str, attributes: Mapping[str, str], t: float) -> None:
        if kind == "oom":
            self._ends.short_of_memory(name, t)
        elif kind == "die":
            code = int(attributes.get("exitCode", "0"))
            oom = code == KILLED and self._ends.news(name, t) and self._killed_for_memory(name)
            self._ends.died(name, code, t, oom=oom)

    def _killed_for_memory(self, name: str) -> bool:
        """Asked where an engine may tell of the end before the reason."""
        try:
            return bool(self._inspect(name)["State"].get("OOMKilled"))
        except EngineError:
            return False

    def _follow_log(self, name: str) -> None:
        """What a node noticed is known from its log alone: one that ends before its container makes no verdict."""
        start = self._ends.starts(name)

        def ended(why: str) -> None:
            if not self._ends.wait_past(name, start, GONE_S):
                self._ends.lose(name, f"its log cannot be followed any more: {why}")

        self._followers[name].follow(ended)

    # -- Services --------------------------------------------------------------------------------------------------

    def running(self, name: str) -> bool:
        """As Services.running."""
        return self._ends.running(name)

    def ended(self, name: str) -> Exit | None:
        """The end of the service's last start, None while it lives."""
        return self._ends.ended(name)

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
        id = self._containers[name].id
        self._ends.paused(name, True)
        try:
            self._engine.ask(lambda api: api.pause(id), f"{name} cannot be paused")
        except EngineError:
            self._ends.paused(name, False)
            raise

    def unpause(self, name: str) -> None:
        """As Services.unpause."""
        id = self._containers[name].id
        self._engine.ask(lambda api: api.unpause(id), f"{name} cannot go on")
        self._ends.paused(name, False)

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
        self._ends.started(name)
        try:
            self._engine.ask(lambda api: api.start(container.id), f"{name} cannot be started")
        except EngineError:
            self._ends.asked(name)
            with suppress(EngineError):
                self._look_whether_ended(name)
            raise
        ports = self._inspect(name)["NetworkSettings"]["Ports"] or {}
        container.ports = {int(inner.partition("/")[0]): int(at[0]["HostPort"]) for inner, at in ports.items() if at}
        control = self._controls[name]
        control.move((control.address[0], self.port(name, CONTROL)))
        self._follow_log(name)
        await_answer(control, self, state="held", budget_s=RESTART_S)
        control.resume()

    def pid(self, name: str) -> int:
        """As Services.pid: on the engine's machine."""
        return int(self._inspect(name)["State"]["Pid"])

    def exits(self) -> tuple[Exit, ...]:
        """As Services.exits."""
        return self._ends.exits()

    def end(self) -> None:
        """As Services.end: asks one after another, `ENDING` at a time, and gives their logs time to arrive."""
        self._ends.closing()
        names = [name for name in self._containers if self.ended(name) is None]
        errors: list[str] = []

        def one(name: str) -> None:
            try:
                self._signal_to_end(name)
                if not self._ends.wait([name], GRACE_S):
                    self.kill(name)
            except BackendError as error:
                errors.append(str(error))

        if self._events is not None and not self._ends.lost:  # else nobody hears of their end, and `clean` ends them
            with Crew(ENDING, "straybit-containers") as crew:
                crew.each(one, names)
        until = time.monotonic() + LOGS_S
        for follower in self._followers.values():
            follower.close(max(0.0, until - time.monotonic()))
        if self._events is not None:
            self._events.close()
        if errors:
            raise BackendError("; ".join(errors[:3]))

    def clean(self, keep: bool) -> None:
        """As Services.clean; a volume has no use for anybody, so that its data go with it."""
        self._ends.closing()
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
        id = self._containers[name].id
        self._ends.asked(name)
        if self._ends.paused(name, False):  # a frozen process takes no signal
            self._engine.ask(lambda api: api.unpause(id), f"{name} cannot go on")
        return id

    def _await_gone(self, name: str) -> None:
        """Wait for the engine's event, and look for oneself where it does not come."""
        deadline = time.monotonic() + GONE_S
        while time.monotonic() < deadline:
            if self._ends.wait([name], LOOK_S):
                return
            self._look_whether_ended(name)
        if self.ended(name) is None:
            raise BackendError(f"{name} did not end within {GONE_S:g} s")

    def _inspect(self, name: str) -> dict[str, Any]:
        container = self._containers[name]
        return self._engine.ask(lambda api: api.inspect_container(container.id), f"{name} cannot be looked at")


def _ports(published: list[dict[str, Any]]) -> dict[int, int]:
    return {int(port["PrivatePort"]): int(port["PublicPort"]) for port in published if port.get("PublicPort")}
