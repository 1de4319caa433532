"""What dead runs left in the engine, by label: found, told from what still belongs to somebody, and removed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import docker
import msgspec

from straybit.backends._engine import Engine, EngineError
from straybit.backends._owner import is_alive
from straybit.compose import OWNER, RUN

__all__ = ["Leftover", "leftovers", "remove"]


class Leftover(msgspec.Struct, frozen=True):
    """What there is of one run: names of its containers, networks and volumes.

    `alive` says whether the process that it belongs to runs; None when nobody can tell from here.
    """

    run: str
    owner: str
    alive: bool | None
    containers: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()


def leftovers(engine: Engine) -> tuple[Leftover, ...]:
    """Every run that has anything in the engine, by its name. Raises EngineError."""
    filters = {"label": RUN}
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    listed = {
        "containers": engine.containers(RUN),
        "networks": engine.ask(lambda api: api.networks(filters=filters), "networks cannot be listed"),
        "volumes": engine.ask(lambda api: api.volumes(filters=filters), "volumes cannot be listed")["Volumes"] or [],
    }
    for kind, things in listed.items():
        for thing in things:
            found.setdefault(thing["Labels"][RUN], {}).setdefault(kind, []).append(thing)
    return tuple(_leftover(run, kinds) for run, kinds in sorted(found.items()))


def _leftover(run: str, kinds: dict[str, list[dict[str, Any]]]) -> Leftover:
    owner = next((t["Labels"].get(OWNER, "") for things in kinds.values() for t in things), "")
    names = {kind: tuple(sorted(map(_name, things))) for kind, things in kinds.items()}
    return Leftover(run, owner, is_alive(owner), **names)


def _name(thing: dict[str, Any]) -> str:
    return str(thing.get("Name") or thing["Names"][0].lstrip("/"))


def remove(engine: Engine, left: Leftover) -> tuple[str, ...]:
    """Remove all of one run; answers with a line for each thing that would not go, none when all went."""
    kept: list[str] = []

    def each(names: Iterable[str], what: str, call: Callable[[docker.APIClient, str], object]) -> None:
        for name in names:
            try:
                engine.ask(partial(_on, call, name), f"{what} {name} cannot be removed")
            except EngineError as error:
                if error.said != "not found":  # somebody else was faster
                    kept.append(str(error))

    each(left.containers, "container", lambda api, name: api.remove_container(name, force=True, v=True))
    each(left.networks, "network", lambda api, name: api.remove_network(name))
    each(left.volumes, "volume", lambda api, name: api.remove_volume(name, force=True))
    return tuple(kept)


def _on(call: Callable[[docker.APIClient, str], object], name: str, api: docker.APIClient) -> object:
    return call(api, name)
