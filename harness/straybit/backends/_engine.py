"""The Docker engine and the compose plugin, with one-line errors that say what to do."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import docker
import docker.errors
import requests

from straybit.backends import BackendError

__all__ = ["Engine", "EngineError", "ask_compose", "compose_version", "find_engine"]

ANSWER_S = 20
"""For an engine's answer; it serialises much of its work, and twenty containers may be in front."""
COMPOSE_S = 120.0

_HINTS = (
    ("no such image", "make it with `make image`"),
    ("pull access denied", "make it with `make image`, or name one in STRAYBIT_IMAGE or STRAYBIT_TOXIPROXY_IMAGE"),
    ("manifest unknown", "name one that exists in STRAYBIT_IMAGE or STRAYBIT_TOXIPROXY_IMAGE"),
    ("port is already allocated", "stop what listens there, or name another port"),
    ("address already in use", "stop what listens there, or name another port"),
    ("no space left on device", "the disk is full: make room, for example with `docker system df` and `docker prune`"),
    ("could not find an available", "the engine has no address range left: remove networks that nobody uses"),
    ("is not a docker command", "install the compose plugin, version 2.24 or newer"),
    ("permission denied", "add yourself to the group that owns the socket, or name another engine in DOCKER_HOST"),
    ("cannot connect to the docker daemon", "start it, or name another in DOCKER_HOST"),
)
"""What an engine or compose says, in lower case, and what helps."""

T = TypeVar("T")


class EngineError(BackendError):
    """The engine or compose is missing, refused, or did not answer; `said` is what it said itself."""

    def __init__(self, message: str, said: str = "") -> None:
        super().__init__(message)
        self.said = said


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

    def close(self) -> None:
        """Let go of its connections."""
        self.api.close()


def find_engine() -> Engine:
    """The engine that the user's docker client would talk to. Raises EngineError with one line."""
    host = engine_host()
    try:
        _knock(host)
        client = docker.APIClient(base_url=host, version="auto", timeout=ANSWER_S)
        client.ping()
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise EngineError(_absent(host, _said(error)), _said(error)) from None
    return Engine(client, host)


def _knock(host: str) -> None:
    """Raise OSError where nobody listens on a local socket; the SDK would leave one of its own unclosed."""
    if host.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(ANSWER_S)
            door.connect(host.removeprefix("unix://"))


def engine_host() -> str:
    """Where it is said to be: DOCKER_HOST, else the client's current context, else the usual socket."""
    if os.environ.get("DOCKER_HOST"):
        return os.environ["DOCKER_HOST"]
    try:
        context = docker.ContextAPI.get_current_context()
    except (docker.errors.DockerException, OSError, ValueError):
        context = None
    return str(context.Host) if context is not None and context.Host else "unix:///var/run/docker.sock"


def compose_version() -> str:
    """The compose plugin's version. Raises EngineError."""
    return _run(["docker", "compose", "version", "--short"], {}, 20.0, "the compose plugin does not answer").strip()


def ask_compose(
    project: str, file: Path, arguments: Sequence[str], *, env: Mapping[str, str], budget_s: float = COMPOSE_S
) -> str:
    """`docker compose` on a project; answers with what it printed. Raises EngineError."""
    words = ["docker", "compose", "--progress", "quiet", "--project-name", project, "--file", str(file), *arguments]
    return _run(words, env, budget_s, f"docker compose {arguments[0]} failed")


def _run(words: Sequence[str], env: Mapping[str, str], budget_s: float, what: str) -> str:
    if shutil.which(words[0]) is None:
        raise EngineError("there is no docker client on the path; install Docker, or run with --backend process")
    with _patiently(what, budget_s):
        done = subprocess.run(
            words,
            env={**os.environ, "DOCKER_HOST": engine_host(), **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=budget_s,
            check=False,
        )
    if done.returncode:
        said = _last(done.stderr or done.stdout)
        raise EngineError(_line(what, said), said)
    return done.stdout


@contextmanager
def _patiently(what: str, budget_s: float) -> Iterator[None]:
    try:
        yield
    except subprocess.TimeoutExpired:
        raise EngineError(f"{what}: no end within {budget_s:g} s") from None
    except OSError as error:
        raise EngineError(f"{what}: {error.strerror}") from None


def _absent(host: str, said: str) -> str:
    if "permission denied" in said.lower():
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
