"""The Docker engine and the compose plugin, with one-line errors that say what to do."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import docker
import docker.errors
import docker.utils
import msgspec
import requests

from straybit.backends import BackendError
from straybit.crew import HeldBack

__all__ = [
    "OLDEST_API",
    "OLDEST_COMPOSE",
    "Engine",
    "EngineError",
    "Place",
    "ask_compose",
    "compose_version",
    "engine_place",
    "find_engine",
    "other_clock",
]

OLDEST_COMPOSE = (2, 24)
"""The first whose `configs` take their content from the file, and whose merges keep `networks` as they stand."""
OLDEST_API = (1, 41)
"""That of engine 20.10, the oldest that this was seen to work with."""
ANSWER_S = 20
"""For an engine's answer; it serialises much of its work, and twenty containers may be in front."""
COMPOSE_S = 120.0
VERSION_S = 20.0
STOP_S = 5.0
"""For compose to stop by itself, from SIGINT to SIGKILL; it lets the engine finish the container it is at."""
GONE_S = 5.0
"""For the kernel to end what was killed."""
POLL_S = 0.02
USUAL = "unix:///var/run/docker.sock"


def _dotted(numbers: Sequence[int]) -> str:
    return ".".join(map(str, numbers))


_HINTS = (
    ("no such image", "make it with `make image`"),
    ("pull access denied", "make it with `make image`, or name one in STRAYBIT_IMAGE or STRAYBIT_TOXIPROXY_IMAGE"),
    ("manifest unknown", "name one that exists in STRAYBIT_IMAGE or STRAYBIT_TOXIPROXY_IMAGE"),
    ("port is already allocated", "stop what listens there, or name another port"),
    ("address already in use", "stop what listens there, or name another port"),
    (
        "no space left on device",
        "the disk is full: make room, for example with `docker system df` and `docker system prune`",
    ),
    ("could not find an available", "the engine has no address range left: remove networks that nobody uses"),
    ("cannot restrict inter-container", "load the kernel module br_netfilter (`modprobe br_netfilter`)"),
    (
        "permission denied while trying to connect",
        "add yourself to the group that owns the socket, or name another engine in DOCKER_HOST",
    ),
    ("cannot connect to the docker daemon", "start it, or name another in DOCKER_HOST"),
)
"""What an engine or compose says, in lower case, and what helps."""

T = TypeVar("T")


class EngineError(BackendError):
    """The engine or compose is missing, refused, or did not answer; `said` is what it said itself."""

    def __init__(self, message: str, said: str = "") -> None:
        super().__init__(message)
        self.said = said


class Place(msgspec.Struct, frozen=True):
    """Where an engine is: its address, how it is talked to, and what tells a docker client the same.

    `env` replaces variables of a child's environment; those that are None are not to be set.
    """

    host: str
    tls: docker.TLSConfig | None
    env: dict[str, str | None]


class Engine:
    """A Docker engine's API, as the SDK speaks it. Every call may raise EngineError."""

    def __init__(self, client: docker.APIClient, host: str) -> None:
        self.api = client
        self.host = host

    def ask(self, call: Callable[[docker.APIClient], T], what: str) -> T:
        """`call` on the SDK's client; `what` is for the error."""
        try:
            return call(self.api)
        except docker.errors.NotFound as error:
            raise EngineError(f"{what}: {_said(error)}", "not found") from None
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            raise EngineError(_line(what, _said(error)), _said(error)) from None

    def containers(self, label: str, *, all: bool = True) -> list[dict[str, Any]]:
        """Summaries of the containers with this label (`KEY` or `KEY=VALUE`)."""
        return self.ask(lambda api: api.containers(all=all, filters={"label": label}), "containers cannot be listed")

    def info(self) -> dict[str, Any]:
        """What it says of itself."""
        return self.ask(lambda api: api.info(), "the engine says nothing of itself")

    def close(self) -> None:
        """Let go of its connections."""
        self.api.close()


