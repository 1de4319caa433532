"""What this machine can do: a finding for each thing that a backend needs, and what to do where it is missing."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from straybit.backends import BackendError
from straybit.backends._engine import OLDEST_API, OLDEST_COMPOSE, Engine, compose_version, find_engine, other_clock
from straybit.backends._images import image_doubts, images

__all__ = ["Finding", "examine"]


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
        engine = find_engine(any_clock=True)
    except BackendError as error:
        return (*found, _missing("engine", str(error)))
    try:
        return (*found, *_engine(engine), *_images(engine))
    except BackendError as error:
        return (*found, Finding("docker", "engine", False, str(error), "restart the engine"))
    finally:
        engine.close()


def _missing(what: str, line: str) -> Finding:
    """A line of the backend's own, which says what is amiss before the semicolon, and what helps behind it."""
    seen, _, help_ = line.rpartition("; ")
    return Finding("docker", what, False, seen or line, help_ if seen else "")


def _compose() -> Finding:
    try:
        return Finding("docker", "compose plugin", True, compose_version())
    except BackendError as error:
        found = _missing("compose plugin", str(error))
    oldest = ".".join(map(str, OLDEST_COMPOSE))
    return msgspec.structs.replace(found, help=f"install the compose plugin, version {oldest} or newer")


def _engine(engine: Engine) -> tuple[Finding, ...]:
    info = engine.info()
    found = [_version(engine, info)]
    if any("rootless" in option for option in info.get("SecurityOptions") or []):
        limited = bool(info.get("MemoryLimit")) and bool(info.get("PidsLimit"))
        help_ = "" if limited else "delegate the cgroup controllers memory and pids to your user, or run it as root"
        found.append(Finding("docker", "rootless", limited, "the engine runs without root", help_))
    if doubt := other_clock(info):
        found.append(_missing("clock", doubt))
    return tuple(found)


def _version(engine: Engine, info: Mapping[str, Any]) -> Finding:
    seen = f"{info.get('ServerVersion')} at {engine.host}"
    speaks = engine.ask(lambda api: api.version(), "the engine does not say its version").get("ApiVersion") or ""
    numbers = tuple(map(int, re.findall(r"\d+", speaks)[:2]))
    if not numbers or numbers >= OLDEST_API:
        return Finding("docker", "engine", True, seen)
    oldest = ".".join(map(str, OLDEST_API))
    help_ = f"API {oldest} is the oldest that will do: install engine 20.10 or newer"
    return Finding("docker", "engine", False, f"{seen} speaks API {speaks}", help_)


def _images(engine: Engine) -> tuple[Finding, ...]:
    doubts = image_doubts(engine)
    return tuple(
        Finding("docker", f"image {name}", name not in doubts, doubts.get(name, "there"), "")
        for name in images().values()
    )
