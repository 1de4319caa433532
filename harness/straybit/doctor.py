"""What this machine can do: a finding for each thing that a backend needs, and what to do where it is missing."""

from __future__ import annotations

import re
import shutil
import sys
from typing import Any

import msgspec

from straybit.backends import BackendError
from straybit.backends._engine import Engine, compose_version, engine_host, find_engine
from straybit.backends._images import image_doubts, images

__all__ = ["OLDEST_COMPOSE", "Finding", "examine"]

OLDEST_COMPOSE = (2, 24)
"""The first whose `configs` take their content from the file, and whose merges keep `networks` as they stand."""


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at: `ok`, what was seen, and what to do about it (empty where nothing is)."""

    backend: str
    what: str
    ok: bool
    seen: str
    help: str = ""


def examine() -> tuple[Finding, ...]:
    """Look at everything; never raises for what is missing."""
    return (_python(), *_docker())


def _python() -> Finding:
    seen = ".".join(map(str, sys.version_info[:3]))
    linux = sys.platform == "linux"
    note = "" if linux else "without epoll the proxy is slower, and a killed harness leaves its processes longer"
    return Finding("process", "python", True, f"{seen} on {sys.platform}", note)


def _docker() -> tuple[Finding, ...]:
    client = shutil.which("docker")
    if client is None:
        return (Finding("docker", "client", False, "no `docker` on the path", "install Docker"),)
    found = [Finding("docker", "client", True, client), _compose()]
    try:
        engine = find_engine()
    except BackendError as error:
        return (*found, Finding("docker", "engine", False, str(error).split("; ")[0], str(error).partition("; ")[2]))
    try:
        return (*found, *_engine(engine), *_images(engine))
    except BackendError as error:
        return (*found, Finding("docker", "engine", False, str(error), "restart the engine"))
    finally:
        engine.close()


def _compose() -> Finding:
    try:
        version = compose_version()
    except BackendError as error:
        return Finding(
            "docker", "compose plugin", False, str(error), "install the compose plugin, version 2.24 or newer"
        )
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    old = numbers < OLDEST_COMPOSE
    return Finding("docker", "compose plugin", not old, version, "version 2.24 or newer is needed" if old else "")


def _engine(engine: Engine) -> tuple[Finding, ...]:
    info: dict[str, Any] = engine.ask(lambda api: api.info(), "the engine says nothing of itself")
    found = [Finding("docker", "engine", True, f"{info.get('ServerVersion')} at {engine_host()}")]
    if any("rootless" in option for option in info.get("SecurityOptions") or []):
        limited = bool(info.get("MemoryLimit")) and bool(info.get("PidsLimit"))
        help_ = "" if limited else "delegate the cgroup controllers memory and pids to your user, or run it as root"
        found.append(Finding("docker", "rootless", limited, "the engine runs without root", help_))
    if "Docker Desktop" in str(info.get("OperatingSystem")):
        seen = (
            "Docker Desktop: its machine has a clock of its own, and times of containers cannot be compared with ours"
        )
        found.append(Finding("docker", "clock", False, seen, "use an engine on this very Linux, or --backend process"))
    return tuple(found)


def _images(engine: Engine) -> tuple[Finding, ...]:
    doubts = image_doubts(engine)
    return tuple(
        Finding("docker", f"image {name}", name not in doubts, doubts.get(name, "there"), "")
        for name in images().values()
    )