def find_engine(*, any_clock: bool = False) -> Engine:
    """The engine that the user's docker client would talk to. Raises EngineError with one line.

    One on another kernel is refused unless `any_clock`, which is for those who compare no times.
    """
    place = engine_place()
    try:
        _knock(place.host)
        client = docker.APIClient(base_url=place.host, tls=place.tls or False, version="auto", timeout=ANSWER_S)
        client.ping()
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise EngineError(_absent(place.host, _said(error)), _said(error)) from None
    engine = Engine(client, place.host)
    try:
        doubt = "" if any_clock else other_clock(engine.info())
    except BaseException:
        engine.close()
        raise
    if doubt:
        engine.close()
        raise EngineError(doubt)
    return engine


def other_clock(info: Mapping[str, Any]) -> str:
    """Why times of an engine's containers cannot be compared with ours, by its `info`; empty when they can.

    Every kernel counts its monotonic clock from its own boot; an engine that does not name its kernel is believed.
    """
    theirs, ours = str(info.get("KernelVersion") or ""), os.uname().release
    if theirs in ("", ours):
        return ""
    return (
        f"the engine ({info.get('OperatingSystem') or 'of an unknown system'}) runs on the kernel {theirs}, "
        f"straybit on {ours}, and times of two kernels cannot be compared; "
        "use an engine on this machine's own kernel, or --backend process"
    )


def _knock(host: str) -> None:
    """Raise OSError where nobody listens on a local socket; the SDK would leave one of its own unclosed."""
    if host.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(ANSWER_S)
            door.connect(host.removeprefix("unix://"))


def engine_place() -> Place:
    """Where the engine is said to be, as the docker client decides it. Raises EngineError.

    DOCKER_HOST, with DOCKER_TLS_VERIFY, DOCKER_TLS and DOCKER_CERT_PATH; else the context that DOCKER_CONTEXT names;
    else the client's current one, which is the usual socket unless somebody chose another.
    """
    if host := os.environ.get("DOCKER_HOST"):
        return Place(host, _tls(), {"DOCKER_CONTEXT": None})
    name = os.environ.get("DOCKER_CONTEXT")
    what = f"the docker context {name}" if name else "the current docker context"
    help_ = "`docker context ls` shows those there are; or name an engine in DOCKER_HOST"
    try:
        context = docker.ContextAPI.get_context(name)
    except Exception as error:  # the SDK raises the bare class for a file that it cannot read
        raise EngineError(f"{what} cannot be read ({_said(error)}); {help_}") from None
    if context is None:
        raise EngineError(f"{what} is not there; {help_}")
    return Place(str(context.Host or USUAL), context.TLSConfig, {"DOCKER_HOST": None, "DOCKER_CONTEXT": context.Name})


def _tls() -> docker.TLSConfig | None:
    """As the variables say: certificates alone turn nothing on, other than for the SDK."""
    verify = os.environ.get("DOCKER_TLS_VERIFY")
    if not verify and not os.environ.get("DOCKER_TLS"):
        return None
    folder = os.environ.get("DOCKER_CERT_PATH") or os.environ.get("DOCKER_CONFIG") or str(Path.home() / ".docker")
    variables = {"DOCKER_HOST": os.environ["DOCKER_HOST"], "DOCKER_CERT_PATH": folder}
    try:
        found = docker.utils.kwargs_from_env({**variables, **({"DOCKER_TLS_VERIFY": verify} if verify else {})})
    except docker.errors.DockerException as error:
        why = " ".join(str(error).split()).partition(". ")[0]
        raise EngineError(f"TLS needs ca.pem, cert.pem and key.pem in {folder} (DOCKER_CERT_PATH): {why}") from None
    tls: docker.TLSConfig | None = found.get("tls")
    return tls


def compose_version() -> str:
    """The compose plugin's version. Raises EngineError, also where it is too old; one without a number is believed."""
    words = ["docker", "compose", "version", "--short"]
    try:
        found = _run(words, dict(os.environ), VERSION_S, "the compose plugin does not answer").strip()
    except EngineError as error:
        if not error.said:
            raise
        why = f"there is no compose plugin that answers; install it, version {_dotted(OLDEST_COMPOSE)} or newer"
        raise EngineError(why, error.said) from None  # a client without it says nothing of it, and prints its own help
    numbers = tuple(map(int, re.findall(r"\d+", found)[:2]))
    if numbers and numbers < OLDEST_COMPOSE:
        raise EngineError(
            f"the compose plugin is version {found}, and {_dotted(OLDEST_COMPOSE)} is the oldest that will do; "
            "install that or a newer one"
        )
    return found


def ask_compose(
    project: str, file: Path, arguments: Sequence[str], *, env: Mapping[str, str], budget_s: float = COMPOSE_S
) -> str:
    """`docker compose` on a project; answers with what it printed. Raises EngineError.

    It has a session of its own, out of Ctrl-C's reach: what it is doing may be the cleaning up.
    Whatever is raised meanwhile is passed on when it and all it started have ended.
    """
    words = ["docker", "compose", "--progress", "quiet", "--project-name", project, "--file", str(file), *arguments]
    theirs = {**os.environ, **engine_place().env, **env}
    try:
        known = {name: value for name, value in theirs.items() if value is not None}
        return _run(words, known, budget_s, f"docker compose {arguments[0]} failed")
    except EngineError as error:
        error.left = f"containers of the run {project}" if arguments[0] == "down" else ""
        raise


def _run(words: Sequence[str], env: dict[str, str], budget_s: float, what: str) -> str:
    if shutil.which(words[0]) is None:
        raise EngineError("there is no docker client on the path; install Docker, or run with --backend process")
    with _patiently(what, budget_s):
        status, out, errors = _outcome(words, env, budget_s)
    if status:
        said = _last(errors or out)
        raise EngineError(_line(what, said), said)
    return out


def _outcome(words: Sequence[str], env: dict[str, str], budget_s: float) -> tuple[int, str, str]:
    """Status, output and errors of a command that leads a session of its own, none of which outlives this call."""
    process = None
    try:
        with HeldBack():  # else a process may have been started that nobody knows of
            process = subprocess.Popen(
                words,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        out, errors = process.communicate(timeout=budget_s)
    except BaseException:
        if process is not None:
            with HeldBack():
                _end_group(process)
        raise
    return process.returncode, out, errors


def _end_group(process: subprocess.Popen[str]) -> None:
    """The client alone would leave its plugin, which goes on making containers."""
    _signal_group(process, signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=STOP_S)  # until nobody holds its output any more
    deadline = time.monotonic() + GONE_S
    while _signal_group(process, signal.SIGKILL) and time.monotonic() < deadline:
        with suppress(subprocess.TimeoutExpired):
            process.wait(POLL_S)
            time.sleep(POLL_S)  # the rest of the group are no children of ours: there is nothing to wait on
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _signal_group(process: subprocess.Popen[str], number: signal.Signals) -> bool:
    """False when nobody is left to hear it."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):  # the latter is what macOS says of one that has ended
        return False
    return True


@contextmanager
def _patiently(what: str, budget_s: float) -> Iterator[None]:
    try:
        yield
    except subprocess.TimeoutExpired:
        raise EngineError(f"{what}: no end within {budget_s:g} s") from None
    except OSError as error:
        raise EngineError(f"{what}: {error.strerror}") from None


def _absent(host: str, said: str) -> str:
    if host.startswith("unix://") and "permission denied" in said.lower():
        why = f"there is a Docker engine at {host}, and this user may not talk to it: "
        return why + "add yourself to the group that owns the socket (usually `docker`) and log in again"
    return (
        f"no Docker engine answers at {host}; start it, or name another in DOCKER_HOST (`straybit doctor` looks closer)"
    )


def _line(what: str, said: str) -> str:
    hint = next((f"; {hint}" for words, hint in _HINTS if words in said.lower()), "")
    return f"{what}: {said or 'no reason given'}{hint}"


def _last(text: str) -> str:
    """The last line that says something, without times, colours and levels."""
    lines = [re.sub(r"\x1b\[[0-9;]*m|^time=\S+ level=\w+ msg=", "", line).strip() for line in text.splitlines()]
    return next((line for line in reversed(lines) if line), "")


def _said(error: Exception) -> str:
    if isinstance(error, docker.errors.APIError):
        return " ".join(str(error.explanation or error).split())
    return " ".join(str(error).split())
